"""Dependencies of routes: this gateway, the caller, and a party named in a path."""

from typing import Annotated

from fastapi import Depends, Request

from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from ledger.core.catalog.models import party_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address


def the_gateway(request: Request) -> Gateway:
    """The gateway of this process. Refused with 503 until it has started."""
    found = getattr(request.app.state, "gateway", None)
    if found is None:
        raise Refusal(503, "starting", "this gateway is starting", retry_after=1)
    assert isinstance(found, Gateway)
    return found


Here = Annotated[Gateway, Depends(the_gateway)]


async def the_caller(request: Request, gateway: Here) -> Caller:
    """The caller, by its API key."""
    headers = {name.lower(): value for name, value in request.headers.raw}
    headers.pop(b"tollway-voucher", None)
    return await gateway.authenticator.admit(headers, now_ms())


Asking = Annotated[Caller, Depends(the_caller)]


def party(text: str) -> Address:
    """A party from an address or a DID."""
    try:
        return party_of(text)
    except Rejected as rejected:
        raise Refusal(400, "invalid_address", rejected.message, param="address") from rejected
