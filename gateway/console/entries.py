"""A model's page, and a capsule's: prices, who stands in them, who serves, what it descends from, its graph, code."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from sqlmodel import Session
from starlette.responses import Response

from gateway.api import models
from gateway.api.dependencies import Here
from gateway.catalog import exports, prices
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.catalog.exports import Listing
from gateway.console import drawing, rendering, snippets
from gateway.console.drawing import Drawing
from gateway.console.rendering import Page
from gateway.context import Gateway
from gateway.workflow import plan as planning
from ledger.core.catalog.bids import Line, Role
from ledger.core.catalog.capsules import OnError, Step, needs
from ledger.core.catalog.lineage import MAX_ANCESTORS, Royalty
from ledger.core.pricing import eligibility
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Json
from ledger.core.values.ids import Digest, cid, to_hex
from ledger.core.values.meters import METERS, Meter, Rates, distinct

CHILDREN: Final = 12
"""Children of a model that its page draws."""
SHOWN_PROVIDERS: Final = 100
"""Providers on a model's page. Everybody may bid."""
UNITS: Final = {
    Meter.call: "a call",
    Meter.input_token: "a million input tokens",
    Meter.cached_input_token: "a million cached input tokens",
    Meter.cache_write_token: "a million tokens written to the cache",
    Meter.output_token: "a million output tokens",
    Meter.reasoning_token: "a million reasoning tokens",
    Meter.input_audio_token: "a million audio tokens heard",
    Meter.output_audio_token: "a million audio tokens spoken",
    Meter.input_image: "an image read",
    Meter.output_image: "an image made",
    Meter.search: "a search",
    Meter.input_character: "a million input characters",
    Meter.ms: "a second",
    Meter.byte: "a gigabyte",
    Meter.fuel: "a million units of fuel",
}
"""What a price of each meter is for."""

STREAMED: Final = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
"""Routes whose answers a page streams, and how it calls that."""
NO_TEXT: Final = frozenset(("/v1/images/generations", "/v1/audio/speech"))
"""Routes that answer with what a page of text does not show."""

FAILS: Final = {
    OnError.fail: "the capsule fails",
    OnError.skip: "it is skipped",
    OnError.fallback: "its fallback runs",
}
"""What follows when a step fails."""


class Box(NamedTuple):
    """What a box of a graph says: two lines, where it leads, and its class."""

    label: str
    detail: str
    href: str = ""
    kind: str = ""


class Graph(NamedTuple):
    """A graph as it is drawn."""

    drawing: Drawing
    boxes: Mapping[str, Box]
    dashed: frozenset[tuple[str, str]] = frozenset()
    """Arrows from a step to its fallback."""


class Ancestor(NamedTuple):
    """A parent of a model: its name, its page if there is one, how it was used, and the terms that were frozen."""

    name: str
    href: str
    relation: str
    royalty: Royalty


class Calling(NamedTuple):
    """How a page calls its model: a chat or a completion that streams, a workflow's run or trial, or any JSON."""

    kind: str
    path: str
    body: Json = None
    """Where any JSON goes: an example."""


router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/models/{name:path}")
async def show_model(name: str, request: Request, gateway: Here) -> Response:
    """One model, by name or CID. A capsule has its page elsewhere."""
    entry = gateway.catalog.find(name)
    if isinstance(entry, CapsuleEntry):
        return RedirectResponse(href_of(entry), 308)
    host = request.headers.get("host", "")

    def render(session: Session) -> str:
        return rendering.render("model.html", gateway, section="models", **_model(gateway, entry, host))

    return rendering.page(await gateway.aside(render))


@router.get("/capsules/{name:path}")
async def show_capsule(name: str, request: Request, gateway: Here) -> Response:
    """One capsule, by name or CID. A model has its page elsewhere."""
    entry = gateway.catalog.find(name)
    if isinstance(entry, ModelEntry):
        return RedirectResponse(href_of(entry), 308)
    host = request.headers.get("host", "")

    def render(session: Session) -> str:
        return rendering.render("capsule.html", gateway, section="capsules", **_capsule(gateway, entry, host))

    return rendering.page(await gateway.aside(render))


def href_of(entry: Entry) -> str:
    """Where an entry's page is."""
    return f"/{'capsules' if isinstance(entry, CapsuleEntry) else 'models'}/{rendering.path(entry.name)}"


def _shared(gateway: Gateway, entry: Entry, host: str) -> dict[str, Any]:
    """What both pages show."""
    scope = planning.anywhere(gateway, gateway.catalog)
    why = planning.why_not(scope, entry)
    one: Listing = models.published(scope, entry, ready=not why)
    return {
        "entry": entry,
        "cid": cid(entry.id),
        "owner": to_hex(entry.owner),
        "why": why,
        "description": one.document.get("description", ""),
        "license": one.document.get("license", ""),
        "protocols": sorted(one.protocols),
        "prices": [(UNITS[meter], price) for meter, price in distinct(one.prices or {}).items()],
        "snippets": snippets.snippets(one, gateway.place(host).url),
        "calling": None if why else calling(one),
    }


def calling(one: Listing) -> Calling | None:
    """How its page calls it; None if it answers with no text, but with images or sound."""
    bodies = exports.examples(one)
    for path, kind in STREAMED.items():
        if path in bodies:
            return Calling("run" if one.is_workflow else kind, path)
    return next((Calling("json", path, body) for path, body in bodies.items() if path not in NO_TEXT), None)


