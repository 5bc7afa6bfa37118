"""How a call is paid for without an account: one 402 says every way, and a payment comes by any of them."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gateway.call.idempotency import Headers
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import mpp, x402
from gateway.payment.authorizations import Payment
from gateway.payment.channels import ChannelPayment
from gateway.payment.permits import PermitPayment
from ledger.core.values.ids import Digest
from ledger.store.access.channels import StoredChannel


class Asked(NamedTuple):
    """The path of a request, as a URL has it; the most that it may cost, in atoms; whether it can be paid by a permit
    (x402's `upto`), and by a channel (its `batch-settlement`); a body by which its route can be called; and the media
    type of what that answers.
    """

    path: str
    price: int
    by_permit: bool
    by_channel: bool
    body: Mapping[str, Any]
    media_type: str


def required(gateway: Gateway, headers: Mapping[bytes, bytes], asked: Asked) -> Refusal:
    """The 402 of a request without credentials. It says every way to pay.

    A new account's first payment must be at least the lane's minimum, so no less is asked for. A permit is no deposit.
    """
    terms = gateway.lane_state.terms
    amount = max(asked.price, terms.min_deposit if terms is not None else 0)
    url = _url(gateway, asked.path, headers)
    why = "pay with x402 or MPP, or send `Authorization: Bearer tw_...` or a Tollway-Voucher"
    if x402.OLD_HEADER in headers:
        why = f"this payment is of x402 version 1, and this gateway speaks {x402.VERSION_2}. Nothing was taken: {why}"
    why += f". {x402.allowing(gateway, amount)}"
    accepts = [x402.exact(gateway, amount)]
    if asked.by_permit:
        accepts.append(x402.upto(gateway, asked.price))
    if asked.by_channel:
        accepts.append(x402.batch(gateway, asked.price))
    price = x402.requirements(url, accepts, asked.body, why, asked.media_type)
    refused = Refusal(402, "payment_required", why, facts={"required": str(amount), **price})
    refused.headers.append(_header(price))
    refused.headers.append(mpp.challenge(gateway, url, amount))
    refused.beside = x402.for_old_clients()
    return refused


def sign_again(gateway: Gateway, headers: Mapping[bytes, bytes], asked: Asked, channel: StoredChannel) -> Refusal:
    """The 402 of a voucher that does not cover its call: what its channel's next one comes on top of."""
    totals = channel.totals
    why = (
        f"this call may cost {asked.price} atoms; its channel was charged {totals.charged} and may be charged "
        f"{totals.held} by calls under way, its highest voucher is of {totals.voucher}, and the chain holds "
        f"{totals.balance}: sign a voucher of {totals.next + asked.price}, and deposit what is missing"
    )
    accepts = [x402.batch(gateway, asked.price, channel)]
    url = _url(gateway, asked.path, headers)
    price = x402.requirements(url, accepts, asked.body, x402.SIGN_AGAIN, asked.media_type)
    refused = Refusal(402, "voucher_too_low", why, facts={"required": str(asked.price), **price})
    refused.headers.append(_header(price))
    return refused


def _header(price: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return x402.REQUIRED, base64.b64encode(orjson.dumps(price))


def _url(gateway: Gateway, path: str, headers: Mapping[bytes, bytes]) -> str:
    return gateway.place(headers.get(b"host", b"").decode("latin-1")).url + path


def has_payment(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request shows a payment of any way."""
    return x402.HEADER in headers or mpp.credential_of(headers) is not None


def read(gateway: Gateway, headers: Mapping[bytes, bytes], now: int) -> Payment | PermitPayment | ChannelPayment | None:
    """The payment that a request shows; None without one. Refused unless it is good."""
    if x402.HEADER in headers:
        return x402.read(gateway, headers[x402.HEADER], now)
    credential = mpp.credential_of(headers)
    return mpp.read(gateway, credential, now) if credential is not None else None


def taken(gateway: Gateway, payment: Payment, transaction: Digest | None) -> Headers:
    """The headers that tell a client, by its own protocol, that its payment was taken, and by which transaction."""
    return [
        x402.settled(gateway, payment, transaction) if payment.protocol == "x402" else mpp.receipt(payment, transaction)
    ]
