"""Answering with a workflow: plan, hold, run, and settle all of its receipts in one segment of the journal.

To the consumer a capsule is a model: one OpenAI-compatible endpoint, which streams the node that speaks last. What it
cost is the root's receipt and those of its sub-calls, each on its own terms. All or nothing: if it fails the consumer
pays nothing, and the weaver's bond pays what was served. Partial: the consumer pays what was served, and no weaver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.call.idempotency import StoredResponse, receipt_headers
from gateway.call.referrals import ReferralContext
from gateway.call.request import Request
from gateway.call.stream import DONE, HEADERS, answer_stream
from gateway.catalog.catalog import Candidate, CapsuleEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal, body_of
from gateway.metering.answers import PassedOn
from gateway.metering.ask import CHAT, Ask
from gateway.payment.billing import Served
from gateway.workflow import plan as planning
from gateway.workflow import steps
from gateway.workflow.guarantees import Holds
from gateway.workflow.plan import Plan
from gateway.workflow.run import Done, Weave
from ledger.core.catalog.bids import Role
from ledger.core.catalog.capsules import Policy
from ledger.core.pricing import workflows
from ledger.core.pricing.eligibility import RoutePreferences
from ledger.core.pricing.price import compile_terms
from ledger.core.pricing.workflows import Outcome, Status
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from ledger.flows import receipt_log
from ledger.store.receipts.receipts import Signed

JSON = (b"content-type", b"application/json")


async def plan(gateway: Gateway, entry: CapsuleEntry, ask: Ask, preferences: RoutePreferences) -> Plan:
    """The plan of a chat request to a workflow: it knows the most the request can cost."""
    if ask.path != CHAT:
        raise Refusal(400, "wrong_protocol", f"{entry.name} is a workflow: use {CHAT}", param="model")
    await planning.fetch_glue(gateway, entry)
    plan = planning.plan(gateway, entry, ask.json, len(ask.body), preferences)
    if preferences.max_price is not None and plan.price > preferences.max_price:
        message = f"{entry.name} may cost {plan.price} atoms, above the {preferences.max_price} allowed"
        raise Refusal(402, "above_max_price", message, facts={"required": str(plan.price)})
    return plan


async def serve(
    gateway: Gateway, request: Request, plan: Plan, referral: ReferralContext | None
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Answer a chat request with a workflow. Raises a Refusal when it failed and the consumer pays nothing."""
    if referral is not None:
        plan = replace(plan, tariff=await referral.terms(plan.tariff))
    billing = request.billing(gateway, plan.entry.name)
    holds = await Holds.take(gateway, request.caller, plan)
    try:
        weave = Weave(gateway, plan, billing, request.ask.json, request.ask.body)
        return await Serving(gateway, request, plan, weave, holds).answer()
    finally:
        holds.release()


