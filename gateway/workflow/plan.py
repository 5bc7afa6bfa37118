"""Plans: before a workflow runs, the most each of its steps may use, and the most it can cost.

The consumer's hold covers the plan, so a workflow that has begun can always be paid. A step without `max_price` is
planned at what is asked for the most it could use; a dearer provider serves it if the consumer can pay that when the
others have failed. A step with it is planned at that price, and its output is limited to fit later.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gateway import bounds
from gateway.call import routing
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.metering.ask import written
from gateway.payment.auth import Caller
from gateway.payment.billing import most_units
from gateway.upstream import target
from gateway.workflow.wasm import Glue
from ledger.core.catalog import protocols
from ledger.core.catalog.capsules import MAX_DEPTH, MAX_STEPS, Policy, Step
from ledger.core.catalog.protocols import Protocol
from ledger.core.catalog.templates import named, resolve
from ledger.core.pricing import eligibility, workflows
from ledger.core.pricing.eligibility import AboveLimit, AllPaused, RoutePreferences
from ledger.core.pricing.price import Tariff
from ledger.core.pricing.workflows import Outcome
from ledger.core.receipts.receipt import MAX_SUBCALLS
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid
from ledger.core.values.meters import Units
from ledger.store.network import documents

WRAPPING_BYTES = 512
"""Allowed for what a request has around its values: names, shapes, the model."""
NOTHING = Units()


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a workflow is planned: what there is to call, and what the consumer asks of routes."""

    gateway: Gateway
    catalog: Catalog
    preferences: RoutePreferences
    caller: Caller | None = None
    """Who tries a workflow: its steps are calls of this caller's own, of what its key may call. None: sub-calls."""

    def of_step(self, entry: CapsuleEntry, step: Step) -> Scope:
        """The scope of a step: the same, unless it runs outside of the realm that its capsule names."""
        catalog = self.catalog.of_step(entry.capsule, step)
        if catalog is self.catalog:
            return self
        return replace(self, catalog=catalog, preferences=replace(self.preferences, realm=catalog.realm))


def anywhere(gateway: Gateway, catalog: Catalog) -> Scope:
    """The scope of who asks nothing of the route but its realm."""
    return Scope(gateway, catalog, RoutePreferences(realm=catalog.realm))


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: what may run it, the most it may use, and the most it may cost.

    A step that cannot be served now has the reason, `unserved`, and costs nothing. It fails when it runs.
    """

    step: Step
    price: Atoms = 0
    most: Units = NOTHING
    models: tuple[ModelEntry, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    glue: Glue | None = None
    plan: Plan | None = None
    realm: str = ""
    unserved: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned workflow: its steps, the terms and most units of its root call, and the most it costs in all; and what
    the consumer prefers.
    """

    catalog: Catalog
    preferences: RoutePreferences
    entry: CapsuleEntry
    steps: Mapping[str, PlannedStep]
    tariff: Tariff
    most: Units
    subcall_total: Atoms
    price: Atoms

    @property
    def refusals(self) -> dict[str, Refusal]:
        """Why steps cannot be served now, by step."""
        return {name: planned.unserved for name, planned in self.steps.items() if planned.unserved is not None}

    @property
    def exposures(self) -> Counter[Address]:
        """The most each weaver's bond pays if its all-or-nothing workflow fails."""
        exposed: Counter[Address] = Counter()
        for planned in self.steps.values():
            if planned.plan is not None:
                exposed += planned.plan.exposures
        if self.entry.capsule.policy is Policy.all_or_nothing and self.subcall_total:
            exposed[self.entry.owner] += self.subcall_total
        return exposed


async def fetch_glue(scope: Scope, entry: CapsuleEntry) -> None:
    """Load every published glue module of the workflow and its sub-workflows into the workshop."""
    gateway = scope.gateway
    for digest in {module.digest for one in _nested(scope, entry) for module in one.capsule.glue.values()}:
        if gateway.workshop.find(digest) is None:
            stored = await gateway.db(lambda session, key=digest: documents.get(session, Digest(key)))  # type: ignore[misc]
            if stored is not None and stored.kind == "glue":
                await gateway.workshop.do(partial(gateway.workshop.load, stored.body))


