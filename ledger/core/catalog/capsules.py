"""Capsules: published workflows. A document becomes a checked graph of steps, in levels that can run one after another.

Capsules name sub-workflows by digest, so there are no cycles between capsules. A cycle inside one is Rejected here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from graphlib import CycleError, TopologicalSorter

from ledger.core.catalog.bids import Bid
from ledger.core.catalog.conditions import Condition
from ledger.core.catalog.conditions import parse as parse_condition
from ledger.core.catalog.lineage import Parent
from ledger.core.catalog.models import DEFAULT_WINDOW_CALLS, parents
from ledger.core.catalog.templates import Path, named
from ledger.core.values.atoms import Atoms, Ppm, parse
from ledger.core.values.documents import Document, Json, Mistake, digest, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid_digest, parse_did
from ledger.core.values.meters import NO_RATES, rates

MAX_WEAVER_PPM = 300_000
MAX_STEPS = 64
MAX_DEPTH = 6
DEFAULT_TIMEOUT_MS = 30_000


class Policy(Enum):
    """Who pays the finished steps when a workflow fails: the weaver's bond, within what came in, or the consumer."""

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
    """A capsule from its document. Rejected, with the place, when it is not a workflow that can run."""
    validate(document, "capsule")
    for place, reason in mistakes(document):
        raise Rejected(f"{place}: {reason}", field=place)
    steps = {row["id"]: _step(row) for row in document["steps"]}
    split = document["distribution"]
    co_weavers = tuple((parse_did(row["party"])[1], row["ratio_ppm"]) for row in split.get("co_weavers", []))
    weaver = split["weaver"]
    curation = split.get("curation", {"offer_ppm": 0})
    modules = {
        name: Glue(bytes.fromhex(row["digest"].removeprefix("sha256:")), row["size"], row["fuel"])
        for name, row in document.get("glue", {}).items()
    }
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


def mistakes(document: Document, misfits: Collection[Mistake] = ()) -> Iterator[Mistake]:
    """All that keeps a workflow from running, each with its place. `misfits` are the places where the document does
    not fit its schema: what stands there is left out.
    """
    rows = [] if any(one.place == "$.steps" for one in misfits) else document.get("steps", [])
    glue = {} if _within(misfits, "$.glue") else document.get("glue", {})
    fitting = [(f"$.steps[{n}]", row) for n, row in enumerate(rows) if not _within(misfits, f"$.steps[{n}]")]
    ids = {str(row.get("id")) for row in rows if isinstance(row, dict)}
    found = [Mistake("$.steps", "two steps have the same id")] * (len(ids) != len(rows))
    if len({row["uses"].get("realm", "") for _, row in fitting} - {""}) > 1:
        found.append(Mistake("$.steps", "its steps name two realms: a call is made in one"))
    found += [one for place, row in fitting for one in _step_mistakes(place, row, ids, glue)]
    yield from found
    for place, text in _texts(document.get("output"), "$.output"):
        yield from _unread(place, lambda text=text: named(text), ids)  # type: ignore[misc]
    if not _within(misfits, "$.distribution") and "distribution" in document:
        split = document["distribution"]
        together = split["weaver"]["ratio_ppm"] + sum(row["ratio_ppm"] for row in split.get("co_weavers", []))
        if together > MAX_WEAVER_PPM:
            yield Mistake("$.distribution", f"weavers take {together} ppm, above {MAX_WEAVER_PPM}")
    if not found and len(fitting) == len(rows):
        try:
            _levels({row["id"]: _step(row | {"uses": {}}) for row in rows})
        except Rejected as circle:
            yield Mistake("$.steps", circle.message)


def needs(step: Step, steps: Mapping[str, Step]) -> set[str]:
    """The steps that must be over before this one: those it reads, their fallbacks, and those it is the fallback of."""
    read = {path.step for path in named(step.input) if path.step}
    read |= {path.step for path in step.when.paths if path.step} if step.when else set()
    primaries = {other.id for other in steps.values() if other.fallback == step.id}
    stand_ins = {name for one in read for name in _stand_ins(steps[one], step, steps)}
    return read | primaries | stand_ins


def _step_mistakes(place: str, row: Json, ids: set[str], glue: Json) -> Iterator[Mistake]:
    for where, text in _texts(row["input"], f"{place}.input"):
        yield from _unread(where, lambda text=text: named(text), ids)  # type: ignore[misc]
    if "when" in row:
        yield from _unread(f"{place}.when", lambda: parse_condition(row["when"]).paths, ids)
    if (row.get("on_error") == OnError.fallback.value) != ("fallback" in row):
        yield Mistake(f"{place}.on_error", "'fallback' and a field `fallback` go together")
    if row.get("fallback", row["id"]) not in ids:
        yield Mistake(f"{place}.fallback", f"names {row['fallback']!r}, which is not a step")
    if row["uses"].get("glue", next(iter(glue), None)) not in (*glue, None):
        yield Mistake(f"{place}.uses.glue", f"names {row['uses']['glue']!r}, which is not in the bundle's `glue`")


def _unread(place: str, paths: Callable[[], Iterable[Path]], ids: set[str]) -> Iterator[Mistake]:
    """What is wrong with the paths of a text: it is none, or names a step that is not there."""
    try:
        names = {path.step for path in paths()} - {None}
    except Rejected as wrong:
        yield Mistake(place, wrong.message)
        return
    yield from (Mistake(place, f"reads {name!r}, which is not a step") for name in sorted(names - ids, key=str))


def _texts(value: Json, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a template, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}[{index}]")


def _within(misfits: Collection[Mistake], place: str) -> bool:
    """Whether a part of a document, or something in it, does not fit its schema."""
    return any(one.place == place or one.place.startswith((f"{place}.", f"{place}[")) for one in misfits)


def _stand_ins(read: Step, reader: Step, steps: Mapping[str, Step]) -> set[str]:
    """The fallbacks of a step that is read, and theirs in turn. A reader that is one of them waits for those before."""
    found: set[str] = set()
    name = read.fallback
    while name is not None and name != reader.id and name in steps and name not in found:
        found.add(name)
        name = steps[name].fallback
    return found


def _step(row: Json) -> Step:
    uses = row["uses"]
    return Step(
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


def _levels(steps: Mapping[str, Step]) -> tuple[tuple[str, ...], ...]:
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