class Serving:
    """One workflow being answered."""

    def __init__(self, gateway: Gateway, request: Request, plan: Plan, weave: Weave, holds: Holds) -> None:
        self.gateway, self.request, self.plan, self.weave, self.holds = gateway, request, plan, weave, holds
        self.ask, self.extra_headers = request.ask, request.extra_headers
        self.capsule = plan.entry.capsule

    async def answer(self) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """Run, settle, and answer: as a stream where the last node can be one."""
        weave = self.weave
        talking = {name: planned.models[0] for name, planned in self.plan.steps.items() if planned.models}
        last = steps.last_steps(self.capsule, talking) if self.ask.stream else ()
        await weave.run(but=last)
        for name in last:
            streamed = await self._stream(name)
            if streamed is not None:
                return streamed
        if weave.failed is not None:
            return await self._failed(weave.failed, weave.reasons.get(weave.failed, "it failed"))
        try:
            output = weave.output()
        except Rejected as rejected:
            return await self._failed("output", rejected.message)
        body = self._completion(output)
        root = weave.root(self.plan.tariff, EndReason.normal, weave.billing.digest_of(body), len(body))
        signed = await self._charge(root)
        headers = [*receipt_headers(*signed), *self.extra_headers]
        if self.ask.stream:
            return StoredResponse(
                200, [*HEADERS, *headers], _events(orjson.loads(body), self.ask.include_usage)
            ), signed
        return StoredResponse(200, [JSON, *headers], body), signed

    async def _charge(self, root: Done) -> tuple[Signed, ...]:
        """The receipts of a workflow that served, all of them or none."""
        guaranteed = [(weaver, list(done.drafts(weaver))) for weaver, done in self.weave.guaranteed]
        return await self.holds.charge(self.gateway, guaranteed, list(root.drafts()))

    async def _stream(self, name: str) -> tuple[StoredResponse, tuple[Signed, ...]] | None:
        """Stream a last node. None when it did not run, or failed before its first byte."""
        weave, planned = self.weave, self.plan.steps[name]
        if weave.failed is not None or not workflows.runs(self.capsule, planned.step, weave.request, weave.outcomes):
            weave.outcomes[name] = Outcome(Status.skipped)
            return None
        started = now_ms()
        try:
            values = workflows.input_of(self.capsule, planned.step, weave.request, weave.outcomes)

            async def charge(candidate: Candidate, served: Served) -> tuple[Signed, ...]:
                weave.took_ms[name] = served.ended - started
                weave.done.append(Done(name, call.billing, candidate.inner, *served))
                if served.end in (EndReason.upstream_cut, EndReason.timeout):
                    weave.err(name, "its provider stopped in the middle")
                    await self._settle_failure()
                    return ()
                weave.outcomes[name] = Outcome(Status.ok)
                return await self._charge(weave.root(self.plan.tariff, served.end, served.response, served.units.byte))

            call = weave.call(planned, values, include_usage=self.ask.include_usage, charge=charge)
            return await answer_stream(self.gateway, call, self.request)
        except PassedOn as refused:
            weave.err(name, f"its provider refused the request: {refused.stored.body.decode(errors='replace')[:200]}")
        except Rejected as rejected:
            weave.err(name, rejected.message)
        except Refusal as refused:
            weave.err(name, refused.message)
        return None

    async def _failed(self, step: str, reason: str) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """A workflow failed before the consumer saw a byte: settle it, and say what happened."""
        weave, name = self.weave, self.plan.entry.name
        signed = await self._settle_failure()
        charged = sum(one.receipt.charge for one in signed)
        extra_headers = f"the nodes that served cost {charged} atoms" if charged else "nothing was charged"
        refused = Refusal(
            502,
            "workflow_failed",
            f"{name} failed at node {step}: {reason}; {extra_headers}",
            facts={
                "node": step,
                "reason": reason,
                "call": to_hex(weave.billing.call_id),
                "charge": str(charged),
                "nodes": self._steps(),
            },
        )
        if not signed:
            raise refused
        refused.facts["partial"] = {
            name: outcome.output for name, outcome in weave.outcomes.items() if outcome.status is Status.ok
        }
        return StoredResponse(
            refused.status, [JSON, *receipt_headers(*signed), *self.extra_headers], body_of(refused)
        ), signed

    async def _settle_failure(self) -> tuple[Signed, ...]:
        """Who pays for what was served: the weaver's bond, or the consumer, without any weaver's line."""
        weave, gateway = self.weave, self.gateway
        if self.capsule.policy is Policy.all_or_nothing:
            borne = weave.guaranteed_subcalls(gateway.settings.bond_cap_atoms)
            guaranteed = [(weaver, list(done.drafts(weaver))) for weaver, done in borne]
            return await self.holds.charge(gateway, guaranteed, [])
        guaranteed = [(weaver, list(done.drafts(weaver))) for weaver, done in weave.guaranteed]
        if not weave.done:
            return await self.holds.charge(gateway, guaranteed, [])
        rest = workflows.without(self.plan.tariff.terms, Role.weaver)
        if rest is None:
            return await self.holds.charge(gateway, guaranteed, [one for done in weave.done for one in done.drafts()])
        made = compile_terms(rest)
        await gateway.db(lambda session: receipt_log.store_terms(session, [made.body]))
        root = weave.root(made, EndReason.upstream_cut, weave.billing.digest_of(b""), 0)
        return await self.holds.charge(gateway, guaranteed, list(root.drafts()))

    def _completion(self, output: Any) -> bytes:
        """The answer as a chat completion; beside it the output as it is, and how every node ended."""
        units = self.weave.units(0)
        message = {"role": "assistant", "content": steps.text_of(output)}
        return orjson.dumps(
            {
                "id": "chatcmpl-" + self.weave.billing.call_id.hex()[:32],
                "object": "chat.completion",
                "created": self.weave.billing.started // 1000,
                "model": self.plan.entry.name,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": units.input_token,
                    "completion_tokens": units.output_token,
                    "total_tokens": units.input_token + units.output_token,
                },
                "tollway": {"output": output, "nodes": self._steps()},
            }
        )

    def _steps(self) -> list[dict[str, Any]]:
        weave = self.weave
        prices = {done.step: str(done.price) for done in weave.done}
        return [
            {
                "node": name,
                "status": outcome.status.value,
                "ms": weave.took_ms.get(name, 0),
                **({"call": to_hex(weave.ids[name]), "price": prices[name]} if name in prices else {}),
                **({"reason": weave.reasons[name]} if name in weave.reasons else {}),
            }
            for name, outcome in weave.outcomes.items()
        ]


def _events(answer: Mapping[str, Any], include_usage: bool) -> bytes:
    """An answer that came in one piece, as a stream of one piece."""
    envelope = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = answer["choices"][0]
    deltas: list[tuple[dict[str, Any], str | None]] = [(choice["message"], None), ({}, "stop")]
    rows: list[dict[str, Any]] = [
        envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} for delta, reason in deltas
    ]
    if include_usage:
        rows.append(envelope | {"choices": [], "usage": answer["usage"], "tollway": answer["tollway"]})
    return b"".join(b"data: " + orjson.dumps(row) + b"\n\n" for row in rows) + DONE
