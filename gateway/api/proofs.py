"""Batches, their files, and Merkle proofs of payouts, debits and receipts: what anybody can check."""

import io
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from sqlmodel import Session

from gateway.api.accounts import find_receipt
from gateway.api.dependencies import Here, party
from gateway.api.representations import hexed
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import MAX_INT
from gateway.api.schemas.openapi import Typed, of_types
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.settlement.batches import PUBLIC
from ledger.core.settlement.header import Header, Range
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.store.settlement import batches, proofs
from ledger.store.settlement.batches import Batch
from ledger.store.settlement.proofs import Proof

router = APIRouter(prefix="/v1", tags=["proofs"], route_class=Typed)

Find = Callable[[Session, Batch, Address], Proof | None]
Number = Annotated[int, Path(ge=0, le=MAX_INT)]


@router.get("/settlement/batches", response_model=answers.Batches)
async def list_batches(
    gateway: Here,
    before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The lane's batches, newest first. While `has_more`, `before` of the answer (a number) is where the next page
    begins.
    """
    found = await gateway.aside(lambda session: batches.newest(session, gateway.lane, before, limit))
    more = len(found) == limit and found[-1].number > 1
    rows = [_batch_fields(batch) for batch in found]
    return {"object": "list", "data": rows, "has_more": more, "before": found[-1].number if more else None}


@router.get("/settlement/batches/{number}", response_model=answers.ShownBatch)
async def show_batch(number: Number, gateway: Here) -> dict[str, Any]:
    """One batch: its header and the receipts it covers. What it pays to whom is in its file."""

    def read(session: Session) -> dict[str, Any]:
        batch = _get(session, gateway.lane, number)
        ranges = batches.ranges(session, gateway.lane, number)
        return _batch_fields(batch) | {
            "ranges": [_range_fields(one) for one in ranges],
        }

    return await gateway.aside(read)


@router.get(
    "/settlement/batches/{number}/file", response_class=Response, responses=of_types("application/octet-stream")
)
async def batch_file(number: Number, gateway: Here) -> Response:
    """A batch's public file, from which anybody can recompute the batch. Its sha256 is the header's data_ref. It is
    there once the batch is on its way to the chain.
    """
    from ledger.store.settlement import batch_files  # imports numba, which the gateway loads only for this

    def write(session: Session) -> tuple[bytes, Batch]:
        batch = _get(session, gateway.lane, number)
        if batch.status not in PUBLIC:
            raise Refusal(404, "not_public", f"batch {number} is not public: it is {batch.status.value}")
        sink = io.BytesIO()
        batch_files.write_again(session, sink, gateway.domain, batch)
        return sink.getvalue(), batch

    body, batch = await gateway.aside(write)
    headers = {"etag": f'"{to_hex(batch.header.data_ref)}"', "cache-control": "public, immutable"}
    return Response(body, media_type="application/octet-stream", headers=headers)


@router.get("/proofs/receipt/{receipt_id}", response_model=answers.ReceiptProof)
async def receipt(receipt: Annotated[str, Path(alias="receipt_id", max_length=200)], gateway: Here) -> dict[str, Any]:
    """Where a receipt of a public batch stands: its signed record with those of its sub-calls right before it, their
    place, and the siblings at the boundaries of their range, leaf level first, per level left then right. They lead to
    the `receipts_root` of the header, and the ranges to its `gateways_root`. Whether the chain has the header, ask the
    chain.
    """

    def read(session: Session) -> dict[str, Any]:
        found = find_receipt(session, gateway.lane, receipt)
        missing = Refusal(404, "no_such_receipt", f"there is no receipt {receipt!r} in a public batch")
        if found is None:
            raise missing
        batch = batches.holding(session, gateway.lane, found.receipt.gateway, found.receipt.seq)
        if batch is None or batch.status not in PUBLIC:
            raise missing
        proof = proofs.receipt(session, batch, found.receipt)
        if proof is None:
            file = f"/v1/settlement/batches/{batch.number}/file"
            message = f"batch {batch.number} was closed before proofs were kept: read {file}"
            raise Refusal(404, "no_proof", message)
        return {
            "batch": _batch_fields(batch) | {"ranges": [_range_fields(one) for one in proof.ranges]},
            "first": proof.first,
            "receipts": [to_hex(one) for one in proof.signed],
            "barred": list(proof.barred),
            "siblings": [to_hex(word) for word in proof.siblings],
        }

    return await gateway.aside(read)


@router.get("/proofs/payout/{payee}", response_model=answers.Proof)
async def payout(payee: str, gateway: Here) -> dict[str, Any]:
    """A payee's cumulative payout in the newest final batch, and its proof."""
    return await _proof(gateway, party(payee), proofs.payout, lambda header: header.payout_root)


@router.get("/proofs/debit/{account}", response_model=answers.Proof)
async def debit(account: str, gateway: Here) -> dict[str, Any]:
    """A consumer's cumulative debit in the newest final batch, and its proof."""
    return await _proof(gateway, party(account), proofs.debit, lambda header: header.debit_root)


async def _proof(gateway: Gateway, who: Address, find: Find, root_of: Callable[[Header], bytes]) -> dict[str, Any]:
    """A leaf's amount and siblings, leaf level first."""

    def read(session: Session) -> dict[str, Any]:
        batch = batches.last_final(session, gateway.lane)  # Settlement checks against the newest
        if batch is None:
            raise Refusal(404, "nothing_final", "no batch is final yet")
        found = find(session, batch, who)
        if found is None:
            raise Refusal(404, "nothing_final", f"no final batch holds {to_hex(who)}")
        return {
            "lane": to_hex(batch.lane),
            "batch": batch.number,
            "chain_batch": batch.onchain_id,
            "account": to_hex(who),
            "index": found.index,
            "cumulative": str(found.cumulative),
            "proof": [to_hex(sibling) for sibling in found.siblings],
            "root": to_hex(root_of(batch.header)),
        }

    return await gateway.aside(read)


def _range_fields(row: Range) -> dict[str, Any]:
    return {"number": row.number, "gateway": to_hex(row.gateway), "first": row.first, "count": row.count}


def _get(session: Session, lane: Lane, number: int) -> Batch:
    batch = batches.get(session, lane, number)
    if batch is None:
        raise Refusal(404, "no_such_batch", f"there is no batch {number}")
    return batch


def _batch_fields(batch: Batch) -> dict[str, Any]:
    return {
        "number": batch.number,
        "lane": to_hex(batch.lane),
        "status": batch.status.value,
        "chain_id": batch.onchain_id,
        "calls": batch.header.calls,
        "total": str(batch.total),
        "cumulative": str(batch.cumulative),
        "epoch": batch.epoch,
        "header_id": to_hex(batch.header.id),
        "header": hexed(asdict(batch.header)) | {"heights": batch.header.heights._asdict()},
        "file": f"/v1/settlement/batches/{batch.number}/file",
        "built_at": batch.built_at,
        "posted_at": batch.posted_at,
        "until": batch.until,
        "final_at": batch.final_at,
    }
