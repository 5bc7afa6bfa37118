"""x402 v2, schemes `exact`, `upto` and `batch-settlement`, over HTTP: the price in `PAYMENT-REQUIRED`, the payment in
`PAYMENT-SIGNATURE`, and what became of it in `PAYMENT-RESPONSE`. Version 1 is not spoken; its clients are told so where
they look.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations, channels, permits
from gateway.payment.authorizations import Payment, unpaid
from gateway.payment.channels import ChannelPayment
from gateway.payment.permits import PermitPayment
from ledger.core.accounts.channels import DELAY_SECONDS
from ledger.core.accounts.permits import Permit
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, address, to_hex
from ledger.core.values.typed_data import TokenAuthorization
from ledger.store.access.channels import Shown, StoredChannel

HEADER, REQUIRED, RESPONSE = b"payment-signature", b"payment-required", b"payment-response"
OLD_HEADER = b"x-payment"
"""Where version 1 had its payment."""
VERSION_2 = "x402 version 2: @x402/fetch, x402>=2"
"""What a client of version 1 needs instead. Python's old client shows 50 characters of what it could not read."""
SIGN_AGAIN = "invalid_batch_settlement_evm_cumulative_amount_mismatch"
"""What stock clients read a channel's state after, and sign another voucher."""
IDENTIFIER = "payment-identifier"
SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
EXTENSIONS: dict[str, Any] = {
    IDENTIFIER: {
        "info": {"required": False},
        "schema": SCHEMA
        | {
            "properties": {
                "required": {"type": "boolean"},
                "id": {"type": "string", "minLength": 16, "maxLength": 128, "pattern": "^[a-zA-Z0-9_-]+$"},
            },
            "required": ["required"],
        },
    },
    "bazaar": {
        "info": {
            "input": {"type": "http", "method": "POST", "bodyType": "json", "body": {}},
            "output": {"type": "json"},
        },
        "schema": SCHEMA
        | {
            "properties": {
                "input": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "const": "http"},
                        "method": {"type": "string", "enum": ["POST"]},
                        "bodyType": {"type": "string", "enum": ["json"]},
                        "body": {"type": "object"},
                    },
                    "required": ["type", "bodyType", "body"],
                },
                "output": {"type": "object"},
            },
            "required": ["input"],
        },
    },
}
"""Extensions of a 402's price: payments may have an identifier, and how the resource is called, without its body."""


def _extensions(body: Mapping[str, Any]) -> dict[str, Any]:
    """The extensions of a price, with a body by which the resource can be called."""
    bazaar = EXTENSIONS["bazaar"]
    info = {**bazaar["info"], "input": {**bazaar["info"]["input"], "body": body}}
    return {**EXTENSIONS, "bazaar": {**bazaar, "info": info}}


def exact(gateway: Gateway, amount: int) -> dict[str, Any]:
    """The scheme by which `amount` is paid to the lane's address before the call."""
    transfer = {"assetTransferMethod": "eip3009"}
    return _way(gateway, "exact", amount, gateway.lane, transfer) | {"maxTimeoutSeconds": authorizations.lasts(gateway)}


def upto(gateway: Gateway, amount: int) -> dict[str, Any]:
    """The scheme by which at most `amount` is paid to the operator's wallet after the call."""
    assert gateway.advance is not None, "only then it is offered"
    settled_by = {"facilitatorAddress": to_hex(gateway.advance.facilitator)}
    way = _way(gateway, "upto", amount, gateway.advance.pay_to, settled_by)
    return way | {"maxTimeoutSeconds": permits.lasts(gateway)}


def batch(gateway: Gateway, amount: int, channel: StoredChannel | None = None) -> dict[str, Any]:
    """The scheme by which a voucher of a channel pays for a call of at most `amount`; with what a client has to know of
    its channel to sign another one.
    """
    assert gateway.advance is not None, "only then it is offered"
    terms: dict[str, Any] = {
        "assetTransferMethod": "eip3009",
        "receiverAuthorizer": to_hex(gateway.advance.facilitator),
        "withdrawDelay": DELAY_SECONDS,
        "minDeposit": str(channels.min_deposit(gateway)),
    }
    if channel is not None:
        terms["channelState"] = _state(channel, channel.totals.next)
        if channel.totals.voucher:
            signed = {"signedMaxClaimable": str(channel.totals.voucher), "signature": to_hex(channel.signature)}
            terms["voucherState"] = signed
    way = _way(gateway, channels.SCHEME, amount, gateway.advance.pay_to, terms)
    return way | {"maxTimeoutSeconds": authorizations.lasts(gateway)}


def _state(channel: StoredChannel, charged: int) -> dict[str, Any]:
    """A channel's state as clients read it. `charged` is what their next voucher comes on top of."""
    return {
        "channelId": to_hex(channel.id),
        "balance": str(channel.totals.balance),
        "totalClaimed": str(channel.totals.claimed),
        "withdrawRequestedAt": channel.leaving,
        "refundNonce": "0",
        "chargedCumulativeAmount": str(charged),
    }


def _way(gateway: Gateway, scheme: str, amount: int, payee: Address, extra: Mapping[str, Any]) -> dict[str, Any]:
    domain = authorizations.token_domain(gateway)
    return {
        "scheme": scheme,
        "network": f"eip155:{domain.chain_id}",
        "asset": to_hex(domain.contract),
        "amount": str(amount),
        "payTo": to_hex(payee),
        "extra": {"name": domain.name, "version": domain.version, **extra},
    }


