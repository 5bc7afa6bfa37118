"""A chat completion by a workflow: plan it, hold its price, run it, and make all of its receipts durable together.

To the consumer a capsule is a model with one OpenAI-compatible endpoint, which streams its last step. The call has a
root receipt and one for each sub-call, each on its own terms. All or nothing: when it fails the consumer pays nothing,
and the weaver's bond pays what was served, as long as that came in (`guarantees`). Partial, and beyond that: the
consumer pays what was served, and the weaver gets nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import orjson
from msgspec import structs

from gateway.call.call import Request, late
from gateway.call.idempotency import JSON, StoredResponse, receipt_headers
from gateway.call.referrals import ReferralContext
from gateway.call.stream import DONE, HEADERS, answer_stream
from gateway.catalog.catalog import Candidate, CapsuleEntry
from gateway.clock import steady_ms
from gateway.context import Gateway
from gateway.errors import ClientLeft, Refusal
from gateway.metering import openai
from gateway.metering.answers import PassedOn
from gateway.metering.ask import CHAT, Ask, written
from gateway.payment.billing import Billing, Served, charge
from gateway.payment.leases import Hold
from gateway.workflow import plan as planning
from gateway.workflow import steps
from gateway.workflow.plan import Plan, PlannedStep, Scope
from gateway.workflow.run import Execution, ServedCall
from ledger.core.accounts.budgets import Allowance
from ledger.core.catalog.capsules import Policy
from ledger.core.pricing import workflows
from ledger.core.pricing.workflows import Outcome, Status
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.meters import coarse
from ledger.flows import receipt_log
from ledger.flows.receipt_log import Draft
from ledger.store.receipts.receipts import Signed

LONG_BODY = 64 * 1024
"""A longer request is planned in a thread: each step that reads it is written once, to know how long it is."""


@dataclass(slots=True)
class Holds:
    """The money held for a workflow, settled once, together: the consumer's, and the bond of each weaver that promises
    all or nothing.

    A weaver's bond is its own deposit in the lane. It is held before anything runs, so that a provider that served is
    paid even when the workflow fails and the consumer is charged nothing.
    """

    consumer: dict[Allowance | None, Hold] = field(default_factory=dict)
    """By what else each is taken of, where a key has a budget."""
    bonds: dict[Address, Hold] = field(default_factory=dict)

    @classmethod
    async def take(
        cls, gateway: Gateway, billing: Billing, plan: Plan, parts: Mapping[Allowance | None, Atoms] | None = None
    ) -> Self:
        """Hold the plan's price for the consumer, whole or in these parts, and its exposure for each weaver. Refused
        when one is short.
        """
        holds = cls()
        try:
            for allowance, part in (parts if parts is not None else {billing.allowance: plan.price}).items():
                taken = structs.replace(billing, allowance=allowance)
                holds.consumer[allowance] = await taken.hold(gateway.leases, part)
            for weaver, exposure in plan.exposures.items():
                amount = min(exposure, gateway.settings.bond_cap_atoms)
                holds.bonds[weaver] = await _bond(gateway, plan, weaver, amount)
        except BaseException:
            holds.release()
            raise
        return holds

    async def add(self, gateway: Gateway, billing: Billing, plan: Plan, more: Atoms) -> None:
        """Hold more of the consumer's. Refused above its largest price, and when it has less."""
        hold = self.consumer[billing.allowance]
        planning.check_price(plan.entry, hold.amount + more, plan.preferences)
        hold.join(await billing.hold(gateway.leases, more, hold.amount))

    def release(self) -> None:
        """Give every hold back, unless a charge is under way."""
        for hold in (*self.consumer.values(), *self.bonds.values()):
            hold.release()

    async def charge(
        self, gateway: Gateway, guaranteed: Sequence[tuple[Address, ServedCall]], charged: Sequence[ServedCall]
    ) -> tuple[Signed, ...]:
        """Make all receipts durable together: of `guaranteed` calls, which bonds pay, and of those `charged` to the
        consumer. Returns the latter.
        """
        drafts = _drafts(charged)
        dues, bonded = _dues(self.consumer, drafts), list[_Drafted]()
        for weaver, hold in self.bonds.items():  # its cap holds for all its failed workflows of this call together
            calls = [_drafts([call], weaver) for who, call in guaranteed if who == weaver]
            paid = [calls[place] for place in workflows.covered([_charge_of(one) for one in calls], hold.amount)]
            dues.append((hold, sum(map(_charge_of, paid))))
            bonded += [drafted for one in paid for drafted in one]
        if not bonded and not drafts:
            return ()

        def count() -> None:
            for call, draft in (*bonded, *drafts):
                if not call.billing.realm:
                    gateway.metrics.charged(call.billing.model, call.served.provider, draft.receipt)

        receipts = tuple(draft for _, draft in (*bonded, *drafts))
        try:
            signed = await charge(gateway.receipt_log, receipts, dues, count)
        except BaseException:
            for weaver, call in guaranteed:  # nothing was written, so no bond paid
                gateway.guarantees.earn(weaver, call.billing.asker, call.price)
            raise
        return signed[len(bonded) :]


