"""What a party spent and earned: its statement for itself, call by call, as JSON, CSV or a Beancount file; and for
everybody what public batches paid a payee, and would have at other asks.
"""

import csv
import io
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gateway.api.dependencies import Asking, Here, party
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import MAX_INT
from gateway.api.schemas.openapi import Typed, of_types
from gateway.catalog import payees
from gateway.catalog.payees import Payees, Record
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import require
from ledger.core.accounts import beancount, statements
from ledger.core.accounts.permissions import Act, Subject
from ledger.core.accounts.statements import Movement, Row
from ledger.core.pricing.what_if import Earned
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, cid, cid_digest, to_hex
from ledger.core.values.meters import quoted, used
from ledger.flows import reports
from ledger.flows.reports import Page
from ledger.store.network import documents
from ledger.store.receipts.statements import Period

router = APIRouter(prefix="/v1", tags=["statements"], route_class=Typed)

Moment = Annotated[int, Query(ge=0, le=MAX_INT, description="ms since the epoch")]


# fmt: off
COLUMNS = (
    "at", "side", "role", "model", "amount", "why", "receipt", "consumer", "payee", "terms", "price", "units",
    "ratio_ppm", "ask", "batch", "stage", "call_id",
)
# fmt: on
"""Columns of the CSV form."""


@router.get("/statements/{address}", response_model=answers.Statement, responses=of_types("text/csv", "text/plain"))
async def statement(  # noqa: PLR0913
    address: str,
    gateway: Here,
    caller: Asking,
    role: str = "",
    model: str = "",
    first: Annotated[int, Query(alias="from", ge=0, le=MAX_INT)] = 0,
    to: Moment = MAX_INT,
    format: Literal["json", "csv", "beancount"] = "json",
    cursor: str = "",
    limit: Annotated[int, Query(ge=1, le=reports.MAX_PAGE)] = 200,
) -> Response:
    """A page of a party's statement, for the party itself or a key of it with `manage`. `Tollway-Next` is the cursor of
    the next page; pages can be joined as text.
    """
    who, roles = party(address), statements.roles_of(role)
    require(caller, Act.read_account, Subject(who))
    subject = await _subject(gateway, model) if model else None
    query = reports.Query(gateway.lane, who, Period(first, to), roles, subject)
    page = await gateway.aside(lambda session: reports.statement(session, query, cursor, limit))
    if subject is not None and not page.rows and not cursor and subject not in gateway.catalog.by_id:
        raise _unknown(model)  # it may be in a realm: that is not theirs to know
    headers = {"tollway-next": page.next} if page.next else {}
    if format == "csv":
        return Response(_csv(page, header=not cursor), media_type="text/csv", headers=headers)
    if format == "beancount":
        head = "" if cursor else beancount.header(who, gateway.currency)
        body = head + beancount.calls(page.rows, page.names, gateway.currency)
        body += beancount.moves(page.movements, gateway.currency)
        return Response(body, media_type="text/plain; charset=utf-8", headers=headers)
    return Response(_json(page, who), media_type="application/json", headers=headers)


async def _subject(gateway: Here, model: str) -> Digest:
    """A model's id from its CID or its name. An unknown name has an id that nothing has, and takes as long."""
    try:
        return cid_digest(model)
    except Rejected:
        known = await gateway.aside(documents.everything)
    ids = [document.id for document in known if document.name == model]
    return ids[-1] if ids else ZERO_DIGEST


def _unknown(model: str) -> Refusal:
    message = f"there is no model {model} that this account paid for, or earned with"
    return Refusal(404, "no_such_model", message, param="model")


def _json(page: Page, who: Address) -> bytes:
    rows = [_row_fields(row, page) for row in page.rows]
    totals = [
        {"side": side.value, "role": role.name, "subject": cid(subject), "lines": lines, "atoms": str(atoms)}
        for (side, role, subject), (lines, atoms) in statements.totals(page.rows).items()
    ]
    movements = [_movement_fields(movement) for movement in page.movements]
    body = {"address": to_hex(who), "lines": rows, "totals": totals, "movements": movements, "next": page.next or None}
    return orjson.dumps(body)


