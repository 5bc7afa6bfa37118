"""Running a workflow: each step starts as soon as the steps it needs have ended, and what it served is recorded.

A step's failure is an outcome, not an exception; the capsule says what follows from it. Once the workflow has failed no
step is started, but those that run are awaited: a provider that serves is paid.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from msgspec import structs

from gateway.call import call as calls
from gateway.call import routing
from gateway.call.call import Call, Charge, HoldMore
from gateway.clock import now_ms, steady_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.metering.answers import PassedOn
from gateway.metering.ask import written
from gateway.metering.usage import capped, estimate
from gateway.payment.billing import Billing, Served
from gateway.workflow import steps
from gateway.workflow.plan import Plan, PlannedStep, serving
from ledger.core.catalog.bids import Role
from ledger.core.catalog.capsules import Policy, needs
from ledger.core.pricing import workflows
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.workflows import Outcome, Status
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.meters import Units
from ledger.flows.receipt_log import Draft

MOST_REASON = 500
"""Characters of why a step failed: nodes and workflows inside say it too."""


@dataclass(frozen=True, slots=True)
class ServedCall:
    """A call that was served, with its sub-calls in the order they ended. Its receipts still need a payer."""

    step: str
    billing: Billing
    tariff: Tariff
    served: Served
    subcalls: tuple[ServedCall, ...] = ()

    @property
    def subcall_count(self) -> int:
        """The receipts of its sub-calls, at any depth."""
        return sum(1 + one.subcall_count for one in self.subcalls)

    @property
    def subcall_total(self) -> Atoms:
        return sum(one.price for one in self.subcalls)

    @property
    def price(self) -> Atoms:
        return self.tariff.price(self.served.units, self.subcall_total)[0]

    def calls(self) -> Iterator[ServedCall]:
        """Its sub-calls at any depth, and then itself: the order of its receipts."""
        for one in self.subcalls:
            yield from one.calls()
        yield self

    def draft(self, payer: Address | None = None) -> Draft:
        """Its own receipt. `payer` is a weaver whose bond pays instead of the consumer."""
        billing = self.billing
        if payer is not None:
            billing = structs.replace(billing, consumer=payer, key_id=None, allowance=None)
        return billing.draft(self.tariff, self.served, self.subcall_count, self.subcall_total)


@dataclass(slots=True)
class Execution:
    """One workflow that runs. `served` are its direct sub-calls that served, in the order they ended.

    `guaranteed` are sub-calls of failed all-or-nothing workflows inside it, each with the weaver whose bond pays it.
    `late_at`, on the event loop's clock, is when no step of it may run any more.
    """

    gateway: Gateway
    plan: Plan
    billing: Billing
    request: Json
    request_body: bytes
    late_at: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    began_ms: dict[str, int] = field(default_factory=dict)
    """When each step began, or was skipped, since the workflow began."""
    took_ms: dict[str, int] = field(default_factory=dict)
    served: list[ServedCall] = field(default_factory=list)
    guaranteed: list[tuple[Address, ServedCall]] = field(default_factory=list)
    hold_more: HoldMore | None = None
    """Has more held than was planned for this workflow."""
    extra: Atoms = 0
    """What dearer sub-calls than planned may cost more, in all, and what the workflow then costs at most (`price`)."""
    price: Atoms = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    fuel: int = 0
    began: int = field(default_factory=steady_ms)

    @property
    def failed(self) -> str | None:
        """The step whose failure is the workflow's."""
        return workflows.failed(self.plan.entry.capsule, self.outcomes)

    async def run(self, streamed: Collection[str] = ()) -> None:
        """Run every step, but for those that will be `streamed`."""
        capsule = self.plan.entry.capsule
        tasks: dict[str, asyncio.Task[None]] = {}

        async def run_in_turn(name: str) -> None:
            for other in needs(capsule.steps[name], capsule.steps):
                await tasks[other]
            await self._run_step(self.plan.steps[name])

        for name in (name for level in capsule.levels for name in level if name not in streamed):
            tasks[name] = asyncio.create_task(run_in_turn(name))
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)  # workflows inside say what they served

    async def afford(self, more: Atoms) -> None:
        """Have held what a sub-call that is dearer by `more` than planned makes the workflow cost more."""
        async with self.lock:
            plan, extra = self.plan, self.extra + more
            try:
                price = plan.tariff.hold(plan.most, plan.subcall_total + extra)
            except Rejected as rejected:
                raise Refusal(402, "price_infeasible", rejected.message) from rejected
            assert self.hold_more is not None
            await self.hold_more(max(0, price - max(self.price, plan.price)))
            self.extra, self.price = extra, price

    def is_due(self, planned: PlannedStep) -> bool:
        """Whether a step whose needs have ended runs. One that does not is skipped."""
        capsule = self.plan.entry.capsule
        if self.failed is None and workflows.runs(capsule, planned.step, self.request, self.outcomes):
            return True
        self.outcomes[planned.step.id] = Outcome(Status.skipped)
        return False

    def input_of(self, planned: PlannedStep) -> Json:
        return workflows.input_of(self.plan.entry.capsule, planned.step, self.request, self.outcomes)

    def fail_step(self, name: str, reason: str) -> None:
        self.outcomes[name], self.reasons[name] = Outcome(Status.error), reason[:MOST_REASON]

    def output(self) -> Json:
        """The workflow's output. Rejected when its template names what is not there."""
        return workflows.output_of(self.plan.entry.capsule, self.request, self.outcomes)

    def units(self, response_bytes: int) -> Units:
        """The root call's own units: one call, its steps' tokens, images and searches, its time, bytes and fuel."""
        steps = [sum(counts) for counts in zip(Units(), *(one.served.units for one in self.served), strict=True)]
        used = Units(*steps)._replace(
            call=1,
            ms=steady_ms() - self.began,
            byte=len(self.request_body) + response_bytes,
            fuel=self.fuel,
        )
        return capped(used, self.plan.most)

    def root(self, tariff: Tariff, end: EndReason, response: Digest, response_bytes: int) -> ServedCall:
        ended = self.gateway.end_of(self.billing.epoch)
        served = Served(self.units(response_bytes), end, ended, self.request_body, response)
        return ServedCall("", self.billing, tariff, served, tuple(self.served))

    def failed_root(self) -> ServedCall | None:
        """The root call of a failed workflow whose consumer pays what served: without any weaver's line. None when
        nothing served, or no other line is left.
        """
        rest = workflows.without(self.plan.tariff.terms, Role.weaver)
        if rest is None or not self.served:
            return None
        return self.root(compile_terms(rest), EndReason.upstream_cut, self.billing.digest_of(b""), 0)

    def trace(self) -> list[dict[str, Any]]:
        """A row for each step that ended, in that order, as `docs/capsules.md` describes it. Of a workflow that failed
        within a step the calls that served are this step's, and paid together.
        """
        served: dict[str, list[ServedCall]] = {}
        for one in self.served:
            served.setdefault(one.step, []).append(one)
        rows = []
        for name, outcome in self.outcomes.items():
            row: dict[str, Any] = {"step": name, "status": outcome.status.value}
            row |= {"began_ms": self.began_ms.get(name, 0), "ms": self.took_ms.get(name, 0)}
            calls = served.get(name, [])
            if calls:
                row["price"] = str(sum(one.price for one in calls))
            if len(calls) == 1:
                row |= {"call": to_hex(calls[0].billing.call_id), "model": calls[0].billing.model}
            if name in self.reasons:
                row["reason"] = self.reasons[name]
            rows.append(row)
        return rows

    def is_guaranteed(self) -> bool:
        """Whether the bond of its weaver pays what this workflow, which failed, has served. It is asked once."""
        if self.plan.entry.capsule.policy is not Policy.all_or_nothing:
            return False
        owed = sum(call.price for _, call in self.guaranteed_subcalls()[len(self.guaranteed) :])
        return self.gateway.guarantees.claim(self.plan.entry.owner, self.billing.asker, owed)

    def guaranteed_subcalls(self) -> list[tuple[Address, ServedCall]]:
        """The sub-calls of a failed all-or-nothing workflow that the weaver's bond pays: in order, up to its cap."""
        weaver, cap = self.plan.entry.owner, self.gateway.settings.bond_cap_atoms
        places = workflows.covered([one.price for one in self.served], cap)
        return [*self.guaranteed, *((weaver, self.served[place]) for place in places)]

    def call(
        self, planned: PlannedStep, values: Json, *, include_usage: bool = False, charge: Charge | None = None
    ) -> Call:
        """The sub-call of a step that a model serves. Refused when nobody serves it, or not for what it may cost.

        With `charge` the call streams, and `charge` charges the whole workflow.
        """
        if planned.unserved is not None:
            raise planned.unserved
        stream = charge is not None
        size = len(steps.ask(planned, values, planned.most, stream=stream).body)
        if size > planned.most.input_token:
            message = f"its input has {size} bytes, planned were {planned.most.input_token}"
            raise Refusal(413, "input_too_large", message)
        most = planned.most._replace(input_token=size, input_character=size, fuel=0)
        most, candidates = serving(planned, most, planned.price if planned.step.max_price is not None else None)
        ask = steps.ask(planned, values, most, stream=stream, include_usage=include_usage)
        billing = self._subcall_billing(planned, planned.models[0].name)
        draw = routing.draw_for(self.plan.catalog, self.gateway.settings, billing.call_id, billing.asker)
        nearest = self.plan.preferences.prefers_nearest(estimate(size))
        draw = draw._replace(inner=True, nearest=nearest)
        route = routing.order(candidates, most, draw)
        call = Call(ask, most, billing, route, part_of_workflow=True, charge_workflow=charge)
        call.planned, call.hold_more = planned.price, self.afford
        call.late_at = self._late_at(planned)
        call.is_late_by_node = call.late_at < self.late_at
        return call

    async def _run_step(self, planned: PlannedStep) -> None:
        """Run one step whose needs have ended, or skip it."""
        name, started = planned.step.id, steady_ms()
        self.began_ms[name] = started - self.began
        try:
            if self.is_due(planned):
                self.outcomes[name] = Outcome(Status.ok, await self._output_of(planned, self.input_of(planned)))
        except TimeoutError:
            self.fail_step(name, _too_long(planned))
        except PassedOn as refused:
            self.fail_step(name, steps.refusal_of(refused))
        except TollwayError as error:
            self.fail_step(name, error.message)
        finally:
            self.took_ms[name] = steady_ms() - started

    async def _output_of(self, planned: PlannedStep, values: Json) -> Json:
        if planned.unserved is not None:
            raise planned.unserved
        if planned.glue is not None:
            export = planned.step.export or "run"
            workshop = self.gateway.workshop
            result = await workshop.do(partial(workshop.run, planned.glue, export, values, planned.most.fuel))
            self.fuel += result.fuel
            return result.output
        if planned.plan is not None:
            return await self._run_nested(planned, planned.plan, values)
        call = self.call(planned, values)
        async with asyncio.timeout_at(call.late_at):
            answer = await calls.attempt(self.gateway, call)
        output = steps.output(call.ask.path, answer.body)
        subject = answer.candidate.subject
        model = next((entry.name for entry in planned.models if entry.id == subject), to_hex(subject))
        billing = self._of_model(call.billing, model)
        self.served.append(ServedCall(planned.step.id, billing, answer.candidate.inner, answer.served))
        return output

    async def _run_nested(self, planned: PlannedStep, plan: Plan, values: Json) -> Json:
        """Run a workflow inside this one. If it fails, its own policy says who pays for what it finished."""
        body = written(values)
        billing = self._subcall_billing(planned, plan.entry.name)
        if len(body) > plan.most.byte:
            raise Refusal(413, "input_too_large", f"its input has {len(body)} bytes")
        inner = Execution(self.gateway, plan, billing, values, body, self._late_at(planned))
        inner.hold_more = partial(self._afford_within, planned, inner)
        try:
            async with asyncio.timeout_at(inner.late_at):
                await inner.run()
            if inner.failed is not None:
                reason = f"its step {inner.failed} failed: {inner.reasons.get(inner.failed, '')}"
            else:
                output = inner.output()
                answer = written(output)
                root = inner.root(plan.tariff, EndReason.normal, billing.digest_of(answer), len(answer))
                self.served.append(replace(root, step=planned.step.id))
                self.guaranteed += inner.guaranteed
                return output if isinstance(output, dict) else {"content": steps.text_of(output)}
        except TimeoutError:
            reason = _too_long(planned)
        except TollwayError as error:
            reason = error.message
        except asyncio.CancelledError:
            self._take_over(planned, inner)
            raise
        if self._bond_pays(inner):
            self.guaranteed += inner.guaranteed_subcalls()
        else:
            self._take_over(planned, inner)
        raise Refusal(502, "workflow_failed", reason)

    async def _afford_within(self, planned: PlannedStep, inner: Execution, more: Atoms) -> None:
        """Have more held for a workflow inside, within the largest price that the author of this one sets for it."""
        limit = planned.step.max_price
        if limit is not None and max(inner.price, planned.price) + more > limit:
            raise Refusal(402, "above_max_price", f"step {planned.step.id} may cost {limit} atoms, says its author")
        await self.afford(more)

    def _late_at(self, planned: PlannedStep) -> float:
        """When a step that begins now is too late."""
        return min(self.late_at, asyncio.get_running_loop().time() + planned.step.timeout_ms / 1000)

    def _bond_pays(self, inner: Execution) -> bool:
        """Whether a bond pays what a workflow inside this one, which failed, has served. It is asked once."""
        return inner.is_guaranteed()

    def _of_model(self, billing: Billing, model: str) -> Billing:
        """The billing of a sub-call, by the model that served it."""
        return structs.replace(billing, model=model)

    def _take_over(self, planned: PlannedStep, inner: Execution) -> None:
        """What a workflow inside this one served is this one's to pay."""
        self.guaranteed += inner.guaranteed
        self.served += [
            replace(one, step=planned.step.id, billing=structs.replace(one.billing, parent=self.billing.call_id))
            for one in inner.served
        ]

    def _subcall_billing(self, planned: PlannedStep, model: str) -> Billing:
        """The billing of a sub-call. Its id depends on the root's salt, so each run of a workflow has new ids."""
        root = self.billing
        call_id = keccak256(root.call_id, root.salt, planned.step.id.encode())
        return structs.replace(
            root,
            call_id=call_id,
            model=model,
            salt=os.urandom(16),
            started=now_ms(),
            parent=root.call_id,
            attempts=[],
            realm=planned.realm,
        )


def _too_long(planned: PlannedStep) -> str:
    return f"it took longer than {planned.step.timeout_ms} ms, or its workflow longer than a call may"