def requirements(
    url: str, accepts: Sequence[Mapping[str, Any]], body: Mapping[str, Any], why: str, media_type: str
) -> dict[str, Any]:
    """What a stock client pays by, for the resource at `url`, which `body` calls and which answers in `media_type`: in
    one of the ways it `accepts`.
    """
    return {
        "x402Version": 2,
        "error": why,
        "resource": {
            "url": url,
            "description": authorizations.DESCRIPTION,
            "mimeType": media_type,
            "serviceName": "Tollway",
            "tags": ["ai", "inference", "openai"],
        },
        "accepts": accepts,
        "extensions": _extensions(body),
    }


def for_old_clients() -> dict[str, Any]:
    """What stands beside the error in the body of a 402. Clients of version 1 read the body, fail at its first way to
    pay, and repeat what they found in it: a word for their owners. Those of version 2 read the header.
    """
    return {"x402Version": 2, "accepts": [{"scheme": VERSION_2}]}


def allowing(gateway: Gateway, amount: int) -> str:
    """What a stock client's owner types once: by itself it pays in the stablecoins that it knows, at most a dollar."""
    domain = authorizations.token_domain(gateway)
    network, asset = f"eip155:{domain.chain_id}", to_hex(domain.contract)
    allowed = {"network": network, "asset": asset, "max_amount_per_payment": str(amount)}
    return (
        "An x402 client whose spend controls reject this asks its owner first: "
        f"client.set_spend_controls({orjson.dumps({'allowed_assets': [allowed]}).decode()}), "
        "in JavaScript setSpendControls with allowedAssets and maxAmountPerPayment"
    )


def read(gateway: Gateway, header: bytes, now: int) -> Payment | PermitPayment | ChannelPayment:
    """The payment in a header. Refused unless it is to our lane, or by a permit or a channel to the operator's wallet
    if it offers that, valid for a while, and signed by its payer.
    """
    try:
        sent = orjson.loads(base64.b64decode(header, validate=True))
        accepted, payload = sent["accepted"], sent["payload"]
        scheme, network, asset = accepted["scheme"], accepted["network"], address(accepted["asset"].lower())
        is_advanced = gateway.advance is not None and scheme in ("upto", channels.SCHEME)
        signed, signature = _signed(gateway, scheme if is_advanced else "exact", payload)
        version = sent["x402Version"]
        named = (sent.get("extensions") or {}).get(IDENTIFIER) or {}
        identifier = (named.get("info") or {}).get("id")
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, Rejected) as error:
        raise Refusal(400, "invalid_payment", f"the payment header is not an x402 v2 payment: {error}") from error
    domain = authorizations.token_domain(gateway)
    offered = (f"eip155:{domain.chain_id}", domain.contract, 2)
    if (network, asset, version) != offered or not (is_advanced or scheme == "exact"):
        raise unpaid("the payment is not of the scheme, network and asset asked for")
    if identifier is not None and not (isinstance(identifier, str) and 16 <= len(identifier) <= 128):
        raise Refusal(400, "invalid_payment", "a payment identifier has 16 to 128 characters")
    if isinstance(signed, Shown):
        channels.check(gateway, signed)
        return ChannelPayment(signed, identifier)
    if isinstance(signed, tuple):
        permits.check(gateway, *signed, signature)
        return PermitPayment(signed[0], signature, identifier)
    authorizations.check(gateway, signed, signature, now)
    return Payment(signed, signature, "x402", identifier)


def _signed(
    gateway: Gateway, scheme: str, payload: Mapping[str, Any]
) -> tuple[tuple[Permit, Address] | Shown | TokenAuthorization, bytes]:
    """What was signed in a payload, and the signature."""
    if scheme == channels.SCHEME:
        shown = channels.read(gateway, payload)
        return shown, shown.signature
    signature = bytes.fromhex(payload["signature"].removeprefix("0x"))
    if scheme == "upto":
        return permits.read(payload["permit2Authorization"]), signature
    return authorizations.read(payload["authorization"]), signature


def settled(gateway: Gateway, payment: Payment, transaction: Digest | None) -> tuple[bytes, bytes]:
    """The header that tells a client what became of its payment. The transaction is empty while it is not in a block:
    the call was covered by the payer's deposit, and the worker relays the payment.
    """
    named = to_hex(transaction) if transaction is not None else ""
    return _response(gateway, payment.payer, transaction=named, amount=str(payment.amount))


def permitted(gateway: Gateway, payment: PermitPayment, charged: int | None) -> tuple[bytes, bytes]:
    """The header that tells a client what its permit will be settled for: what the call was charged. A stream's head
    is sent before that is known; its last events say it. The worker settles later, so no transaction is named.
    """
    amount = {"amount": str(charged)} if charged is not None else {}
    return _response(gateway, payment.payer, scheme="upto", transaction="", **amount)


def vouched(gateway: Gateway, payment: ChannelPayment, channel: StoredChannel | None) -> tuple[bytes, bytes]:
    """The header that tells a client what its channel was charged for a call, and in all. A stream's head is sent
    before that is known, without a `channel`: it says the most, so that the next voucher covers it in any case.
    """
    facts: dict[str, Any] = {"chargedAmount": str(payment.most)}
    if channel is not None:
        facts["channelState"] = _state(channel, channel.totals.base)
    amount = {"amount": str(payment.most)} if channel is not None else {}
    return _response(gateway, payment.payer, scheme=channels.SCHEME, transaction="", extra=facts, **amount)


def _response(gateway: Gateway, payer: Address, **more: Any) -> tuple[bytes, bytes]:
    response = {
        "success": True,
        "network": f"eip155:{gateway.domain.chain_id}",
        "payer": to_hex(payer),
        **more,
    }
    return RESPONSE, base64.b64encode(orjson.dumps(response))
