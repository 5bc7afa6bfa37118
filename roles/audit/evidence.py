"""A receipt as evidence that verifiers of others take: EIP-712's typed data as JSON, with the signature, the terms and,
once its batch is public, the path from it to the header that the chain has.

Nothing of ours is needed to check it: `docs/verify-receipt.md` does so with viem and with ethers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ledger.core.receipts.receipt import RECEIPT_TYPE, Receipt, pack, receipt_digest
from ledger.core.settlement.batches import PUBLIC
from ledger.core.settlement.header import place_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import counted
from ledger.core.values.typed_data import Domain
from roles.audit import batches
from roles.client import receipts
from roles.client.gateway import segment
from roles.wallet.context import Context

if TYPE_CHECKING:
    from ledger.core.disputes.facts import SignedReceipt

PUBLIC_STATES = frozenset(status.value for status in PUBLIC)


def evidence(context: Context, id: str) -> dict[str, Any]:
    """The evidence of a receipt. Rejected when its gateway did not sign what it shows, or its file has another."""
    shown = context.account_gateway.get(f"/v1/receipts/{segment(id)}")
    one, domain = receipts.signed(shown), context.domain
    if not one.is_signed(domain):
        raise Rejected(f"{id} proves nothing: its gateway did not sign what it says")
    batch = shown.get("batch") or {}
    public = batch.get("status") in PUBLIC_STATES
    return {
        **typed_data(domain, one.receipt),
        "signature": to_hex(one.signature),
        "signer": to_hex(one.receipt.gateway),
        "digest": to_hex(receipt_digest(domain, one.receipt)),
        "terms": shown["terms"]["body"],
        "batch": _inclusion(context, int(batch["number"]), one) if public else None,
    }


def typed_data(domain: Domain, receipt: Receipt) -> dict[str, Any]:
    """A receipt as typed data in the JSON of `eth_signTypedData_v4`, but that no type is there for the domain."""
    types = {name: _fields(text) for name, text in (part.split("(") for part in RECEIPT_TYPE.split(")") if part)}
    values = [_plain(value) for value in receipt[:-1]]
    units = [{"meter": meter, "count": str(count)} for meter, count in counted(receipt.units)]
    return {
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": to_hex(domain.contract),
        },
        "types": types,
        "primaryType": "Receipt",
        "message": dict(zip((field["name"] for field in types["Receipt"]), [*values, units], strict=True)),
    }


def _fields(text: str) -> list[dict[str, str]]:
    return [{"type": kind, "name": name} for kind, name in (one.split(" ") for one in text.split(","))]


def _plain(value: bytes | int) -> str:
    """Bytes in hex; numbers as decimal text, because JSON's are exact up to 2^53 only."""
    return to_hex(value) if isinstance(value, bytes) else str(int(value))


def _inclusion(context: Context, number: int, one: SignedReceipt) -> dict[str, Any]:
    """The receipt's place in its batch, the siblings on its path, the header, and the batch's number on chain."""
    import numpy as np

    from ledger.core.kernels.receipt_hashes import struct_hashes
    from ledger.core.kernels.sum_tree import Levels, receipt_leaves

    file = batches.read(context, number)
    place = place_of(file.opening.ranges, one.receipt.gateway, one.receipt.seq)
    records = file.signed.records
    if place in file.opening.barred:
        raise Rejected(f"receipt {one.receipt.seq} is barred in batch {number}: its consumer had left and pays nothing")
    if pack(file.receipts[place]) != pack(one.receipt):
        raise Rejected(f"batch {number} has another receipt {one.receipt.seq}: tollway consumer prove receipt.json")
    leaves = receipt_leaves(file.opening.lane, struct_hashes(records), records["charge"].astype(np.int64))
    leaves[list(file.opening.barred)] = 0
    tree, header = Levels.build(leaves), file.header
    return {
        "number": batches.onchain_id_of(context, number),
        "place": place,
        "siblings": [to_hex(word) for word in tree.proof(place)],
        "header": {
            name: to_hex(value) if isinstance(value, bytes) else value
            for name, value in (asdict(header) | {"heights": header.heights.packed}).items()
        },
    }
