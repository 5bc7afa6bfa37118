"""Receipts as gateways show them, checked without their word: the price by the terms, the signature by the gateway."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger.core.catalog.bids import Terms, decode, terms_id
from ledger.core.disputes.facts import SignedReceipt
from ledger.core.pricing.price import Charge, price
from ledger.core.receipts.receipt import EndReason, Receipt, struct_hash
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import Lane, address, digest, to_hex
from ledger.core.values.meters import units
from ledger.core.values.typed_data import Domain

_DIGESTS = ("call_id", "parent", "terms", "request_digest", "response_digest")
_NUMBERS = ("seq", "epoch", "subcalls", "subcall_total", "price", "charge", "ended_at")
_ADDRESSES = ("lane", "gateway", "consumer")


def signed(shown: Mapping[str, Any]) -> SignedReceipt:
    """A receipt and its signature from what a gateway shows. LookupError, ValueError, TypeError or Rejected where it is
    no receipt.
    """
    fields = shown["receipt"]
    values: dict[str, Any] = {"end": EndReason[fields["end"]], "units": units(fields["units"])}
    values |= {name: int(fields[name]) for name in _NUMBERS}
    values |= {name: digest(fields[name]) for name in _DIGESTS}
    values |= {name: address(fields[name]) for name in _ADDRESSES}
    return SignedReceipt(Receipt(**values), bytes.fromhex(shown["signature"].removeprefix("0x")))


def due(shown: Mapping[str, Any]) -> tuple[Terms, Charge]:
    """The terms of a shown receipt, and what they make of its units. Conflict where the receipt says something else."""
    receipt, body = shown["receipt"], bytes.fromhex(shown["terms"]["body"][2:])
    if terms_id(body) != digest(receipt["terms"]):
        raise Conflict(f"the terms shown with {shown['id']} are not those its receipt names")
    terms = decode(body)
    made = price(terms, units(receipt["units"]), int(receipt["subcall_total"]))
    if (str(made.price), str(made.charge)) != (receipt["price"], receipt["charge"]):
        claimed = f"price {receipt['price']} and charge {receipt['charge']}"
        raise Conflict(f"receipt {receipt['call_id']} says {claimed}; its terms give {made.price} and {made.charge}")
    return terms, made


def read_files(paths: list[Path], lane: Lane, domain: Domain) -> list[SignedReceipt]:
    """The receipts in files of `consumer receipt --json`. Rejected unless they are the lane's and signed."""
    return [_read(path, lane, domain) for path in paths]


def _read(path: Path, lane: Lane, domain: Domain) -> SignedReceipt:
    try:
        shown = json.loads(path.read_text())
        one = signed(shown)
        struct_hash(one.receipt)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
        how = f"tollway consumer receipt ID --json > {path.name}"
        raise Rejected(f"{path} is not a signed receipt ({why}). Write one with: {how}", path=str(path)) from error
    if one.receipt.lane != lane:
        other = f"{path} is a receipt of lane {to_hex(one.receipt.lane)}, the gateway's lane is {to_hex(lane)}"
        raise Rejected(f"{other}: use --gateway URL of a gateway of that lane", path=str(path))
    if not one.is_signed(domain):
        raise Rejected(f"{path} proves nothing: its gateway did not sign what it says", path=str(path))
    return one
