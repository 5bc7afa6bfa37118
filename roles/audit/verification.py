"""Verification of one charge: signature, price by the bids, position in its batch, and the batch on chain.

Also a receipt to the last line: what each party earned of a call and of its sub-calls. The gateway shows receipts and
terms; prices and amounts are recomputed here from the terms, and a difference is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ledger.core.catalog.bids import decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import struct_hash
from ledger.core.settlement.header import place_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, digest, to_hex
from ledger.core.values.meters import units, used
from ledger.core.values.typed_data import recover, signing_digest
from roles.audit import batches
from roles.client import receipts
from roles.client.gateway import GatewayClient, segment
from roles.wallet.context import Context

if TYPE_CHECKING:
    from ledger.core.settlement.batch_file import BatchFile


def receipt(context: Context, id: str) -> dict[str, object]:
    """Check everything about a charge. Rejected with the first thing that does not agree."""
    answer = context.account_gateway.get(f"/v1/receipts/{segment(id)}")
    call = digest(str(answer.get("receipt", answer)["call_id"]))
    batched = find(context, call)
    if batched is None:
        return {"call": to_hex(call), "signed": "by the gateway", "batch": "none yet: it is in the next one"}
    file, position = batched
    number, one = file.opening.number, file.receipts[position]
    if position in file.opening.barred:
        return {"call": to_hex(call), "signed": "by the gateway", "batch": number, "charge": "0: barred, as you left"}
    terms = decode(file.terms[one.terms])
    due = price(terms, one.units, one.subcall_total)
    if (due.price, due.charge) != (one.price, one.charge):
        raise Rejected(f"the bids make {due.charge} atoms, the receipt says {one.charge}")
    signer = recover(signing_digest(context.domain, struct_hash(one)), file.signed.signature(position))
    if signer != one.gateway:
        raise Rejected(f"the receipt names gateway {to_hex(one.gateway)} but {to_hex(signer)} signed it")
    if place_of(file.opening.ranges, one.gateway, one.seq) != position:
        raise Rejected("the receipt is not at its position in the batch")
    [checked] = batches.check(context, [number])
    if checked.is_under_way:
        return {"call": to_hex(call), "signed": "by the gateway", "batch": f"{number}, which is not on chain yet"}
    if not checked.ok:
        raise Rejected(f"batch {number} does not agree: {checked.difference}")
    lines = zip(payees(terms), due.amounts, strict=True)
    return {
        "call": to_hex(call),
        "signed_by": to_hex(signer),
        "charge": str(due.charge),
        "lines": [f"{role.name} {to_hex(Address(party))}: {amount}" for (party, role), amount in lines if amount],
        "batch": number,
        "place": position,
        "on_chain": checked.status,
        "verified": True,
    }


def find(context: Context, call: Digest) -> tuple[BatchFile, int] | None:
    """The batch file with a call's receipt, and the receipt's position in it from 0. The newest batch is read first."""
    for number in reversed(batches.numbers(context)):
        file = batches.read(context, number)
        for position, one in enumerate(file.receipts):
            if one.call_id == call:
                return file, position
    return None


def lines(gateway: GatewayClient, call: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """A row for each call and each payee in it. Conflict when a receipt does not cost what its terms say."""
    shown = gateway.get(f"/v1/receipts/{call}")
    receipt, (terms, due) = shown["receipt"], receipts.due(shown)
    measured = units(receipt["units"])
    said = ", ".join(f"{count} {meter}" for meter, count in used(measured).items())
    name = shown.get("noted", {}).get("model", call[:18])
    yield {"what": "  " * depth + str(name), "party": "", "used": said, "atoms": receipt["price"]}
    for (party, role), amount in zip(payees(terms), due.amounts, strict=True):
        if amount:
            yield {"what": "  " * depth + f"· {role.name}", "party": to_hex(party), "used": "", "atoms": str(amount)}
    if due.rebate:
        yield {"what": "  " * depth + "· rebate", "party": receipt["consumer"], "used": "", "atoms": f"-{due.rebate}"}
    for sub in shown.get("subs", []):
        yield from lines(gateway, sub["receipt"]["call_id"], depth + 1)
