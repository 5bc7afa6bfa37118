"""Receipts, terms and domains as JSON: bytes in hex, amounts as decimal strings."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.context import Gateway
from gateway.metering.answers import UNSEEN
from gateway.payment.billing import Note
from ledger.core.catalog.bids import Terms
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import cid, to_hex
from ledger.core.values.meters import Meter, quoted, used
from ledger.store.receipts.receipts import Signed

CLAIMED = frozenset(meter.name for meter in (*UNSEEN, Meter.output_image, Meter.search))
"""Meters whose units may come without text: nobody but the node can count those."""


def shown_receipt(signed: Signed, gateway: Gateway) -> dict[str, Any]:
    """A receipt with its signature: what anybody may see of it once its batch is public. `claimed` are the units that
    are the node's word, within the request's own limits.
    """
    receipt = signed.receipt
    units = used(receipt.units)
    return {
        "id": receipt_id(receipt),
        "receipt": receipt_fields(receipt),
        "digest": to_hex(signed.digest),
        "signature": to_hex(signed.signature),
        "units": units,
        "claimed": {name: count for name, count in units.items() if name in CLAIMED},
        "domain": domain_fields(gateway),
    }


def receipt_id(receipt: Receipt) -> str:
    """The id of a receipt by its gateway and sequence number."""
    return f"{to_hex(receipt.gateway)}-{receipt.seq}"


AMOUNTS = ("subcall_total", "price", "charge")


def hexed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, bytes in hex."""
    return {name: to_hex(value) if isinstance(value, bytes) else value for name, value in fields.items()}


def receipt_fields(receipt: Receipt) -> dict[str, Any]:
    """The fields a gateway signs."""
    amounts = {name: str(getattr(receipt, name)) for name in AMOUNTS}
    return hexed(receipt._asdict()) | amounts | {"end": receipt.end.name, "units": used(receipt.units)}


def noted(signed: Signed) -> dict[str, Any]:
    """The gateway's unsigned notes beside a receipt: model, salt, attempts."""
    return dict(msgspec.to_builtins(Note.of(signed)))


def domain_fields(gateway: Gateway) -> dict[str, Any]:
    """The EIP-712 domain receipts and vouchers are signed in."""
    domain = gateway.domain
    return {
        "name": domain.name,
        "version": domain.version,
        "chainId": domain.chain_id,
        "verifyingContract": to_hex(domain.contract),
    }


def shown_terms(terms: Terms) -> dict[str, Any]:
    """Terms. `carve`, the deduction, is there for a referred or sponsored call; its `sponsor` is a line's index."""
    shown: dict[str, Any] = {
        "subject": cid(terms.subject),
        "list_price": str(terms.list_price) if terms.list_price is not None else None,
        "lines": [
            {
                "party": to_hex(line.party),
                "role": line.role.name,
                "ratio_ppm": line.ratio_ppm,
                "ask": quoted(line.asks),
            }
            for line in terms.lines
        ],
    }
    deduction = terms.deduction
    if deduction is not None:
        shown["carve"] = {
            "sponsor": deduction.sponsor,
            "curator": to_hex(deduction.curator) if any(deduction.curator) else None,
            "offer_ppm": deduction.offer_ppm,
            "keep_ppm": deduction.keep_ppm,
            "promotion": str(deduction.promotion),
            "surface": to_hex(deduction.surface) if any(deduction.surface) else None,
            "treasury": to_hex(deduction.treasury),
        }
    return shown
