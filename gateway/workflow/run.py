"""Running a workflow: every node starts as soon as those it waits for are done, and what it served is written down.

A node's failure is an outcome and never an exception; the capsule says what it means. Once the workflow is lost nothing
new is begun, but what is under way is awaited: a provider that serves is paid.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.call import call as calls
from gateway.call import routing
from gateway.call.call import Call, Charge
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.metering.answers import PassedOn
from gateway.payment.billing import Billing, Served
from gateway.workflow import steps
from gateway.workflow.plan import Plan, PlannedStep, affordable
from ledger.core.catalog.capsules import Policy, needs
from ledger.core.pricing import workflows
from ledger.core.pricing.price import Tariff
from ledger.core.pricing.workflows import Outcome, Status
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import TollwayError
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.meters import Units
from ledger.flows.receipt_log import Draft

SKIPPED, ERRED = Outcome(Status.skipped), Outcome(Status.error)


@dataclass(frozen=True, slots=True)
class Done:
    """A call that was served: what its receipt will say but for who pays. `subs` are its own sub-calls, in order."""

    step: str
    billing: Billing
    tariff: Tariff
    units: Units
    end: EndReason
    ended: int
    request: bytes
    response: Digest
    provider: Address | None = None
    subs: tuple[Done, ...] = ()

    @property
    def subcall_total(self) -> Atoms:
        """The prices of its direct sub-calls."""
        return sum(sub.price for sub in self.subs)

    @property
    def price(self) -> Atoms:
        """Its price, with what it passes on."""
        return self.tariff.price(self.units, self.subcall_total)[0]

    def drafts(self, payer: Address | None = None) -> Iterator[Draft]:
        """Receipts to be, sub-calls before what passes their prices on. A bond that pays has no key and no budget."""
        billing = self.billing if payer is None else replace(self.billing, consumer=payer, key_id=None, budget=None)
        for sub in self.subs:
            yield from sub.drafts(payer)
        served = Served(self.units, self.end, self.ended, self.request, self.response, self.provider)
        yield billing.draft(self.tariff, served, self.subcall_total)


@dataclass(slots=True)
class Weave:
    """One workflow under way. `done` are its direct sub-calls that served, in the order they ended.

    `guaranteed` are sub-calls of failed all-or-nothing workflows, by the weaver whose bond pays them.
    """

    gateway: Gateway
    plan: Plan
    billing: Billing
    request: Any
    request_bytes: bytes
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    took_ms: dict[str, int] = field(default_factory=dict)
    ids: dict[str, Digest] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    guaranteed: list[tuple[Address, Done]] = field(default_factory=list)
    fuel: int = 0

    @property
    def failed(self) -> str | None:
        """The node whose failure is the workflow's."""
        return workflows.failed(self.plan.entry.capsule, self.outcomes)

    async def run(self, but: tuple[str, ...] = ()) -> None:
        """Run every node, `but` those that will be streamed."""
        capsule = self.plan.entry.capsule
        tasks: dict[str, asyncio.Task[None]] = {}

        async def in_turn(name: str) -> None:
            for other in needs(capsule.steps[name], capsule.steps):
                await tasks[other]
            await self.step(name)

        for name in (name for level in capsule.levels for name in level if name not in but):
            tasks[name] = asyncio.create_task(in_turn(name))
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()

    async def step(self, name: str) -> None:
        """Run one node whose needs are met, or skip it."""
        capsule, planned, started = self.plan.entry.capsule, self.plan.steps[name], now_ms()
        try:
            if self.failed is not None or not workflows.runs(capsule, planned.step, self.request, self.outcomes):
                self.outcomes[name] = SKIPPED
                return
            values = workflows.input_of(capsule, planned.step, self.request, self.outcomes)
            output = await self._ran(planned, values)
            self.outcomes[name] = Outcome(Status.ok, output)
        except TimeoutError:
            self.err(name, f"it took longer than {planned.step.timeout_ms} ms")
        except PassedOn as refused:
            self.err(name, f"its provider refused the request: {refused.stored.body.decode(errors='replace')[:200]}")
        except TollwayError as error:
            self.err(name, error.message)
        finally:
            self.took_ms[name] = now_ms() - started

    def err(self, name: str, reason: str) -> None:
        """A node failed."""
        self.outcomes[name], self.reasons[name] = ERRED, reason

    def output(self) -> Any:
        """The workflow's answer. Rejected when its template points to nothing."""
        return workflows.output_of(self.plan.entry.capsule, self.request, self.outcomes)

    def units(self, response_bytes: int) -> Units:
        """The root call's own units: one call, its nodes' tokens, its time, its bytes and its glue's fuel."""
        tokens_in, tokens_out = (sum(one.units[meter] for one in self.done) for meter in (1, 2))
        size = len(self.request_bytes) + response_bytes
        used = Units(1, tokens_in, tokens_out, now_ms() - self.billing.started, size, self.fuel)
        return Units(*map(min, used, self.plan.most))

    def root(self, tariff: Tariff, end: EndReason, response: Digest, response_bytes: int) -> Done:
        """The workflow as one call."""
        return Done(
            *("", self.billing, tariff, self.units(response_bytes), end, now_ms(), self.request_bytes, response),
            subs=tuple(self.done),
        )

    def guaranteed_subcalls(self, cap: Atoms) -> list[tuple[Address, Done]]:
        """What the weaver's bond pays of a failed all-or-nothing workflow: sub-calls in order, up to the cap."""
        weaver = self.plan.entry.capsule.weaver
        places = workflows.covered([one.price for one in self.done], cap)
        return [*self.guaranteed, *((weaver, self.done[place]) for place in places)]

    def call(
        self, planned: PlannedStep, values: Any, *, include_usage: bool = False, charge: Charge | None = None
    ) -> Call:
        """The sub-call of a model node, cut to what the node may cost. Refused when nobody serves it for that.

        One that streams is charged by `charge`, with the workflow.
        """
        stream = charge is not None
        first = steps.ask(planned, values, planned.most, stream=stream)
        if len(first.body) > planned.most.input_token:
            raise Refusal(
                413, "input_too_large", f"its input has {len(first.body)} bytes, planned were {planned.most[1]}"
            )
        size = Units(1, len(first.body), planned.most.output_token, planned.most.ms, planned.most.byte, 0)
        most, fitting = affordable(planned.candidates, size, planned.price)
        if not fitting:
            raise Refusal(402, "above_max_price", f"nobody serves it for {planned.price} atoms")
        ask = steps.ask(planned, values, most, stream=stream, include_usage=include_usage)
        alive = [candidate for candidate in fitting if candidate.health.usable(now_ms())]
        billing = self.below(planned, planned.models[0].name)
        gateway = self.gateway
        route = routing.order(gateway.catalog, alive, most, billing.call_id, gateway.settings.tau_ppm, inner=True)
        late_at = asyncio.get_running_loop().time() + planned.step.timeout_ms / 1000
        return Call(ask, most, billing, route, part_of_workflow=True, charge_workflow=charge, late_at=late_at)

    def below(self, planned: PlannedStep, model: str) -> Billing:
        """The billing of a sub-call. Its id is made of the root's salt, so a workflow run again has others."""
        above = self.billing
        identity = keccak256(above.call_id, above.salt, planned.step.id.encode())
        self.ids[planned.step.id] = identity
        return replace(
            above,
            call_id=identity,
            model=model,
            salt=os.urandom(16),
            started=now_ms(),
            parent=above.call_id,
            attempts=[],
        )

    async def _ran(self, planned: PlannedStep, values: Any) -> Any:
        if planned.glue is not None:
            ran = await asyncio.to_thread(
                self.gateway.workshop.run, planned.glue, planned.step.export or "run", values, planned.most.fuel
            )
            self.fuel += ran.fuel
            return ran.output
        if planned.plan is not None:
            return await self._nested(planned, planned.plan, values)
        call = self.call(planned, values)
        async with asyncio.timeout_at(call.late_at):
            answer = await calls.attempt(self.gateway, call)
        output = steps.output(call.ask.path, answer.body)
        billing = replace(call.billing, model=self._named(answer.candidate.subject, planned))
        self.done.append(Done(planned.step.id, billing, answer.candidate.inner, *answer.served))
        return output

    async def _nested(self, planned: PlannedStep, plan: Plan, values: Any) -> Any:
        """Run a workflow inside this one. If it fails, its own policy says who pays what it finished."""
        asked = steps.encoded(values)
        inner = Weave(self.gateway, plan, self.below(planned, plan.entry.name), values, asked)
        if len(asked) > plan.most.byte:
            raise Refusal(413, "input_too_large", f"its input has {len(asked)} bytes")
        reason = None
        try:
            async with asyncio.timeout(planned.step.timeout_ms / 1000):
                await inner.run()
            if inner.failed is not None:
                reason = f"its node {inner.failed} failed: {inner.reasons.get(inner.failed, '')}"
            else:
                output = inner.output()
                answer = steps.encoded(output)
                root = inner.root(plan.tariff, EndReason.normal, inner.billing.digest_of(answer), len(answer))
                self.done.append(replace(root, step=planned.step.id))
                self.guaranteed += inner.guaranteed
                return output if isinstance(output, dict) else {"content": steps.text_of(output)}
        except TimeoutError:
            reason = f"it took longer than {planned.step.timeout_ms} ms"
        except TollwayError as error:
            reason = error.message
        if plan.entry.capsule.policy is Policy.all_or_nothing:
            self.guaranteed += inner.guaranteed_subcalls(self.gateway.settings.bond_cap_atoms)
        else:
            self.guaranteed += inner.guaranteed
            self.done += [
                replace(one, step=planned.step.id, billing=replace(one.billing, parent=self.billing.call_id))
                for one in inner.done
            ]
        raise Refusal(502, "workflow_failed", reason)

    def _named(self, subject: Digest, planned: PlannedStep) -> str:
        return next((entry.name for entry in planned.models if entry.id == subject), to_hex(subject))