def _csv(page: Page, *, header: bool) -> str:
    """Calls and movements in one table: a movement has its kind as side and its account as subject."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, extrasaction="ignore", restval="")
    if header:
        writer.writeheader()
    for row in page.rows:
        fields = _row_fields(row, page)
        flat = {name: ";".join(f"{k}={v}" for k, v in fields[name].items()) for name in ("units", "ask")}
        writer.writerow(fields | flat)
    for movement in page.movements:
        fields = _movement_fields(movement)
        columns = {"side": fields["kind"], "model": fields["account"], "receipt": fields["transaction"]}
        writer.writerow(fields | columns)
    return sink.getvalue()


def _row_fields(row: Row, page: Page) -> dict[str, Any]:
    item, receipt = row.item, row.item.receipt
    return {
        "at": receipt.ended_at,
        "side": row.side.value,
        "role": item.role.name,
        "model": page.names.get(item.subject) or cid(item.subject),
        "amount": str(item.amount),
        "why": item.why,
        "ratio_ppm": item.ratio_ppm,
        "ask": quoted(item.asks),
        "units": used(receipt.units),
        "price": str(receipt.price),
        "receipt": f"{to_hex(receipt.gateway)}-{receipt.seq}",
        "call_id": to_hex(receipt.call_id),
        "consumer": to_hex(receipt.consumer),
        "payee": to_hex(item.payee),
        "terms": to_hex(receipt.terms),
        "batch": row.batch or None,
        "stage": row.stage.value,
    }


def _movement_fields(movement: Movement) -> dict[str, Any]:
    transaction = movement.transaction
    return {
        "at": transaction.at,
        "kind": transaction.kind.value,
        "account": movement.account,
        "amount": str(movement.grown),
        "transaction": to_hex(transaction.id),
    }


@router.get("/payees/{payee}/what-if", response_model=answers.WhatIf)
async def what_if(payee: str, request: Request, gateway: Here) -> dict[str, Any]:
    """What a payee's calls of the last week's public batches would have paid, had it asked less or more: at most a
    thousand, from the newest back. `tollway provider what-if` replays all of them from the batch files.
    """
    found = await record_of(request, gateway, party(payee))
    return {
        "payee": to_hex(found.payee),
        "replayed": _replayed(found),
        "points": [
            {
                "change_ppm": one.change_ppm,
                "earned": str(one.earned),
                "expected": str(one.expected),
                "left_out": one.left_out,
            }
            for one in found.points
        ],
    }


@router.get("/payees/{payee}", response_model=answers.Payee)
async def show_payee(payee: str, request: Request, gateway: Here) -> dict[str, Any]:
    """What the lane's public batches paid a payee, by epoch, role and model; what it claimed, can claim, and waits for;
    its stake; and what this gateway measured of it. Anybody can add it up from the batch files.
    """
    found = await record_of(request, gateway, party(payee))
    stake = found.stake
    return {
        "payee": to_hex(found.payee),
        "lane": to_hex(gateway.lane),
        "index": found.index,
        "settled": str(found.settled),
        "claimed": str(found.claimed),
        "claimable": str(found.claimable),
        "waiting": [
            {
                "batch": one.number,
                "status": one.status.value,
                "role": one.role.name,
                "earned": str(one.amount),
                "until": one.until,
            }
            for one in found.waits
        ],
        "epochs": [
            {
                "epoch": epoch,
                "starts_at": epoch * gateway.calendar.epoch_seconds * 1_000,
                "role": role.name,
                "earned": str(amount),
            }
            for (epoch, role), amount in payees.by_epoch(found.paid).items()
        ],
        "models": models_of(gateway, found),
        "replayed": _replayed(found),
        "stake": {
            "active": str(stake.active),
            "unbonding": str(stake.unbonding),
            "release_at": stake.release_at * 1_000,
        }
        if stake is not None
        else None,
        "provides": [
            {
                "model": entry.name,
                "ready": one.health.usable,
                "tier": one.tier,
                "since": one.since,
                "quality_ppm": one.health.measured_ppm,
                "latency_ms": one.health.latency_ms or None,
                "calls": one.health.calls,
                "errors": one.health.errors,
                "refusals": one.health.refusals,
            }
            for entry, one in payees.served_by(gateway.catalog, found.payee)
        ],
    }


async def record_of(request: Request, gateway: Gateway, payee: Address) -> Record:
    """A payee's public record, read once for all who ask."""
    kept: Payees = request.app.state.payees
    return await kept.read(gateway, payee)


def models_of(gateway: Gateway, found: Record) -> list[dict[str, Any]]:
    """What a payee earned by model and role, the largest first. A model that is not listed here is named by its CID."""
    rows = sorted(found.earned.items(), key=lambda row: (-row[1], row[0]))
    return [
        {
            "model": name_of(gateway, subject),
            "role": role.name,
            "calls": found.counts[Earned(subject, role)],
            "earned": str(amount),
        }
        for (subject, role), amount in rows
    ]


def name_of(gateway: Gateway, subject: Digest) -> str:
    entry = gateway.catalog.by_id.get(subject)
    return entry.name if entry is not None else cid(subject)


def _replayed(found: Record) -> dict[str, Any]:
    return {"calls": found.calls, "first": found.first, "last": found.last, "whole": found.whole}