def _model(gateway: Gateway, entry: ModelEntry, host: str) -> dict[str, Any]:
    alive = eligibility.alive(entry.candidates)
    cheapest = min(alive, key=_typical, default=None)
    ordered = sorted(entry.candidates, key=lambda one: (one not in alive, _typical(one), one.provider))
    return _shared(gateway, entry, host) | {
        "features": sorted(entry.features or ()),
        "capabilities": entry.model.document["capabilities"],
        "lines": _lines(cheapest.tariff.terms.lines) if cheapest is not None else [],
        "providers": [(one, to_hex(one.provider), one in alive, _typical(one)) for one in ordered[:SHOWN_PROVIDERS]],
        "left_out": max(0, len(ordered) - SHOWN_PROVIDERS),
        "parents": _parents(gateway.catalog, entry),
        "lineage": lineage(gateway.catalog, entry),
    }


def _typical(one: Candidate) -> Atoms:
    return prices.typical_price_of(one.tariff)


def _lines(lines: Sequence[Line]) -> list[tuple[Role, str, int, list[tuple[str, Atoms]]]]:
    """Who stands in a price: role, party, share of the price in ppm, and asks for units."""
    return [(line.role, to_hex(line.party), line.ratio_ppm, asked(line.asks)) for line in lines]


def asked(asks: Rates) -> list[tuple[str, Atoms]]:
    """Asks with what each is for."""
    return [(UNITS[METERS[meter]], ask) for meter, ask in asks if ask]


def _parents(catalog: Catalog, entry: ModelEntry) -> list[Ancestor]:
    rows = []
    for said, parent in zip(entry.model.document["lineage"], entry.model.parents, strict=True):
        known = catalog.by_id.get(parent.model)
        name, href = (known.name, href_of(known)) if known is not None else (cid(parent.model), "")
        rows.append(Ancestor(name, href, said["relation"], parent.royalty))
    return rows


def lineage(catalog: Catalog, entry: ModelEntry) -> Graph | None:
    """What a model descends from, and its children; None if there is neither. Of what this catalog does not have, such
    as a model that is offered in a realm alone, only the id is known, which its child's document says.
    """
    parents: dict[Digest, list[Digest]] = {entry.id: [one.model for one in entry.model.parents]}
    waiting = list(parents[entry.id])
    while waiting and len(parents) <= MAX_ANCESTORS:
        digest = waiting.pop(0)
        if digest not in parents:
            known = catalog.by_id.get(digest)
            parents[digest] = [one.model for one in known.model.parents] if isinstance(known, ModelEntry) else []
            waiting += parents[digest]
    children = (one for one in catalog.models() if any(parent.model == entry.id for parent in one.model.parents))
    for child in sorted(children, key=lambda one: one.name)[:CHILDREN]:
        parents[child.id] = [entry.id]
    if len(parents) == 1:
        return None
    keys = {cid(digest): digest for digest in parents}
    before = {key: [cid(one) for one in parents[digest] if one in parents] for key, digest in keys.items()}
    arrows = [(parent, key) for key in keys for parent in before[key]]
    boxes = {key: _model_box(catalog, digest, own=digest == entry.id) for key, digest in keys.items()}
    return Graph(drawing.graph(drawing.levels_by(keys, before.__getitem__), arrows), boxes)


def _model_box(catalog: Catalog, digest: Digest, *, own: bool) -> Box:
    known = catalog.by_id.get(digest)
    if known is None:
        return Box(rendering.short(cid(digest)), "not listed here")
    return Box(known.name, known.version, "" if own else href_of(known), "own" if own else "")


def _capsule(gateway: Gateway, entry: CapsuleEntry, host: str) -> dict[str, Any]:
    capsule, catalog = entry.capsule, gateway.catalog
    rows = [(step, *runs(catalog, step), _step_price(catalog, step)) for step in capsule.steps.values()]
    return _shared(gateway, entry, host) | {
        "steps": rows,
        "graph": steps_graph(catalog, entry),
        "policy": capsule.policy.value,
        "weaver_ppm": capsule.bid.ratio_ppm,
        "weaver_asks": asked(capsule.bid.asks),
        "co_weavers": [(to_hex(party), ratio) for party, ratio in capsule.co_weavers],
        "list_price": capsule.list_price,
        "curation_ppm": capsule.curation_ppm,
        "lines": _lines(entry.tariff.terms.lines) if entry.tariff is not None else [],
        "fails": FAILS,
    }


def steps_graph(catalog: Catalog, entry: CapsuleEntry) -> Graph:
    """A capsule's steps in the order in which they can run, with arrows from what each waits for."""
    steps = entry.capsule.steps
    dashed = frozenset((step.id, step.fallback) for step in steps.values() if step.fallback is not None)
    arrows = {(before, step.id) for step in steps.values() for before in needs(step, steps)} | dashed
    boxes = {}
    for step in steps.values():
        what, name, href = runs(catalog, step)
        boxes[step.id] = Box(step.id, name or what, href, "glue" if step.glue is not None else "")
    return Graph(drawing.graph(entry.capsule.levels, sorted(arrows)), boxes, dashed)


def runs(catalog: Catalog, step: Step) -> tuple[str, str, str]:
    """What a step runs: its kind, its name, and where that has a page."""
    if step.glue is not None:
        return "glue", f"WebAssembly {step.glue}", ""
    if step.capability is not None:
        return "capability", f"any model for {step.capability.get('task', 'the task')}", ""
    digest = step.model or step.capsule
    if digest is None:
        return "endpoint", "", ""
    known = catalog.by_id.get(digest)
    kind = "capsule" if step.capsule is not None else "model"
    return (kind, known.name, href_of(known)) if known is not None else (kind, cid(digest), "")


def _step_price(catalog: Catalog, step: Step) -> Atoms | None:
    """The least price of a typical call of a step's model now."""
    known = catalog.by_id.get(step.model) if step.model is not None else None
    return prices.typical_price(known) if isinstance(known, ModelEntry) else None
