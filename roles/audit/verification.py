"""Checking one charge as a consumer: is it signed, what the bids say, in a batch, and is that batch on chain?

A receipt to the last line: what each party got of a call and of its sub-calls, recomputed here from the terms.

The gateway shows receipts and terms; what they cost and pay is the reader's own arithmetic, and a difference is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.core.catalog.bids import decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.settlement.header import place_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.typed_data import recover, signing_digest
from roles.cli import batch
from roles.cli.context import Context

if TYPE_CHECKING:
    from ledger.core.settlement.batch_file import BatchFile
from collections.abc import Iterator
from typing import Any

from ledger.core.catalog.bids import terms_id
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import digest
from ledger.core.values.meters import Meter, Units
from roles.cli import output
from roles.client.gateway import GatewayClient, Json


@dataclass(frozen=True, slots=True)
class Found:
    """A receipt where the public files have it."""

    receipt: Receipt
    signature: bytes
    batch: int
    place: int
    file: BatchFile


def receipt(context: Context, id: str) -> dict[str, object]:
    """Everything about a charge that can be checked, checked. Rejected with the first thing that is not so."""
    said = context.gateway.get(f"/v1/receipts/{id}")
    call = Digest(bytes.fromhex(str(said.get("receipt", said)["call_id"])[2:]))
    found = find(call)
    if found is None:
        return {"call": to_hex(call), "signed": "by the gateway", "batch": "none yet: it is in the next one"}
    charge = price(decode(found.file.terms[found.receipt.terms]), found.receipt.units, found.receipt.passed)
    if (charge.price, charge.charge) != (found.receipt.price, found.receipt.charge):
        raise Rejected(f"the bids make {charge.charge} atoms, the receipt says {found.receipt.charge}")
    signer = recover(signing_digest(context.domain, struct_hash(found.receipt)), found.signature)
    if signer != found.receipt.gateway:
        raise Rejected(f"the receipt names gateway {to_hex(found.receipt.gateway)} but {to_hex(signer)} signed it")
    if place_of(found.file.opening.ranges, found.receipt.gateway, found.receipt.seq) != found.place:
        raise Rejected("the receipt is not at its place in the batch")
    [checked] = batch.check([found.batch])
    if not checked.ok:
        raise Rejected(f"batch {found.batch} is not what it says: {checked.said}")
    lines = zip(payees(decode(found.file.terms[found.receipt.terms])), charge.amounts, strict=True)
    return {
        "call": to_hex(call),
        "signed_by": to_hex(signer),
        "charge": str(charge.charge),
        "lines": [f"{role.name} {to_hex(Address(party))}: {amount}" for (party, role), amount in lines if amount],
        "batch": found.batch,
        "place": found.place,
        "on_chain": checked.status,
        "verified": True,
    }


def find(call: Digest) -> Found | None:
    """A receipt in the public batch files, newest first."""
    for number in reversed(batch.numbers()):
        file = batch.read(number)
        for place, one in enumerate(file.receipts):
            if one.call_id == call:
                return Found(one, file.signed[place]["signature"].tobytes(), number, place, file)
    return None


def show(gateway: GatewayClient, call: str) -> None:
    """The receipt of a call and of its sub-calls, as a table."""
    rows = list(lines(gateway, call))
    root = gateway.get(f"/v1/receipts/{call}")["receipt"]
    output.tabulate(rows, f"receipt {call[:18]}… : {root['price']} atoms, {root['passed']} of them for sub-calls")


def lines(gateway: GatewayClient, call: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """A row for each call and each payee in it. Conflict when a receipt does not cost what its terms say."""
    shown = gateway.get(f"/v1/receipts/{call}")
    receipt = shown["receipt"]
    terms, units = _terms(shown), Units(*(int(shown["units"][meter.name]) for meter in Meter))
    due = price(terms, units, int(receipt["passed"]))
    if (str(due.price), str(due.charge)) != (receipt["price"], receipt["charge"]):
        said = f"{receipt['price']} and {receipt['charge']}"
        raise Conflict(f"receipt {call} says {said}; its terms give {due.price} and {due.charge}")
    used = ", ".join(f"{units[meter]} {meter.name}" for meter in Meter if units[meter])
    name = shown["noted"].get("model", call[:18])
    yield {"what": "  " * depth + str(name), "party": "", "used": used, "atoms": receipt["price"]}
    for (party, role), amount in zip(payees(terms), due.amounts, strict=True):
        if amount:
            yield {"what": "  " * depth + f"· {role.name}", "party": to_hex(party), "used": "", "atoms": str(amount)}
    if due.rebate:
        yield {"what": "  " * depth + "· rebate", "party": receipt["consumer"], "used": "", "atoms": f"-{due.rebate}"}
    for sub in shown.get("subs", []):
        yield from lines(gateway, sub["receipt"]["call_id"], depth + 1)


def _terms(shown: Json) -> Any:
    body = bytes.fromhex(shown["terms"]["body"][2:])
    if terms_id(body) != digest(shown["receipt"]["terms"]):
        raise Conflict(f"the terms of {shown['id']} are not those its receipt names")
    return decode(body)
