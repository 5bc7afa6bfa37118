"""Payees: what public batches paid an address, what it can claim, and what another ask would have brought.

Public, as the batch files are; of those who pay there is no page.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from gateway.api import statements
from gateway.api.dependencies import Here, party
from gateway.catalog import payees
from gateway.catalog.payees import Record
from gateway.console import plots, rendering
from gateway.console.overview import Overview, Period
from gateway.console.plots import Plot
from gateway.console.rendering import Page
from gateway.context import Gateway
from ledger.core.catalog.bids import Role
from ledger.core.values.atoms import format_ratio
from ledger.core.values.ids import Address, to_hex

LISTED: Final = 50
"""Payees of the list: those that the last day's public batches paid most."""
EPOCHS: Final = 24
"""Epochs of the plot."""
ROWS: Final = 100
"""Sums by epoch and role in the table, and batches that wait."""
SAME, DRAWN = "same", "drawn"
"""Classes of the lines: the same calls, and those drawn again."""

router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/payees")
async def find_payee(request: Request, gateway: Here, address: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Those who are paid most now; or to the page of a payee that was asked for."""
    if address.strip():
        return RedirectResponse(f"/payees/{to_hex(party(address.strip()))}", 303)
    kept: Overview = request.app.state.overview
    network = await kept.read(gateway, Period.day)
    sums: dict[Address, dict[Role, int]] = {}
    for (payee, role), amount in network.paid.items():
        sums.setdefault(payee, {})[role] = amount
    largest = sorted(sums.items(), key=lambda row: (-sum(row[1].values()), row[0]))[:LISTED]
    rows = [(to_hex(payee), [role.name for role in roles], sum(roles.values())) for payee, roles in largest]
    return rendering.page(rendering.render("payees.html", gateway, section="payees", rows=rows))


@router.get("/payees/{payee}")
async def show_payee(payee: str, request: Request, gateway: Here) -> HTMLResponse:
    """What one payee earned, and by what."""
    found = await statements.record_of(request, gateway, party(payee))
    return rendering.page(rendering.render("payee.html", gateway, section="payees", **_shown(gateway, found)))


def _shown(gateway: Gateway, found: Record) -> dict[str, Any]:
    epochs = payees.by_epoch(found.paid)
    seconds = gateway.calendar.epoch_seconds
    rows = [(epoch, epoch * seconds * 1_000, role.name, amount) for (epoch, role), amount in epochs.items()]
    return {
        "payee": to_hex(found.payee),
        "lane": to_hex(gateway.lane),
        "found": found,
        "private": gateway.private,
        "waiting": sum(one.amount for one in found.waits),
        "until": max((one.until or 0 for one in found.waits), default=0),
        "rows": rows[:ROWS],
        "left_out": max(0, len(rows) - ROWS),
        "legend": [(role.name, role.name) for role in sorted({role for _, role in epochs})],
        "epochs": _epochs(epochs, seconds) if rows else None,
        "models": statements.models_of(gateway, found),
        "provides": payees.served_by(gateway.catalog, found.payee),
        "what_if": _what_if(found) if found.points else None,
        "points": [(_percent(one.change_ppm), one) for one in found.points],
        "most_waiting": ROWS,
    }


def _epochs(by_epoch: Mapping[tuple[int, Role], int], seconds: int) -> Plot:
    """Earnings by epoch and role: the newest epochs up to the last one that was paid."""
    newest = max(epoch for epoch, _ in by_epoch)
    oldest = max(min(epoch for epoch, _ in by_epoch), newest - EPOCHS + 1)
    stacks = [
        (_short(epoch * seconds), {role.name: by_epoch.get((epoch, role), 0) for role in Role})
        for epoch in range(oldest, newest + 1)
    ]
    return plots.columns(stacks)


def _what_if(found: Record) -> Plot:
    names = [_percent(one.change_ppm) for one in found.points]
    series = {DRAWN: [one.expected for one in found.points], SAME: [one.earned for one in found.points]}
    return plots.lines(names, series)


def _percent(change_ppm: int) -> str:
    """`5% less`, `as it was`, `10% more`."""
    if not change_ppm:
        return "as it was"
    return f"{format_ratio(abs(change_ppm))} {'more' if change_ppm > 0 else 'less'}"


def _short(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%m-%d %H:%M}"
