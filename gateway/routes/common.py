"""What routes share: the gateway of the request, who asks, and how values are shown."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.admission import Caller
from gateway.clock import now_ms
from gateway.deps import Gateway
from gateway.errors import Refusal
from ledger.core.bids import Terms
from ledger.core.errors import Rejected
from ledger.core.ids import Address, cid, to_hex
from ledger.core.meters import quoted
from ledger.core.models import party_of
from ledger.core.receipts import Receipt
from ledger.store.receipts import Signed

MAX_INT = 2**63 - 1


def the_gateway(request: Request) -> Gateway:
    """The gateway this process is."""
    found = getattr(request.app.state, "gateway", None)
    if found is None:
        raise Refusal(503, "starting", "this gateway is starting", retry_after=1)
    assert isinstance(found, Gateway)
    return found


Here = Annotated[Gateway, Depends(the_gateway)]


async def the_caller(request: Request, gateway: Here) -> Caller:
    """Who asks, by API key."""
    headers = {name.lower(): value for name, value in request.headers.raw}
    headers.pop(b"tollway-voucher", None)
    return await gateway.doors.admit(headers, now_ms())


Asking = Annotated[Caller, Depends(the_caller)]


def party(text: str) -> Address:
    """A party from an address or a did in a path."""
    try:
        return party_of(text)
    except Rejected as rejected:
        raise Refusal(400, "invalid_address", rejected.message, param="address") from rejected


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
    import orjson

    found = orjson.loads(signed.extra) if signed.extra else {}
    return found if isinstance(found, dict) else {}


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
    """Terms as JSON. `carve` is there only where somebody referred or showed the call; its sponsor counts from 0."""
    carve = terms.carve
    given: dict[str, Any] = {}
    if carve is not None:
        given["carve"] = {
            "sponsor": carve.sponsor,
            "curator": to_hex(carve.curator) if any(carve.curator) else None,
            "offer_ppm": carve.offer_ppm,
            "keep_ppm": carve.keep_ppm,
            "promotion": str(carve.promotion),
            "surface": to_hex(carve.surface) if any(carve.surface) else None,
            "treasury": to_hex(carve.treasury),
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
