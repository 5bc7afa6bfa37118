"""The explorer: the lane's batches, a batch, and a receipt, as everybody may see them. All of it is recomputed from the
batch files and the chain by `tollway batch verify`; nobody has to believe these pages.
"""

from collections import Counter
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session
from starlette.responses import Response

from gateway.api.accounts import receipt_shown
from gateway.api.dependencies import Here
from gateway.api.proofs import Number
from gateway.api.schemas.bodies import MAX_INT
from gateway.console import overview, rendering
from gateway.console.entries import href_of
from gateway.console.overview import Period
from gateway.console.rendering import Page
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.catalog.bids import decode
from ledger.core.pricing.price import compile_terms, payees
from ledger.core.settlement.batches import PUBLIC
from ledger.core.settlement.events import FinalAsked
from ledger.core.values.ids import cid, cid_digest, to_hex
from ledger.core.values.meters import units
from ledger.store.settlement import batches, challenges
from ledger.store.settlement.batches import Batch

ROWS: Final = 50
"""Batches of a page."""
FIRST: Final = 20
"""Receipts of a range that a batch's page leads to."""
ROOTS: Final = ("receipts_root", "payout_root", "debit_root", "lines_root", "gateways_root", "data_ref")
SHARES: Final = 200
"""Sums by payee and role on a batch's page: the largest."""

router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/explorer")
async def list_batches(gateway: Here, before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None) -> HTMLResponse:
    """The lane's batches, newest first."""

    def render(session: Session) -> str:
        rows = batches.newest(session, gateway.lane, before, ROWS)
        more = rows[-1].number if len(rows) == ROWS and rows[-1].number > 1 else None
        shown = {"rows": rows, "before": before, "more": more, "lane": to_hex(gateway.lane)}
        return rendering.render("explorer.html", gateway, section="explorer", **shown)

    return rendering.page(await gateway.aside(render))


@router.get("/explorer/receipts")
async def find_receipt(id: Annotated[str, Query(max_length=200)]) -> Response:
    """To the page of a receipt that was asked for."""
    return RedirectResponse(f"/explorer/receipts/{quote(id.strip(), safe='')}", 303)


@router.get("/explorer/receipts/{receipt_id}")
async def show_receipt(receipt_id: str, gateway: Here) -> HTMLResponse:
    """A receipt that is in a public batch, by its call id or by gateway and number. Its scripts may ask any RPC
    endpoint that the reader names for the batch's header.
    """

    def render(session: Session) -> str:
        shown = receipt_shown(session, gateway, None, receipt_id)
        return rendering.render("receipt.html", gateway, section="explorer", **_receipt(gateway, shown))

    return rendering.page(await gateway.aside(render), connect=rendering.ANY_RPC)


@router.get("/explorer/earnings")
async def who_earned_what(
    request: Request, gateway: Here, of: Annotated[Period, Query(description="the last hour or day")] = Period.day
) -> HTMLResponse:
    """What public batches paid to whom, and how anybody makes the same list again."""
    network = await request.app.state.overview.read(gateway, of)
    shown = {
        "period": of.value,
        "total": network.chosen.total,
        "calls": network.chosen.calls,
        "count": network.chosen.batches,
        "rows": [(to_hex(payee), role.name, amount) for (payee, role), amount in network.paid.items()],
        "most": overview.SUMS_READ,
        "private": gateway.private,
        "url": gateway.place(request.headers.get("host", "")).url,
    }
    body = await gateway.aside(lambda _: rendering.render("earnings.html", gateway, section="explorer", **shown))
    return rendering.page(body)


@router.get("/explorer/{number}")
async def show_batch(number: Number, gateway: Here) -> HTMLResponse:
    """A batch: its header, the receipts it covers, and once it is public, whom it pays."""

    def render(session: Session) -> str:
        batch = batches.get(session, gateway.lane, number)
        if batch is None:
            raise Refusal(404, "no_such_batch", f"there is no batch {number}")
        return rendering.render("batch.html", gateway, section="explorer", **_batch(session, gateway, batch))

    return rendering.page(await gateway.aside(render))


def _batch(session: Session, gateway: Gateway, batch: Batch) -> dict[str, Any]:
    is_public = batch.status in PUBLIC
    largest, count = batches.largest_shares(session, gateway.lane, batch.number, SHARES) if is_public else ({}, 0)
    flows = overview.flows(largest)
    asked = [one.asked for one in challenges.unanswered(session, gateway.lane)]
    about = [one for one in asked if not isinstance(one, FinalAsked) and one.id == batch.onchain_id]
    return {
        "batch": batch,
        "is_public": is_public,
        "header_id": to_hex(batch.header.id),
        "prev": to_hex(batch.header.prev),
        "roots": {name: to_hex(getattr(batch.header, name)) for name in ROOTS},
        "ranges": [
            (to_hex(one.gateway), one.first, one.first + one.count - 1, one.count, min(one.count, FIRST))
            for one in batches.ranges(session, gateway.lane, batch.number)
        ],
        "shares": [(role.name, to_hex(payee), amount) for (payee, role), amount in largest.items()],
        "left_out": count - len(largest),
        "drawing": overview.drawn(flows) if flows else None,
        "questions": Counter(type(one).__name__ for one in about),
        "deadline": min((one.deadline for one in about), default=None),
        "private": gateway.private,
    }


def _receipt(gateway: Gateway, shown: dict[str, Any]) -> dict[str, Any]:
    """A receipt as the API shows it to anybody, the name of what was called, and what each party of its terms gets."""
    fields = shown["receipt"]
    terms = decode(bytes.fromhex(shown["terms"]["body"][2:]))
    due = compile_terms(terms).charge(units(shown["units"]), int(fields["subcall_total"]))
    subject = gateway.catalog.by_id.get(cid_digest(shown["terms"]["subject"]))
    return {
        "shown": shown,
        "receipt": fields,
        "subject": subject.name if subject is not None else cid(terms.subject),
        "href": href_of(subject) if subject is not None else "",
        "shares": [
            (role.name, to_hex(party), amount) for (party, role), amount in zip(payees(terms), due.amounts, strict=True)
        ],
        "rebate": due.rebate,
        "batch": shown["batch"],
    }
