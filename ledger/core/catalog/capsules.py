"""Capsules: published workflows. A document becomes a checked graph of steps, in levels that can run one after another.

Capsules name sub-workflows by digest, so there are no cycles between capsules. A cycle inside one is Rejected here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from graphlib import CycleError, TopologicalSorter

from ledger.core.catalog.bids import Bid
from ledger.core.catalog.conditions import Condition
from ledger.core.catalog.conditions import parse as parse_condition
from ledger.core.catalog.lineage import Parent
from ledger.core.catalog.models import DEFAULT_WINDOW_CALLS, parents
from ledger.core.catalog.templates import named
from ledger.core.values.atoms import Atoms, Ppm, parse
from ledger.core.values.documents import Document, Json, digest, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid_digest, parse_did
from ledger.core.values.meters import NO_RATES, rates

MAX_WEAVER_PPM = 300_000
MAX_STEPS = 64
MAX_DEPTH = 6
DEFAULT_TIMEOUT_MS = 30_000


class Policy(Enum):
    """The payer of the finished steps when a workflow fails: the weaver's bond, or the consumer."""

    all_or_nothing = "all-or-nothing"
    partial_ok = "partial-ok"


class OnError(Enum):
    """The effect of a step's failure on its workflow."""

    fail = "fail"
    skip = "skip"
    fallback = "fallback"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Exactly one of `model`, `capability`, `capsule` and `glue` is set: it runs."""

    id: str
    input: Json
    model: Digest | None = None
    url: str | None = None
    capability: Document | None = None
    capsule: Digest | None = None
    glue: str | None = None
    export: str | None = None
    realm: str = ""
    """It runs in this realm. Empty: where its capsule says."""
    when: Condition | None = None
    max_price: Atoms | None = None
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    on_error: OnError = OnError.fail
    fallback: str | None = None

    @property
    def paid(self) -> bool:
        """Whether it makes a sub-call. Glue does not: its fuel is metered on the root call."""
        return self.glue is None


@dataclass(frozen=True, slots=True)
class Glue:
    """A WebAssembly module by digest, and the most fuel that one run may use."""

    digest: bytes
    size: int
    fuel: int


@dataclass(frozen=True, slots=True)
class Capsule:
    """A checked workflow. `levels` are ids of steps: the steps of one level may run in parallel."""

    id: Digest
    name: str
    weaver: Address
    steps: Mapping[str, Step]
    levels: tuple[tuple[str, ...], ...]
    output: Json
    glue: Mapping[str, Glue]
    parents: tuple[Parent, ...]
    bid: Bid
    co_weavers: tuple[tuple[Address, Ppm], ...]
    curation_ppm: Ppm
    window_calls: int
    list_price: Atoms | None
    policy: Policy
    document: Document

    @property
    def realm(self) -> str:
        """The realm that its steps name, for whose members alone it is there; empty: it is there for everybody.

        If it names one, the steps that do not name it run outside of it. If it names none, all run where it is called.
        """
        return next((step.realm for step in self.steps.values() if step.realm), "")


def capsule(document: Document) -> Capsule:
    """A capsule from its document. Rejected, with the step, when it is not a workflow that can run."""
    validate(document, "capsule")
    rows = [_step(row) for row in document["steps"]]
    steps = {step.id: step for step in rows}
    if len(steps) != len(rows):
        raise Rejected("two steps have the same id", field="$.steps")
    _known({path.step for path in named(document["output"]) if path.step}, steps, "$.output")
    if len({step.realm for step in rows} - {""}) > 1:
        raise Rejected("its steps name two realms: a call is made in one", field="$.steps")
    split = document["distribution"]
    co_weavers = tuple((parse_did(row["party"])[1], row["ratio_ppm"]) for row in split.get("co_weavers", []))
    weaver = split["weaver"]
    together = weaver["ratio_ppm"] + sum(ratio for _, ratio in co_weavers)
    if together > MAX_WEAVER_PPM:
        raise Rejected(f"weavers take {together} ppm, above {MAX_WEAVER_PPM}", field="$.distribution")
    curation = split.get("curation", {"offer_ppm": 0})
    modules = {
        name: Glue(bytes.fromhex(row["digest"].removeprefix("sha256:")), row["size"], row["fuel"])
        for name, row in document.get("glue", {}).items()
    }
    for step in rows:
        if step.glue is not None and step.glue not in modules:
            raise Rejected(f"step {step.id} uses glue {step.glue!r}, which is not in the bundle", step=step.id)
    return Capsule(
        id=digest(document),
        name=document["name"],
        weaver=parse_did(document["weaver"])[1],
        steps=steps,
        levels=_levels(steps),
        output=document["output"],
        glue=modules,
        parents=parents(document),
        bid=Bid(weaver["ratio_ppm"], rates(weaver["ask"]) if weaver["ask"] else NO_RATES),
        co_weavers=co_weavers,
        curation_ppm=curation["offer_ppm"],
        window_calls=curation.get("window_calls", DEFAULT_WINDOW_CALLS),
        list_price=parse(split["list_price"], "list_price") if "list_price" in split else None,
        policy=Policy(document.get("failure", Policy.all_or_nothing.value)),
        document=document,
    )


def needs(step: Step, steps: Mapping[str, Step]) -> set[str]:
    """The steps that must be over before this one: those it reads, their fallbacks, and those it is the fallback of."""
    read = {path.step for path in named(step.input) if path.step}
    read |= {path.step for path in step.when.paths if path.step} if step.when else set()
    _known(read, steps, f"step {step.id}")
    primaries = {other.id for other in steps.values() if other.fallback == step.id}
    stand_ins = {steps[name].fallback for name in read} - {step.id}
    return read | primaries | {name for name in stand_ins if name}


def _step(row: Json) -> Step:
    uses = row["uses"]
    step = Step(
        id=row["id"],
        input=row["input"],
        model=cid_digest(uses["model"]) if "model" in uses else None,
        url=uses.get("url"),
        capability=uses.get("capability"),
        capsule=cid_digest(uses["capsule"]) if "capsule" in uses else None,
        glue=uses.get("glue"),
        export=uses.get("export"),
        realm=uses.get("realm", ""),
        when=parse_condition(row["when"]) if "when" in row else None,
        max_price=parse(row["max_price"], "max_price") if "max_price" in row else None,
        timeout_ms=row.get("timeout_ms", DEFAULT_TIMEOUT_MS),
        on_error=OnError(row.get("on_error", "fail")),
        fallback=row.get("fallback"),
    )
    if (step.on_error is OnError.fallback) != (step.fallback is not None):
        raise Rejected(f"step {step.id}: on_error 'fallback' and a fallback go together", step=step.id)
    return step


def _known(names: set[str], steps: Mapping[str, Step], where: str) -> None:
    for name in sorted(names - steps.keys()):
        raise Rejected(f"{where} reads {name!r}, which is not a step", step=name)


def _levels(steps: Mapping[str, Step]) -> tuple[tuple[str, ...], ...]:
    for step in steps.values():
        if step.fallback is not None:
            _known({step.fallback}, steps, f"fallback of {step.id}")
    sorter = TopologicalSorter({name: needs(step, steps) for name, step in steps.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = sorted(set(error.args[1]))
        raise Rejected(f"the steps {', '.join(circle)} wait for each other", steps=circle) from error
    levels = []
    while sorter.is_active():
        level = tuple(sorted(sorter.get_ready(), key=list(steps).index))
        levels.append(level)
        sorter.done(*level)
    return tuple(levels)
