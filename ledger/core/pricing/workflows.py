"""Workflows as they run and as they are paid: which node runs next, depth-first prices, and who pays for a failure.

Every sub-call has a receipt of its own that charges its own price; the root's terms take the sub-calls' prices as one
more line (`passed`), so the whole costs the root's price and the receipts' charges sum to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ledger.core.catalog.bids import Role, Terms
from ledger.core.catalog.capsules import MAX_DEPTH, MAX_STEPS, Capsule, OnError, Policy, Step
from ledger.core.catalog.templates import resolve
from ledger.core.pricing.price import Charge, price
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from ledger.core.values.meters import Units


class Status(Enum):
    """How a node ended."""

    ok = "ok"
    error = "error"
    skipped = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a node ended, and what it answered when it did."""

    status: Status
    output: Json = None


def runs(capsule: Capsule, step: Step, request: Json, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether a node runs, once everything it needs has an outcome.

    A fallback runs only when its primary erred; `when` decides for the rest; a node that does not run is not priced.
    """
    primaries = [other.id for other in capsule.steps.values() if other.fallback == step.id]
    if primaries and not any(outcomes[name].status is Status.error for name in primaries):
        return False
    return step.when is None or step.when.holds(request, scope(capsule, outcomes))


def scope(capsule: Capsule, outcomes: Mapping[str, Outcome]) -> dict[str, Json]:
    """What templates and conditions see. A node that erred shows its own status, and its fallback's answer."""
    seen: dict[str, Json] = {}
    for name, outcome in outcomes.items():
        answer, stand_in = outcome, capsule.steps[name].fallback
        while answer.status is Status.error and stand_in is not None and stand_in in outcomes:
            answer, stand_in = outcomes[stand_in], capsule.steps[stand_in].fallback
        seen[name] = {"status": outcome.status.value, "output": answer.output}
    return seen


def input_of(capsule: Capsule, step: Step, request: Json, outcomes: Mapping[str, Outcome]) -> Json:
    """A node's input: only what its author names."""
    return resolve(step.input, request, scope(capsule, outcomes))


def output_of(capsule: Capsule, request: Json, outcomes: Mapping[str, Outcome]) -> Json:
    """The workflow's answer."""
    return resolve(capsule.output, request, scope(capsule, outcomes))


def failed(capsule: Capsule, outcomes: Mapping[str, Outcome]) -> str | None:
    """The first node whose error fails the workflow, or None: skipped errors and served fallbacks do not."""
    for name, outcome in outcomes.items():
        step = capsule.steps[name]
        if outcome.status is not Status.error or step.on_error is OnError.skip:
            continue
        if step.fallback is not None and outcomes.get(step.fallback, outcome).status is Status.ok:
            continue
        if step.fallback is not None and step.fallback not in outcomes:
            continue  # it has not had its turn yet
        return name
    return None


@dataclass(frozen=True, slots=True)
class Call:
    """A call to price: its terms, its units, and the sub-calls that ran."""

    name: str
    terms: Terms
    units: Units
    subs: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Priced:
    """A call and its charge; `passed` is the sum of the direct sub-calls' prices."""

    call: Call
    charge: Charge
    passed: Atoms
    subs: tuple[Priced, ...]


def price_tree(call: Call, depth: int = 0) -> Priced:
    """Price a workflow depth first. Rejected below depth 6 or with more than 64 direct sub-calls."""
    if depth > MAX_DEPTH:
        raise Rejected(f"a workflow is at most {MAX_DEPTH} levels deep", depth=depth)
    if len(call.subs) > MAX_STEPS:
        raise Rejected(f"a workflow has at most {MAX_STEPS} nodes, not {len(call.subs)}", steps=len(call.subs))
    subs = tuple(price_tree(sub, depth + 1) for sub in call.subs)
    passed = sum(sub.charge.price for sub in subs)
    return Priced(call, price(call.terms, call.units, passed), passed, subs)


def receipt_order(priced: Priced) -> Iterator[Priced]:
    """Sub-calls before the call that passes their prices on: the order receipts are appended in."""
    for sub in priced.subs:
        yield from receipt_order(sub)
    yield priced


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed workflow costs: who pays the finished sub-calls, and which root terms, if any, are charged."""

    payer: Address
    paid: Atoms
    unpaid: Atoms
    root: Terms | None


def fail(
    policy: Policy, consumer: Address, weaver: Address, root: Terms, finished: Sequence[Atoms], bond_cap: Atoms
) -> Failure:
    """Settle a workflow that failed after some sub-calls (their prices in `finished`, in order) were served.

    all-or-nothing: the consumer pays nothing; the weaver's bond pays sub-calls in order up to its cap per call, and
    those above it go unpaid. partial-ok: the consumer pays them all, and a root without any weaver line.
    """
    if policy is Policy.partial_ok:
        return Failure(consumer, sum(finished), 0, without(root, Role.weaver))
    paid = 0
    for amount in finished:
        paid += amount if paid + amount <= bond_cap else 0
    return Failure(weaver, paid, sum(finished) - paid, None)


def without(terms: Terms, role: Role) -> Terms | None:
    """The terms without one role's lines, composed; None when no line is left. A carve of a dropped line goes too."""
    lines = tuple(line for line in terms.lines if line.role is not role)
    if not lines:
        return None
    deduction, sponsor = terms.deduction, terms.lines[terms.deduction.sponsor] if terms.deduction else None
    kept = replace(deduction, sponsor=lines.index(sponsor)) if deduction and sponsor in lines else None
    return Terms(terms.subject, lines, deduction=kept)
