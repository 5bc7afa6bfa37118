"""Dependencies of routes: this gateway, the caller, the catalog it sees, and a party named in a path."""

from typing import Annotated

from fastapi import Depends, Request

from gateway.catalog.catalog import Catalog
from gateway.catalog.realms import realm_named
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller, SignedRequest
from ledger.core.catalog.models import party_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import request_digest

SIGNATURE = b"tollway-account"


def the_gateway(request: Request) -> Gateway:
    """The gateway of this process. Refused with 503 until it has started."""
    found = getattr(request.app.state, "gateway", None)
    if found is None:
        raise Refusal(503, "starting", "this gateway is starting", retry_after=1)
    assert isinstance(found, Gateway)
    return found


Here = Annotated[Gateway, Depends(the_gateway)]


async def caller_of(request: Request, gateway: Gateway, body: bytes) -> Caller:
    """The caller of a request with this body, by its API key or by the account's signature of this very request."""
    headers = {name.lower(): value for name, value in request.headers.raw}
    signature = headers.get(SIGNATURE)
    if signature is None:
        return await gateway.authenticator.admit(headers, now_ms())
    query: bytes = request.scope["query_string"]
    target = request.scope["raw_path"] + (b"?" + query if query else b"")
    digest = request_digest(request.method, target, body)
    return await gateway.authenticator.by_signature(SignedRequest(request.method, digest, signature), now_ms())


def shows_credentials(request: Request) -> bool:
    return not {name.lower() for name, _ in request.headers.raw}.isdisjoint((SIGNATURE, b"authorization"))


async def the_caller(request: Request, gateway: Here) -> Caller:
    return await caller_of(request, gateway, await request.body())


async def any_caller(request: Request, gateway: Here) -> Caller | None:
    """The caller, or None for a stranger, who shows no credentials."""
    return await the_caller(request, gateway) if shows_credentials(request) else None


async def seen_by(request: Request, gateway: Gateway, caller: Caller | None) -> Catalog:
    """The catalog of the realm that a request names, or its key; without one, the catalog for everybody."""
    headers = {name.lower(): value for name, value in request.headers.raw}
    realm = realm_named(headers, caller.key if caller is not None else None)
    return gateway.catalog_for(caller.consumer if caller is not None else None, realm, now_ms())


async def the_catalog(request: Request, gateway: Here) -> Catalog:
    """The catalog that the caller sees. A key is looked at for the realm that it carries: no rate counts that."""
    headers = {name.lower(): value for name, value in request.headers.raw}
    if SIGNATURE in headers:
        return await seen_by(request, gateway, await the_caller(request, gateway))
    return await seen_by(request, gateway, await gateway.authenticator.known(headers, now_ms()))


Asking = Annotated[Caller, Depends(the_caller)]
Anybody = Annotated[Caller | None, Depends(any_caller)]
Seen = Annotated[Catalog, Depends(the_catalog)]


def party(text: str) -> Address:
    """A party from an address or a DID."""
    try:
        return party_of(text)
    except Rejected as rejected:
        raise Refusal(400, "invalid_address", rejected.message, param="address") from rejected