def plan(scope: Scope, entry: CapsuleEntry, request: Json | None, request_bytes: int) -> Plan:
    """Plan a workflow. Refused when it nests too deep or too wide, or when it would fail, naming the step, because a
    step cannot be served. Not for a step that may be skipped, that this request does not run, or that has a fallback
    that can be served.

    `request` is None while it is not known; `request_bytes` is its largest size.
    """
    _nested(scope, entry)
    return _plan(scope, entry, entry.tariff, request, request_bytes)


def _plan(scope: Scope, entry: CapsuleEntry, tariff: Tariff | None, request: Json | None, request_bytes: int) -> Plan:
    gateway = scope.gateway
    if tariff is None:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    steps, sent = dict[str, PlannedStep](), 0
    for step in entry.capsule.steps.values():
        if sent > bounds.STEPS_BYTES:
            message = f"the steps of {entry.name} would be sent more than {bounds.STEPS_BYTES} bytes together"
            raise Refusal(413, "input_too_large", message)
        try:
            size = _request_bytes(gateway, step, request, request_bytes)
            sent += size
            steps[step.id] = _plan_step(scope.of_step(entry, step), entry, step, size)
        except Rejected as rejected:
            refused = Refusal(400, "invalid_request", f"step {step.id}: {rejected.message}", param=step.id)
            steps[step.id] = PlannedStep(step, unserved=refused)
        except Refusal as refused:
            steps[step.id] = PlannedStep(step, unserved=refused)
    unserved = {name: planned.unserved for name, planned in steps.items() if planned.unserved is not None}
    check_served(entry, unserved, request)
    subcall_total = sum(planned.price for planned in steps.values())
    most = _root_units(gateway, steps, request_bytes)
    try:
        price = tariff.hold(most, subcall_total)
    except Rejected as rejected:
        raise Refusal(503, "price_infeasible", f"{entry.name} cannot be sold: {rejected.message}") from rejected
    return Plan(scope.catalog, scope.preferences, entry, steps, tariff, most, subcall_total, price)


def why_not(scope: Scope, entry: Entry) -> str:
    """Why a model cannot be called now, or a workflow would not run; empty if it can: whoever serves what must run is
    alive. Whether its glue is published is not looked up.
    """
    if isinstance(entry, ModelEntry):
        return (
            ""
            if eligibility.alive(entry.candidates)
            else entry.why or "who serves it failed lately, or is not connected"
        )
    if entry.tariff is None:
        return entry.why
    try:
        _nested(scope, entry)
    except Refusal as refused:
        return refused.message
    failing = _failing(scope, entry)
    return f"nobody serves step {failing} now" if failing is not None else ""


def _failing(scope: Scope, entry: CapsuleEntry) -> str | None:
    """The first step by which a workflow would fail now, or None."""
    unserved = {step.id for step in entry.capsule.steps.values() if not _is_served(scope, entry, step)}
    return workflows.failed(entry.capsule, workflows.foreseen(entry.capsule, unserved))


def _is_served(around: Scope, entry: CapsuleEntry, step: Step) -> bool:
    scope = around.of_step(entry, step)
    if step.glue is not None:
        return True
    if step.capsule is not None:
        inner = scope.catalog.by_id.get(step.capsule)
        return isinstance(inner, CapsuleEntry) and inner.inner is not None and _failing(scope, inner) is None
    try:
        models = _models(scope, entry, step)
    except Refusal:
        return False
    return any(eligibility.alive(_candidates(scope, model, step)) for model in models)


def check_served(
    entry: CapsuleEntry, refusals: Mapping[str, Refusal], request: Json | None = None
) -> dict[str, Outcome]:
    """How each step will end. Refused, as its step is, when the workflow would fail by a step that is."""
    outcomes = workflows.foreseen(entry.capsule, refusals, request)
    failing = workflows.failed(entry.capsule, outcomes)
    if failing is not None:
        raise refusals[failing]
    return outcomes


def check_price(entry: CapsuleEntry, price: Atoms, preferences: RoutePreferences) -> None:
    """Refused when a workflow may cost more than the consumer's largest price."""
    try:
        eligibility.check_limit(price, preferences.max_price)
    except AboveLimit as above:
        raise routing.refusal_of(entry.name, above) from above


