"""x402 v2, scheme `exact`, over HTTP: the price in `PAYMENT-REQUIRED`, the payment in `PAYMENT-SIGNATURE`, and what
became of it in `PAYMENT-RESPONSE`. Version 1 is not spoken; its clients are told so where they look.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations
from gateway.payment.authorizations import Payment, unpaid
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, address, to_hex

HEADER, REQUIRED, RESPONSE = b"payment-signature", b"payment-required", b"payment-response"
OLD_HEADER = b"x-payment"
"""Where version 1 had its payment."""
VERSION_2 = "x402 version 2: @x402/fetch, x402>=2"
"""What a client of version 1 needs instead. Python's old client shows 50 characters of what it could not read."""
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


def requirements(
    gateway: Gateway, url: str, amount: int, body: Mapping[str, Any], why: str, media_type: str
) -> dict[str, Any]:
    """What a stock client pays by: `amount` to the lane's address, for the resource at `url`, which `body` calls and
    which answers in `media_type`.
    """
    domain = authorizations.token_domain(gateway)
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
        "accepts": [
            {
                "scheme": "exact",
                "network": f"eip155:{domain.chain_id}",
                "asset": to_hex(domain.contract),
                "amount": str(amount),
                "payTo": to_hex(gateway.lane),
                "maxTimeoutSeconds": authorizations.lasts(gateway),
                "extra": {"name": domain.name, "version": domain.version, "assetTransferMethod": "eip3009"},
            }
        ],
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


def read(gateway: Gateway, header: bytes, now: int) -> Payment:
    """The payment in a header. Refused unless it is to our lane, valid for a while, and signed by its payer."""
    try:
        sent = orjson.loads(base64.b64decode(header, validate=True))
        accepted, payload = sent["accepted"], sent["payload"]
        authorization = payload["authorization"]
        signed = authorizations.read(authorization)
        signature = bytes.fromhex(payload["signature"].removeprefix("0x"))
        scheme, network, asset = accepted["scheme"], accepted["network"], address(accepted["asset"].lower())
        version = sent["x402Version"]
        named = (sent.get("extensions") or {}).get(IDENTIFIER) or {}
        identifier = (named.get("info") or {}).get("id")
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, Rejected) as error:
        raise Refusal(400, "invalid_payment", f"the payment header is not an x402 v2 payment: {error}") from error
    domain = authorizations.token_domain(gateway)
    if (scheme, network, asset) != ("exact", f"eip155:{domain.chain_id}", domain.contract) or version != 2:
        raise unpaid("the payment is not of the scheme, network and asset asked for")
    authorizations.check(gateway, signed, signature, now)
    if identifier is not None and not (isinstance(identifier, str) and 16 <= len(identifier) <= 128):
        raise Refusal(400, "invalid_payment", "a payment identifier has 16 to 128 characters")
    return Payment(signed, signature, "x402", identifier)


def settled(gateway: Gateway, payment: Payment, transaction: Digest | None) -> tuple[bytes, bytes]:
    """The header that tells a client what became of its payment. The transaction is empty while it is not in a block:
    the call was covered by the payer's deposit, and the worker relays the payment.
    """
    response = {
        "success": True,
        "transaction": to_hex(transaction) if transaction is not None else "",
        "network": f"eip155:{gateway.domain.chain_id}",
        "payer": to_hex(payment.payer),
        "amount": str(payment.amount),
    }
    return RESPONSE, base64.b64encode(orjson.dumps(response))
