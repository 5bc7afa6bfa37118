"""A paid request, read and admitted: what is asked, by whom, and what its headers ask of the route and the answer."""

import os
from collections.abc import Mapping

import msgspec

from gateway.asgi import Client
from gateway.call.idempotency import Headers
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.metering.ask import Ask
from gateway.payment.auth import Caller
from gateway.payment.billing import Billing
from gateway.payment.x402 import Payment
from ledger.core.pricing.eligibility import ANY, RoutePreferences
from ledger.core.values.atoms import parse
from ledger.core.values.hashes import Digest
from ledger.core.values.ids import call_id


class Request(msgspec.Struct, frozen=True):
    """A paid request. `keyed`: it names an idempotency key or a payment, and its answer is kept."""

    client: Client
    ask: Ask
    caller: Caller
    call_id: Digest
    keyed: bool
    preferences: RoutePreferences
    started: int
    payment: Payment | None = None
    extra_headers: Headers = []
    """Headers the answer carries beside its own."""

    def billing(self, gateway: Gateway, model: str) -> Billing:
        """The billing of this request as one call of a model or workflow."""
        key = self.caller.key
        return Billing(
            call_id=self.call_id,
            consumer=self.caller.consumer,
            lane=gateway.lane,
            epoch=gateway.catalog.epoch,
            model=model,
            salt=os.urandom(16),
            started=self.started,
            key_id=key.id if key is not None else None,
            budget=self.caller.budget,
        )


def identify(headers: Mapping[bytes, bytes], caller: Caller) -> tuple[Digest, bool]:
    """The call's id, from its Idempotency-Key or from a nonce, and whether it named a key."""
    key = headers.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise Refusal(400, "invalid_request", "an Idempotency-Key has 1 to 255 bytes", param="Idempotency-Key")
    return call_id(caller.consumer, key or os.urandom(16)), key is not None


def preferences_of(headers: Mapping[bytes, bytes]) -> RoutePreferences:
    """What the consumer asks of the route."""
    price, realm = headers.get(b"tollway-max-price"), headers.get(b"tollway-realm")
    tiers, near = headers.get(b"tollway-tiers"), headers.get(b"tollway-near")
    if price is None and realm is None and tiers is None and near is None:
        return ANY
    names = frozenset(part.strip() for part in (tiers or b"").decode("latin-1").split(",") if part.strip())
    limit = parse(price.decode("latin-1"), "Tollway-Max-Price") if price is not None else None
    if near is not None and not near.isdigit():
        raise Refusal(400, "invalid_header", "Tollway-Near is a round trip in ms, such as 30", param="Tollway-Near")
    near_ms = int(near) if near is not None else None
    return RoutePreferences(limit, (realm or b"").decode("latin-1"), names, near_ms=near_ms)
