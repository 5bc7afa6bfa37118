"""The composer: a workflow of models that one picks, in a pattern that one picks, with its price; and its file.

The patterns are those of `tollway weaver new` (`ledger/core/catalog/patterns.py`). Nothing is stored here. It runs
before it is published, as a trial: a receipt charges for what everybody can read, so each step has one of its own.
"""

from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import StringConstraints
from sqlmodel import Session

from gateway import bounds
from gateway.api import quotes
from gateway.api.dependencies import Here
from gateway.catalog.catalog import CapsuleEntry, Catalog, ModelEntry
from gateway.console import entries, rendering
from gateway.console.entries import Calling
from gateway.console.rendering import Page
from gateway.context import Gateway
from gateway.workflow import plan as planning
from gateway.workflow import trials
from ledger.core.catalog import capsules, names, patterns
from ledger.core.catalog.patterns import FORMS, MOST_MODELS, Pattern
from ledger.core.catalog.protocols import Protocol
from ledger.core.pricing import eligibility, terms
from ledger.core.pricing.price import compile_terms
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.ids import ZERO_ADDRESS, cid, did

FILE: Final = "capsule.json"
SUGGESTED: Final = 200
"""Models that the form suggests, by name; any other can be typed. Everybody can publish models."""
NAME: Final = "@me/flow"
NAME_BYTES: Final = 128

Text = Annotated[str, StringConstraints(max_length=bounds.MODEL_NAME)]
Name = Annotated[str, Query(max_length=NAME_BYTES)]
Models = Annotated[list[Text], Query(default_factory=list, max_length=MOST_MODELS)]


class Draft(NamedTuple):
    """What is to be composed: its name, how its models work together, and their names."""

    name: str
    pattern: Pattern
    models: list[str]


class Composed(NamedTuple):
    """A workflow as its file says it, and as a catalog would have it."""

    document: Document
    entry: CapsuleEntry


def draft_of(model: Models, name: Name = NAME, pattern: Pattern = Pattern.fallback) -> Draft:
    """What a form says: its empty fields are no models."""
    return Draft(name.strip(), pattern, [one.strip() for one in model if one.strip()])


Wanted = Annotated[Draft, Depends(draft_of)]
router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/capsules/new")
async def compose(gateway: Here, wanted: Wanted) -> HTMLResponse:
    """The form, and once models are picked, the workflow: its graph, price, file, and how to publish it."""
    shown: dict[str, Any] = {"composed": None, "refused": None}

    def price(session: Session) -> dict[str, Any]:
        return _shown(gateway, composed(gateway, wanted))

    if wanted.models:
        try:
            shown.update(await gateway.aside(price))
        except TollwayError as error:
            shown["refused"] = await gateway.explain(error)
    names_of_models = await gateway.aside(lambda session: suggested(gateway))
    fields = [*wanted.models, *[""] * MOST_MODELS][:MOST_MODELS]
    shown |= {"wanted": wanted, "fields": fields, "forms": FORMS, "suggested": names_of_models}
    body = await gateway.aside(lambda _: rendering.render("compose.html", gateway, section="capsules", **shown))
    return rendering.page(body, status=200 if shown["refused"] is None else shown["refused"].status)


@router.get(f"/capsules/new/{FILE}")
async def download(gateway: Here, wanted: Wanted) -> Response:
    """The workflow as a file that `tollway weaver publish` reads."""
    headers = rendering.HEADERS | {"content-disposition": f'attachment; filename="{FILE}"'}
    text = patterns.written(composed(gateway, wanted).document)
    return Response(text, headers=headers, media_type="application/json")


def composed(gateway: Gateway, wanted: Draft) -> Composed:
    """A workflow of a pattern. Refused when a model is not known, does not chat, or the name can be nobody's."""
    catalog = gateway.catalog
    found = [_chatting(catalog, one) for one in wanted.models]
    document = patterns.start(wanted.name, [one.name for one in found], wanted.pattern)
    ids = {one.name: cid(one.id) for one in found}
    steps = [step | {"uses": {"model": ids[step["uses"]["model"]]}} for step in document["steps"]]
    weaver = did(gateway.domain.chain_id, ZERO_ADDRESS)
    capsule = capsules.capsule(document | {"weaver": weaver, "steps": steps})
    names.of_document(document)
    if catalog.market is None:
        raise Unavailable("the book is not read yet: try again")
    stated = terms.of_draft(catalog.market, capsule)
    root, inner = compile_terms(stated.root), compile_terms(stated.sub)
    return Composed(document, CapsuleEntry(capsule, wanted.name, ZERO_ADDRESS, root, inner))


def _chatting(catalog: Catalog, name: str) -> ModelEntry:
    entry = catalog.find(name)
    if not isinstance(entry, ModelEntry):
        raise Rejected(f"{name} is a workflow: these patterns take models", field="model")
    if Protocol.chat not in entry.protocols:
        raise Rejected(f"{name} does not chat: these patterns take models that do", field="model")
    return entry


def suggested(gateway: Gateway) -> list[str]:
    """Models that chat and can be called now, by name."""
    able = (one for one in gateway.catalog.models() if Protocol.chat in one.protocols)
    return sorted(one.name for one in able if eligibility.alive(one.candidates))[:SUGGESTED]


def _shown(gateway: Gateway, found: Composed) -> dict[str, Any]:
    """The workflow as the page shows it, priced as if each of its calls were a typical one."""
    entry, catalog = found.entry, gateway.catalog
    plan = planning.plan(planning.anywhere(gateway, catalog), entry, None, 0)
    parts = quotes.of_workflow(gateway, plan, TYPICAL_CALL)
    prices = {sub["step"]: sub["price"] for sub in parts["subs"]}
    steps = [(step.id, *entries.runs(catalog, step), prices.get(step.id)) for step in entry.capsule.steps.values()]
    own = [line for line in parts["lines"] if line["role"] != "sub"]
    return {
        "composed": patterns.written(found.document),
        "file": FILE,
        "graph": entries.steps_graph(catalog, entry),
        "steps": steps,
        "price": parts["price"],
        "hold": parts["hold"],
        "lines": [(line["role"], line["party"].rpartition(":")[2], line["amount"]) for line in own],
        "known": entry.name in catalog.by_name,
        "calling": Calling("try", trials.PATH),
    }
