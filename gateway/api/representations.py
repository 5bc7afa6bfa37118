"""How receipts, terms and domains are shown: hex and decimal strings, for people and programs."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.context import Gateway
from gateway.payment.billing import Note
from ledger.core.catalog.bids import Terms
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import cid, to_hex
from ledger.core.values.meters import quoted
from ledger.store.receipts.receipts import Signed


def shown_receipt(signed: Signed, gateway: Gateway) -> dict[str, Any]:
    """A receipt for people and programs: hex and decimal strings."""
    r = signed.receipt
    return {
        "id": f"{to_hex(r.gateway)}-{r.seq}",
        "receipt": receipt_fields(r),
        "digest": to_hex(signed.digest),
        "signature": to_hex(signed.signature),
        "units": dict(zip(r.units._fields, r.units, strict=True)),
        "noted": noted(signed),
        "domain": domain_fields(gateway),
    }


def receipt_fields(r: Receipt) -> dict[str, Any]:
    """The 21 fields a gateway signs."""
    hexed = {
        name: to_hex(getattr(r, name))
        for name in (*("call_id", "parent", "gateway", "consumer", "terms", "request_digest", "response_digest"),)
    }
    counts = ("lane", "seq", "epoch", "calls", "input_tokens", "output_tokens", "ms", "byte_count", "fuel", "ended_at")
    amounts = {name: str(getattr(r, name)) for name in ("passed", "price", "charge")}
    return {**hexed, **{name: getattr(r, name) for name in counts}, **amounts, "end": r.end.name}


def noted(signed: Signed) -> dict[str, Any]:
    """What the gateway noted beside a receipt: model, salt, attempts."""
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
    """Terms as JSON. `carve`, the deduction, is there for a referred or sponsored call; its sponsor counts from 0."""
    deduction = terms.deduction
    given: dict[str, Any] = {}
    if deduction is not None:
        given["carve"] = {
            "sponsor": deduction.sponsor,
            "curator": to_hex(deduction.curator) if any(deduction.curator) else None,
            "offer_ppm": deduction.offer_ppm,
            "keep_ppm": deduction.keep_ppm,
            "promotion": str(deduction.promotion),
            "surface": to_hex(deduction.surface) if any(deduction.surface) else None,
            "treasury": to_hex(deduction.treasury),
        }
    return {
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
        **given,
    }
