"""A receipt to the last line: what each party got of a call and of its sub-calls, recomputed here from the terms.

The gateway shows receipts and terms; what they cost and pay is the reader's own arithmetic, and a difference is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ledger.core.catalog.bids import decode, terms_id
from ledger.core.pricing.price import payees, price
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import digest, to_hex
from ledger.core.values.meters import Meter, Units
from roles import output
from roles.door import Door, Json


def show(door: Door, call: str) -> None:
    """The receipt of a call and of its sub-calls, as a table."""
    rows = list(lines(door, call))
    root = door.get(f"/v1/receipts/{call}")["receipt"]
    output.tabulate(rows, f"receipt {call[:18]}… : {root['price']} atoms, {root['passed']} of them for sub-calls")


def lines(door: Door, call: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """A row for each call and each payee in it. Conflict when a receipt does not cost what its terms say."""
    shown = door.get(f"/v1/receipts/{call}")
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
        yield from lines(door, sub["receipt"]["call_id"], depth + 1)


def _terms(shown: Json) -> Any:
    body = bytes.fromhex(shown["terms"]["body"][2:])
    if terms_id(body) != digest(shown["receipt"]["terms"]):
        raise Conflict(f"the terms of {shown['id']} are not those its receipt names")
    return decode(body)