def note_earnings(gateway: Gateway, charged: ServedCall) -> None:
    """Note what a charged call brought its weavers: their bonds are good for so much."""
    for one in charged.calls():
        amounts = one.tariff.charge(one.served.units, one.subcall_total).amounts
        for weaver, amount in workflows.weavers_paid(one.tariff.terms, amounts):
            gateway.guarantees.earn(weaver, one.billing.asker, amount)


_Drafted = tuple[ServedCall, Draft]


def _drafts(calls: Sequence[ServedCall], payer: Address | None = None) -> list[_Drafted]:
    """The receipts of calls and of their sub-calls, each with its call."""
    return [(one, one.draft(payer)) for call in calls for one in call.calls()]


def _dues(holds: Mapping[Allowance | None, Hold], drafts: Sequence[_Drafted]) -> list[tuple[Hold, Atoms]]:
    """What is due of each hold: what the receipts charge that are taken of the same."""
    return [(hold, _charge_of([row for row in drafts if row[1].allowance == of])) for of, hold in holds.items()]


def _charge_of(drafts: Sequence[_Drafted]) -> Atoms:
    return sum(draft.receipt.charge for _, draft in drafts)


async def _bond(gateway: Gateway, plan: Plan, weaver: Address, amount: int) -> Hold:
    try:
        return await gateway.leases.hold(weaver, amount)
    except Refusal as refused:
        raise Refusal(
            503,
            "weaver_bond",
            f"{plan.entry.name} promises all or nothing, and its weaver's deposit does not cover {amount} atoms of "
            "sub-calls now (the weaver adds to it with `tollway weaver bond`)",
            facts={"weaver": to_hex(weaver), "required": str(amount), **refused.facts},
            retry_after=30,
        ) from refused


async def plan(scope: Scope, entry: CapsuleEntry, ask: Ask) -> Plan:
    """The plan of a chat request to a workflow. Refused above the consumer's largest price."""
    if ask.path != CHAT:
        raise Refusal(400, "wrong_protocol", f"{entry.name} is a workflow: use {CHAT}", param="model")
    await planning.fetch_glue(scope, entry)
    if len(ask.body) < LONG_BODY:
        plan = planning.plan(scope, entry, ask.json, len(ask.body))
    else:
        plan = await asyncio.to_thread(planning.plan, scope, entry, ask.json, len(ask.body))
    planning.check_price(entry, plan.price, scope.preferences)
    return plan