def serving(planned: PlannedStep, most: Units, limit: Atoms | None) -> tuple[Units, list[Candidate]]:
    """The providers that serve a step now within `limit`, and the most it can use then. Refused when there are none."""
    try:
        return eligibility.serving_shortened(planned.candidates, limit, lambda one, units: one.inner.hold(units), most)
    except (AboveLimit, AllPaused) as none:
        raise routing.refusal_of(f"step {planned.step.id}", none) from none


def speaks(step: Step) -> Protocol:
    """The protocol that a step's input is written for."""
    return Protocol.chat if "messages" in step.input else Protocol.tensors


def embeds(step: Step, entry: ModelEntry) -> bool:
    """Whether a step asks an OpenAI server for embeddings: it has an `input`, and the model takes no tensors."""
    able = Protocol.tensors not in entry.protocols and protocols.takes(entry.protocols, Protocol.embeddings)
    return able and "input" in step.input and speaks(step) != Protocol.chat


def _plan_step(scope: Scope, entry: CapsuleEntry, step: Step, size: int) -> PlannedStep:
    gateway, catalog = scope.gateway, scope.catalog
    if step.glue is not None:
        digest = entry.capsule.glue[step.glue].digest
        glue = gateway.workshop.find(digest)
        if glue is None:
            message = f"step {step.id} needs the glue {cid(digest)}, which is not published here"
            raise Refusal(503, "glue_missing", message, retry_after=1)
        return PlannedStep(step, most=Units(fuel=entry.capsule.glue[step.glue].fuel), glue=glue)
    if step.capsule is not None:
        inner = catalog.by_id.get(step.capsule)
        if not isinstance(inner, CapsuleEntry):
            raise Refusal(503, "no_provider", f"step {step.id} needs {cid(step.capsule)}, which is not published")
        tariff = inner.inner if scope.caller is None else inner.tariff
        below = _plan(replace(scope, caller=None), inner, tariff, None, size)
        if step.max_price is not None and below.price > step.max_price:
            raise Refusal(
                503,
                "above_max_price",
                f"step {step.id} may cost {below.price} atoms, its author allows {step.max_price}",
            )
        return PlannedStep(step, below.price, below.most, plan=below, realm=catalog.realm)
    models = _models(scope, entry, step)
    candidates = tuple(one for model in models for one in _candidates(scope, model, step))
    if not candidates:
        why = next((model.why for model in models if model.why), "none fits its tier, nearness and URL")
        raise Refusal(503, "no_provider", f"step {step.id} has no provider: {why}", retry_after=5)
    try:
        candidates = tuple(eligibility.available(candidates))
    except AllPaused as none:
        raise routing.refusal_of(f"step {step.id}", none) from none
    most = _model_units(gateway, step, size, models)
    price = eligibility.asked([candidate.inner.hold(most) for candidate in candidates], step.max_price)
    return PlannedStep(step, price, most, models, candidates, realm=catalog.realm)


def _models(scope: Scope, entry: CapsuleEntry, step: Step) -> tuple[ModelEntry, ...]:
    """The models that may serve a step: the pinned one, or every one that has the capability asked for."""
    catalog = scope.catalog
    if step.model is not None:
        pinned = catalog.by_id.get(step.model)
        if not isinstance(pinned, ModelEntry):
            raise Refusal(503, "no_provider", f"step {step.id} needs {cid(step.model)}, which is not published")
        if speaks(step) not in pinned.protocols and not embeds(step, pinned):
            spoken = protocols.listed(pinned.protocols)
            raise Refusal(503, "no_provider", f"step {step.id} speaks {speaks(step)}, and {pinned.name} {spoken}")
        return (pinned,)
    caller, found = scope.caller, catalog.able.get((entry.id, step.id))
    if caller is not None:  # nothing of a trial is remembered: its author chooses its id, and the key what is found
        found = tuple(one for one in _able(catalog, step) if caller.may_call(one.name, cid(one.id)))
    elif found is None:
        found = catalog.able[entry.id, step.id] = _able(catalog, step)
    if not found:
        raise Refusal(503, "no_provider", f"step {step.id}: nothing here can do {json.dumps(step.capability)}")
    return found


def _able(catalog: Catalog, step: Step) -> tuple[ModelEntry, ...]:
    assert step.capability is not None
    able = [
        entry
        for entry in sorted(catalog.models(), key=lambda entry: entry.id)
        if entry.candidates and not eligibility.lacking(entry.model, step.capability)
    ]
    found = tuple(entry for entry in able if speaks(step) in entry.protocols)
    return found or tuple(entry for entry in able if embeds(step, entry))


