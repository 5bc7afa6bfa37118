"""The run of a workflow: which step runs, what it reads, and who pays when the workflow fails.

Every sub-call has a receipt that charges its own price. The root's terms take the sum of those prices as one more line,
so the workflow costs the root's price, and the charges of all its receipts sum to it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ledger.core.catalog.bids import Role, Terms
from ledger.core.catalog.capsules import Capsule, OnError, Step
from ledger.core.catalog.templates import resolve
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.ids import Address


class Status(Enum):
    """The end of a step."""

    ok = "ok"
    error = "error"
    skipped = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a step, and its answer if it has one."""

    status: Status
    output: Json = None


def runs(capsule: Capsule, step: Step, request: Json, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether a step runs, once every step it needs has an outcome.

    A fallback runs only when its primary failed; `when` decides for the others. A step that does not run costs nothing.
    """
    primaries = [other.id for other in capsule.steps.values() if other.fallback == step.id]
    if primaries and not any(outcomes[name].status is Status.error for name in primaries):
        return False
    return step.when is None or step.when.holds(request, scope(capsule, outcomes))


def scope(capsule: Capsule, outcomes: Mapping[str, Outcome]) -> dict[str, Json]:
    """The values that templates and conditions read. A failed step has its status, and its fallback's output."""
    seen: dict[str, Json] = {}
    for name, outcome in outcomes.items():
        answer, stand_in = outcome, capsule.steps[name].fallback
        while answer.status is Status.error and stand_in is not None and stand_in in outcomes:
            answer, stand_in = outcomes[stand_in], capsule.steps[stand_in].fallback
        seen[name] = {"status": outcome.status.value, "output": answer.output}
    return seen


def input_of(capsule: Capsule, step: Step, request: Json, outcomes: Mapping[str, Outcome]) -> Json:
    """A step's input: its template, filled in."""
    return resolve(step.input, request, scope(capsule, outcomes))


def output_of(capsule: Capsule, request: Json, outcomes: Mapping[str, Outcome]) -> Json:
    """The workflow's answer. Rejected when its template names a value that does not exist."""
    return resolve(capsule.output, request, scope(capsule, outcomes))


def failed(capsule: Capsule, outcomes: Mapping[str, Outcome]) -> str | None:
    """The first step whose failure fails the workflow, or None. With `on_error: skip`, or a fallback that served, or
    one that has not run yet, a failed step does not. A fallback that failed may have a fallback of its own.
    """
    return next((name for name in outcomes if _fails(capsule, name, outcomes)), None)


def _fails(capsule: Capsule, name: str, outcomes: Mapping[str, Outcome]) -> bool:
    step = capsule.steps[name]
    if outcomes[name].status is not Status.error or step.on_error is OnError.skip:
        return False
    if step.fallback is None:
        return True
    if step.fallback not in outcomes:
        return False
    return outcomes[step.fallback].status is Status.skipped or _fails(capsule, step.fallback, outcomes)


def foreseen(capsule: Capsule, unserved: Collection[str], request: Json = None) -> dict[str, Outcome]:
    """How each step ends if those that nobody serves fail and all others serve.

    Conditions count as true, but those that a known `request` makes false: they read it alone, and no step.
    """
    outcomes: dict[str, Outcome] = {}
    for name in (name for level in capsule.levels for name in level):
        step = capsule.steps[name]
        if _is_spared(step, request) or not runs(capsule, replace(step, when=None), None, outcomes):
            outcomes[name] = Outcome(Status.skipped)
        else:
            outcomes[name] = Outcome(Status.error if name in unserved else Status.ok)
    return outcomes


def _is_spared(step: Step, request: Json) -> bool:
    """Whether a request, if it is known, keeps a step from running, whatever the other steps answer."""
    if request is None or step.when is None or any(path.step is not None for path in step.when.paths):
        return False
    return not step.when.holds(request, {})


def covered(prices: Sequence[Atoms], bond_cap: Atoms) -> list[int]:
    """Which sub-calls of a failed all-or-nothing workflow the weaver's bond pays: their places in `prices`.

    It pays them in order, as long as the sum stays within the cap per call. The others go unpaid.
    """
    places, spent = [], 0
    for place, price in enumerate(prices):
        if spent + price <= bond_cap:
            spent += price
            places.append(place)
    return places


def is_guaranteed(owed: Atoms, of_consumer: int, of_all: int) -> bool:
    """Whether a weaver's bond pays what a failed call of a consumer owes its steps. Else the consumer does.

    `of_consumer` and `of_all` are what the weaver was paid less what its bond paid, for this consumer's calls and for
    all. A bond pays what the consumer itself brought; and for one call more of each while, with all of them, no more
    went out than came in. Who buys a workflow can serve its steps under other names and have it fail: that earned the
    steps' price each time, and cost nothing.
    """
    return owed <= of_consumer or (of_consumer >= 0 and of_all >= 0)


def weavers_paid(terms: Terms, amounts: Sequence[Atoms]) -> Iterator[tuple[Address, Atoms]]:
    """What each weaver's line gets of a call."""
    for line, amount in zip(terms.lines, amounts, strict=False):
        if line.role is Role.weaver:
            yield line.party, amount


def without(terms: Terms, role: Role) -> Terms | None:
    """The terms without the lines of one role, composed. None when no line is left.

    A deduction stays if its sponsor's line does.
    """
    lines = tuple(line for line in terms.lines if line.role is not role)
    if not lines:
        return None
    deduction, sponsor = terms.deduction, terms.lines[terms.deduction.sponsor] if terms.deduction else None
    kept = replace(deduction, sponsor=lines.index(sponsor)) if deduction and sponsor in lines else None
    return Terms(terms.subject, lines, deduction=kept)