async def serve(
    gateway: Gateway, request: Request, plan: Plan, referral: ReferralContext | None
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Answer a chat request with a workflow. Raises a Refusal when it failed and the consumer pays nothing."""
    billing = request.billing(gateway, plan.catalog, plan.entry.name)
    holds = await Holds.take(gateway, billing, plan)
    try:
        execution = Execution(gateway, plan, billing, request.ask.json, request.ask.body, late(gateway))
        execution.hold_more = partial(holds.add, gateway, billing, plan)
        work = _Completion(gateway, request, plan, execution, holds, referral).answer()
        return await (work if gateway.tracing is None else gateway.tracing.workflow(plan.entry.name, work))
    finally:
        holds.release()


@dataclass(slots=True)
class _Completion:
    """One chat completion by a workflow."""

    gateway: Gateway
    request: Request
    plan: Plan
    execution: Execution
    holds: Holds
    referral: ReferralContext | None

    async def answer(self) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """Run, charge and answer: as a stream if the last step can be one. A consumer that leaves stops the steps that
        run, and pays for those that served: no weaver's bond does.
        """
        try:
            return await self._answer()
        except ClientLeft:
            execution = self.execution
            root = execution.root(self.plan.tariff, EndReason.client_abort, execution.billing.digest_of(b""), 0)
            charged = [await self._deducted(root)] if execution.served else []
            signed = await self.holds.charge(self.gateway, execution.guaranteed, charged)
            if not signed:
                raise
            left = Refusal(409, "client_abort", "the client left before the end: it paid for the steps that served")
            left.headers += receipt_headers(*signed)
            return self.request.client.refusal(left), signed

    async def _answer(self) -> tuple[StoredResponse, tuple[Signed, ...]]:
        execution, ask = self.execution, self.request.ask
        last = steps.last_steps(self.plan.entry.capsule, self.plan.steps) if ask.stream else ()
        with self.request.client.presence:
            await execution.run(streamed=last)
        for name in last:
            streamed = await self._stream(self.plan.steps[name])
            if streamed is not None:
                return streamed
        if execution.failed is not None:
            return await self._fail(execution.failed, execution.reasons.get(execution.failed, "it failed"))
        try:
            completion = self._completion(execution.output())
            body = written(completion)
        except Rejected as rejected:
            return await self._fail("output", rejected.message)
        digest = execution.billing.digest_of(body)
        signed = await self._charge(execution.root(self.plan.tariff, EndReason.normal, digest, len(body)))
        headers = [*receipt_headers(*signed), *self.request.extra_headers]
        if ask.stream:
            cost = self.gateway.currency.decimal(sum(one.receipt.charge for one in signed))
            usage = openai.with_cost(completion["usage"], cost) if ask.include_usage else None
            return StoredResponse(200, [*HEADERS, *headers], _events(completion, usage)), signed
        return StoredResponse(200, [*JSON, *headers], body), signed

    async def _charge(self, root: ServedCall) -> tuple[Signed, ...]:
        whole = await self._deducted(root)
        signed = await self.holds.charge(self.gateway, self.execution.guaranteed, [whole])
        note_earnings(self.gateway, whole)
        return signed

    async def _deducted(self, root: ServedCall) -> ServedCall:
        """A root call on its terms, with a deduction if it was referred, or a slot led to it."""
        if self.referral is None:
            return root
        tariff = await self.referral.terms(root.tariff, root.served.units, root.subcall_total)
        root.billing.slot = self.referral.paid_by
        return replace(root, tariff=tariff)

    async def _stream(self, planned: PlannedStep) -> tuple[StoredResponse, tuple[Signed, ...]] | None:
        """Stream a last step. None when it did not run, or failed before its first byte."""
        execution, name, started = self.execution, planned.step.id, steady_ms()
        execution.began_ms[name] = started - execution.began
        if not execution.is_due(planned):
            return None

        async def charge(candidate: Candidate, served: Served) -> tuple[Signed, ...]:
            execution.took_ms[name] = steady_ms() - started
            execution.served.append(ServedCall(name, call.billing, candidate.inner, served))
            if served.end in (EndReason.upstream_cut, EndReason.timeout):
                execution.fail_step(name, "its provider stopped in the middle")
                await self._charge_failure()
                return ()
            execution.outcomes[name] = Outcome(Status.ok)
            return await self._charge(execution.root(self.plan.tariff, served.end, served.response, served.units.byte))

        try:
            values, include_usage = execution.input_of(planned), self.request.ask.include_usage
            call = execution.call(planned, values, include_usage=include_usage, charge=charge)
            return await answer_stream(self.gateway, call, self.request)
        except PassedOn as refused:
            execution.fail_step(name, steps.refusal_of(refused))
        except (Rejected, Refusal) as error:
            execution.fail_step(name, error.message)
        return None

    async def _fail(self, step: str, reason: str) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """Charge a workflow that failed before the first byte of its answer, and answer with the reason."""
        signed = await self._charge_failure()
        refused = failure(self.execution, step, reason, signed)
        refused.facts["call"] = to_hex(self.execution.billing.call_id)
        if not signed:
            raise refused
        refused.headers += [*receipt_headers(*signed), *self.request.extra_headers]
        return self.request.client.refusal(refused), signed

    async def _charge_failure(self) -> tuple[Signed, ...]:
        """Charge what a failed workflow served: to the weaver's bond, if it promises all or nothing and pays for this
        consumer; else to the consumer, without any weaver's line.
        """
        execution, gateway = self.execution, self.gateway
        if execution.is_guaranteed():
            return await self.holds.charge(gateway, execution.guaranteed_subcalls(), [])
        root = execution.failed_root()
        if root is None:
            return await self.holds.charge(gateway, execution.guaranteed, execution.served)
        await gateway.db(lambda session: receipt_log.store_terms(session, [root.tariff.body]))
        return await self._charge(root)

    def _completion(self, output: Json) -> dict[str, Any]:
        """The answer as a chat completion, with the output as it is and how each step ended."""
        billing, units = self.execution.billing, coarse(self.execution.units(0))
        message = {"role": "assistant", "content": steps.text_of(output)}
        return {
            "id": "chatcmpl-" + billing.call_id.hex()[:32],
            "object": "chat.completion",
            "created": billing.started // 1000,
            "model": self.request.ask.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": units.input_token,
                "completion_tokens": units.output_token,
                "total_tokens": units.input_token + units.output_token,
            },
            "tollway": {"output": output, "steps": self.execution.trace()},
        }


def failure(execution: Execution, step: str, reason: str, signed: Sequence[Signed]) -> Refusal:
    """The refusal of a workflow that failed at a step: why, what the steps that served cost, and what they answered."""
    entry, charged = execution.plan.entry, sum(one.receipt.charge for one in signed)
    cost = f"the steps that served cost {charged} atoms" if charged else "nothing was charged"
    if charged and entry.capsule.policy is Policy.all_or_nothing:
        cost += ": the weaver's bond pays no more for failed calls than its weaver was paid, by you and by all"
    facts: dict[str, Any] = {"step": step, "reason": reason, "charge": str(charged), "steps": execution.trace()}
    if signed:
        partial = {name: outcome.output for name, outcome in execution.outcomes.items() if outcome.status is Status.ok}
        with suppress(Rejected):  # it is charged: then the reason is told without what JSON cannot have
            facts["partial"] = orjson.Fragment(written(partial))
    return Refusal(502, "workflow_failed", f"{entry.name} failed at step {step}: {reason}; {cost}", facts=facts)


def _events(completion: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bytes:
    """A whole completion as a stream of one piece, and its usage if that was asked for."""
    envelope = {name: completion[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + written(envelope | {"choices": choices} | more) + b"\n\n"

    message = completion["choices"][0]["message"]
    events = event([{"index": 0, "delta": message, "finish_reason": None}])
    events += event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if usage is not None:
        events += event([], usage=usage, tollway=completion["tollway"])
    return events + DONE