def _candidates(scope: Scope, entry: ModelEntry, step: Step) -> list[Candidate]:
    """A model's providers that fit what the route asks (the step's own tiers come first), at the step's URL, if any.
    Those of a trial's step sell a call of its own, not a sub-call.
    """
    preferences, candidates = scope.preferences, entry.candidates
    if scope.caller is not None:
        candidates = tuple(replace(one, inner=one.tariff) for one in candidates)
    tiers = frozenset((step.capability or {}).get("tiers", ())) or preferences.tiers
    fitting = [one for one in candidates if eligibility.fits(one, replace(preferences, tiers=tiers))]
    if step.url is None:
        return fitting
    pinned = target.parse(step.url)
    return [one for one in fitting if (one.target.url, one.target.scheme) == (pinned.url, pinned.scheme)]


def _model_units(gateway: Gateway, step: Step, size: int, models: Sequence[ModelEntry]) -> Units:
    """The most a step's call can use, whichever of its models serves."""
    settings = gateway.settings
    outputs = 0
    if speaks(step) == Protocol.chat:
        asked = step.input.get("max_tokens")
        context = max((entry.context_tokens or 2**31 for entry in models), default=2**31)
        outputs = asked if isinstance(asked, int) and asked > 0 else min(settings.default_output_tokens, context)
    return most_units(size, outputs, settings.metered_answer_bytes, step.timeout_ms / 1000)


def _request_bytes(gateway: Gateway, step: Step, request: Json | None, request_bytes: int) -> int:
    """The most bytes of a step's request. Exact when it reads only a known request and certainly runs."""
    reads = {path.step for path in named(step.input)} - {None}
    if request is not None and not reads and step.when is None:
        return len(written(resolve(step.input, request, {}))) + WRAPPING_BYTES
    return request_bytes + gateway.settings.step_input_bytes + WRAPPING_BYTES


def _root_units(gateway: Gateway, steps: Mapping[str, PlannedStep], request_bytes: int) -> Units:
    """The most the root call itself uses: the sum of its steps' units, fuel and time, and a second."""
    own = [planned for planned in steps.values() if planned.step.paid]
    return Units(
        call=1,
        input_token=sum(planned.most.input_token for planned in own),
        output_token=sum(planned.most.output_token for planned in own),
        input_character=sum(planned.most.input_character for planned in own),
        input_image=sum(planned.most.input_image for planned in own),
        output_image=sum(planned.most.output_image for planned in own),
        search=sum(planned.most.search for planned in own),
        ms=sum(planned.step.timeout_ms for planned in steps.values()) + 1_000,
        byte=request_bytes + gateway.settings.metered_answer_bytes,
        fuel=sum(planned.most.fuel for planned in steps.values() if planned.glue is not None),
    )


def _nested(scope: Scope, entry: CapsuleEntry) -> list[CapsuleEntry]:
    """A workflow and its sub-workflows. Refused when they are too deep or too wide, before more of them are looked up.

    Six levels of 64 steps each are 64^7 steps.
    """
    entries, waiting, steps, subcalls = [], [(entry, scope, 0)], 0, 0
    while waiting:
        one, around, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise Refusal(400, "workflow_too_deep", f"{entry.name} nests more than {MAX_DEPTH} deep")
        entries.append(one)
        steps += len(one.capsule.steps)
        subcalls += sum(step.paid for step in one.capsule.steps.values())
        if steps > MAX_STEPS:
            raise _too_large(entry, f"{MAX_STEPS} steps")
        for step in one.capsule.steps.values():
            within = around.of_step(one, step)
            inner = within.catalog.by_id.get(step.capsule) if step.capsule is not None else None
            if isinstance(inner, CapsuleEntry):
                waiting.append((inner, within, depth + 1))
    if subcalls > MAX_SUBCALLS:
        raise _too_large(entry, f"{MAX_SUBCALLS} calls")
    return entries


def _too_large(entry: CapsuleEntry, most: str) -> Refusal:
    return Refusal(400, "workflow_too_large", f"{entry.name} has more than {most} with its sub-workflows")
