"""Lists of models and of capsules: found by words, task, tier and price, a page at a time."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from sqlmodel import Session

from gateway.api.dependencies import Here
from gateway.api.schemas.bodies import MAX_INT
from gateway.catalog import prices
from gateway.catalog.catalog import CapsuleEntry, Entry, ModelEntry
from gateway.console import rendering
from gateway.console.rendering import Page
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.workflow import plan as planning
from ledger.core.pricing import eligibility
from ledger.core.pricing.eligibility import TIERS
from ledger.core.values.atoms import MAX_ATOMS, Atoms, Currency
from ledger.core.values.ids import cid
from ledger.core.values.meters import Meter

ROWS: Final = 50
"""Of a page of a list."""
TASKS: Final = 100
"""Tasks that are suggested: those of most models."""
SORTS: Final = ("name", "price", "newest")
WORDS: Final = 128
"""Characters of what is searched for."""

Words = Annotated[str, Query(max_length=WORDS)]
Offset = Annotated[int, Query(ge=0, le=MAX_INT)]


class Wanted(NamedTuple):
    """What a reader of a list asks for. Empty: anything. `price` is the most for a typical call, in whole tokens."""

    words: str = ""
    task: str = ""
    tier: str = ""
    price: str = ""
    sort: str = SORTS[0]
    all: bool = False


class Row(NamedTuple):
    """A model or capsule of a list. `price` is that of a typical call; `why` it cannot be called, if so."""

    entry: Entry
    why: str
    price: Atoms | None


router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/models")
async def list_models(  # noqa: PLR0913
    gateway: Here,
    q: Words = "",
    task: Words = "",
    tier: Words = "",
    price: Words = "",
    sort: Words = SORTS[0],
    all: bool = False,
    offset: Offset = 0,
) -> HTMLResponse:
    """The models that can be called now; with `all` the others too."""
    wanted = Wanted(q.strip(), task.strip(), tier, price.strip(), sort if sort in SORTS else SORTS[0], all)
    most = price_of(wanted.price, gateway.currency)

    def render(session: Session) -> str:
        entries = gateway.catalog.models()
        rows = found(gateway, entries, wanted, most)
        tasks = Counter(task for entry in entries for task in entry.model.tasks)
        return rendering.render(
            "models.html",
            gateway,
            section="models",
            tiers=TIERS,
            sorts=SORTS,
            tasks=sorted(task for task, _ in tasks.most_common(TASKS)),
            prices={row.entry.name: shown_prices(row.entry) for row in rows[offset : offset + ROWS]},
            **_page(rows, wanted, offset),
        )

    return rendering.page(await gateway.aside(render))


@router.get("/capsules")
async def list_capsules(
    gateway: Here, q: Words = "", sort: Words = SORTS[0], all: bool = False, offset: Offset = 0
) -> HTMLResponse:
    """The published workflows that can run now; with `all` the others too."""
    wanted = Wanted(words=q.strip(), sort=sort if sort in SORTS else SORTS[0], all=all)

    def render(session: Session) -> str:
        entries = [entry for entry in gateway.catalog.by_id.values() if isinstance(entry, CapsuleEntry)]
        rows = found(gateway, entries, wanted, None)
        return rendering.render(
            "capsules.html", gateway, section="capsules", sorts=SORTS, **_page(rows, wanted, offset)
        )

    return rendering.page(await gateway.aside(render))


def found(gateway: Gateway, entries: Sequence[Entry], wanted: Wanted, most: Atoms | None) -> list[Row]:
    """The entries that are wanted, in the wanted order. A price is known of what can be called alone."""
    scope = planning.anywhere(gateway, gateway.catalog)
    rows = []
    for entry in entries:
        if _fits(entry, wanted):
            why = planning.why_not(scope, entry)
            price = None if why else prices.typical_price(entry)
            if (wanted.all or not why) and (most is None or (price is not None and price <= most)):
                rows.append(Row(entry, why, price))
    if wanted.sort == "price":
        return sorted(rows, key=lambda row: (row.price is None, row.price or 0, row.entry.name))
    if wanted.sort == "newest":
        return sorted(rows, key=lambda row: (-row.entry.published_at, row.entry.name))
    return sorted(rows, key=lambda row: row.entry.name)


def _fits(entry: Entry, wanted: Wanted) -> bool:
    """Whether an entry is of this name (or has the CID), task and tier."""
    words = wanted.words.lower()
    if words and words not in entry.name.lower() and wanted.words != cid(entry.id) and words not in _said(entry):
        return False
    if isinstance(entry, CapsuleEntry):
        return True
    if wanted.task and wanted.task not in entry.model.tasks:
        return False
    return not wanted.tier or any(one.tier == wanted.tier for one in entry.candidates)


def _said(entry: Entry) -> str:
    document = entry.capsule.document if isinstance(entry, CapsuleEntry) else entry.model.document
    return str(document.get("description", "")).lower()


def price_of(text: str, currency: Currency) -> Atoms | None:
    """A price in whole tokens, as people write it, in atoms; None for none. Refused if it is no amount."""
    if not text:
        return None
    try:
        value = Decimal(text).scaleb(currency.decimals)
        if value.is_finite() and 0 <= value <= MAX_ATOMS:
            return int(value)
    except ArithmeticError:
        pass
    raise Refusal(400, "invalid_request", f"a price is an amount of {currency.symbol} such as 0.001", param="price")


def shown_prices(entry: Entry) -> dict[str, Atoms]:
    """The prices of a list's columns: of a call, and of a million tokens in and out."""
    known = prices.of_entry(entry) or {}
    columns = (Meter.call, Meter.input_token, Meter.output_token)
    return {meter.name: known[meter] for meter in columns if meter in known}


def tiers_of(entry: ModelEntry) -> list[str]:
    """The tiers in which a model is served now, the nearest first."""
    served = {one.tier for one in eligibility.alive(entry.candidates)}
    return [tier for tier in TIERS if tier in served]


def _page(rows: Sequence[Row], wanted: Wanted, offset: int) -> dict[str, Any]:
    end = offset + ROWS
    shown = rows[offset:end]
    return {
        "rows": shown,
        "served": {row.entry.name: tiers_of(row.entry) for row in shown if isinstance(row.entry, ModelEntry)},
        "count": len(rows),
        "wanted": wanted,
        "first": offset + 1,
        "last": min(end, len(rows)),
        "earlier": max(0, offset - ROWS) if offset else None,
        "later": end if end < len(rows) else None,
    }
