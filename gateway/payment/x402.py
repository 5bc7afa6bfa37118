"""x402 v2, scheme `exact`, for stock clients: an unpaid request gets a 402 with its price, a paid one is served.

A payment is an ERC-3009 authorization to the lane's address. It is checked here, stored for the worker to relay, and
becomes a deposit of its signer. The call is charged like any other, and the unspent rest stays the signer's deposit.
Each authorization pays for one request, so a payment header cannot be reused by somebody who saw it: to be relayed is
to be published.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.asgi import Presence
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, digest, to_hex
from ledger.core.values.typed_data import TRANSFER_TYPEHASH, Domain, TokenAuthorization, signed_by, signing_digest
from ledger.deployments import Deployment
from ledger.flows import leases, publications
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes

HEADER, REQUIRED, RESPONSE = b"payment-signature", b"payment-required", b"payment-response"
FIRST = b"x-payment"
"""The header of version 1."""
LASTS_SECONDS = 300
"""How long a client may let its payment be valid, by the chain's clock: a local chain's may be far ahead of its own."""
MARGIN_SECONDS = 20
"""An authorization must be valid for this much longer, because it has to be relayed first."""
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


@dataclass(frozen=True, slots=True)
class Payment:
    """A checked authorization, and the identifier that the client gave its payment, if any."""

    payer: Address
    amount: int
    valid_after: int
    valid_before: int
    nonce: Digest
    signature: bytes
    identifier: str | None

    @property
    def key(self) -> bytes:
        """The idempotency key of the call it pays for."""
        return b"x402:" + (self.identifier.encode() if self.identifier is not None else self.nonce)


def deployed(gateway: Gateway) -> Deployment:
    """The lane's contracts: x402 is not offered on a private grid."""
    assert gateway.deployment is not None, "there is a chain"
    return gateway.deployment


def token_domain(gateway: Gateway) -> Domain:
    """The EIP-712 domain of the settlement token."""
    return deployed(gateway).token_domain


def _extensions(body: Mapping[str, Any]) -> dict[str, Any]:
    """The extensions of a price, with a body by which the resource can be called."""
    bazaar = EXTENSIONS["bazaar"]
    info = {**bazaar["info"], "input": {**bazaar["info"]["input"], "body": body}}
    return {**EXTENSIONS, "bazaar": {**bazaar, "info": info}}


def required(gateway: Gateway, path: str, host: bytes, amount: int, body: Mapping[str, Any]) -> Refusal:
    """A 402 that a stock client can pay to the lane's address: `amount`, the most the request may cost. It shows a
    `body` by which its route can be called.

    A new account's first payment must be at least the lane's minimum, so no less is asked for.
    """
    terms = gateway.lane_state.terms
    amount = max(amount, terms.min_deposit if terms is not None else 0)
    domain = token_domain(gateway)
    network, asset = f"eip155:{domain.chain_id}", to_hex(domain.contract)
    why = "pay with x402, or send `Authorization: Bearer tw_...` or a Tollway-Voucher"
    why += f". {_allowing(network, asset, amount)}"
    requirements = {
        "x402Version": 2,
        "error": why,
        "resource": {
            "url": gateway.place(host.decode("latin-1")).url + path,
            "description": "One model call. You are charged what it used; the rest stays your deposit.",
            "mimeType": "application/json",
            "serviceName": "Tollway",
            "tags": ["ai", "inference", "openai"],
        },
        "accepts": [
            {
                "scheme": "exact",
                "network": network,
                "asset": asset,
                "amount": str(amount),
                "payTo": to_hex(gateway.lane),
                "maxTimeoutSeconds": LASTS_SECONDS + max(0, gateway.lane_state.clock_ms) // 1_000,
                "extra": {"name": domain.name, "version": domain.version, "assetTransferMethod": "eip3009"},
            }
        ],
        "extensions": _extensions(body),
    }
    refused = Refusal(402, "payment_required", why, facts={"required": str(amount), **requirements})
    refused.headers.append((REQUIRED, base64.b64encode(orjson.dumps(requirements))))
    return refused


def _allowing(network: str, asset: str, amount: int) -> str:
    """What a stock client's owner types once: by itself it pays in the stablecoins that it knows, at most a dollar."""
    allowed = {"network": network, "asset": asset, "max_amount_per_payment": str(amount)}
    return (
        "An x402 client whose spend controls reject this asks its owner first: "
        f"client.set_spend_controls({orjson.dumps({'allowed_assets': [allowed]}).decode()}), "
        "in JavaScript setSpendControls with allowedAssets and maxAmountPerPayment"
    )


def check_version(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a payment of version 1, whose clients would take a price of version 2 for a broken server."""
    if FIRST in headers:
        message = (
            "X-PAYMENT is a payment of x402 version 1, and this gateway takes version 2, as PAYMENT-SIGNATURE:"
            " use `x402` of PyPI, or `@x402/fetch` or `@x402/axios` of npm, of version 2 or later"
        )
        raise Refusal(400, "payment_version", message, param="X-PAYMENT")


def read(gateway: Gateway, header: bytes, now: int) -> Payment:
    """The payment in a header. Refused unless it is to our lane, valid for a while, and signed by its payer."""
    try:
        sent = orjson.loads(base64.b64decode(header, validate=True))
        accepted, payload = sent["accepted"], sent["payload"]
        authorization = payload["authorization"]
        payer, to = address(authorization["from"].lower()), address(authorization["to"].lower())
        amount = parse(authorization["value"], "value")
        valid_after, valid_before = int(authorization["validAfter"]), int(authorization["validBefore"])
        nonce, signature = digest(authorization["nonce"]), bytes.fromhex(payload["signature"].removeprefix("0x"))
        scheme, network, asset = accepted["scheme"], accepted["network"], address(accepted["asset"].lower())
        named = (sent.get("extensions") or {}).get(IDENTIFIER) or {}
        identifier = (named.get("info") or {}).get("id")
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, Rejected) as error:
        raise Refusal(400, "invalid_payment", f"the payment header is not an x402 v2 payment: {error}") from error
    domain = token_domain(gateway)
    if (scheme, network, asset) != ("exact", f"eip155:{domain.chain_id}", domain.contract) or sent["x402Version"] != 2:
        raise _unpaid("the payment is not of the scheme, network and asset asked for")
    if to != gateway.lane:
        raise _unpaid("the payment is not to this lane's address")
    by_chain = (now + gateway.lane_state.clock_ms) // 1_000  # who signs reckons with its own clock, the token with this
    if not valid_after <= by_chain < valid_before - MARGIN_SECONDS or valid_before >= 2**62:
        ahead = by_chain - now // 1_000
        clock = f"{by_chain}, {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the gateway's"
        raise _unpaid(
            f"the payment is valid from {valid_after} until {valid_before}: the chain's clock says {clock}, "
            f"and it must be valid for {MARGIN_SECONDS} s more. Ask for the price again, and pay by what it says"
        )
    signed = TokenAuthorization(payer, to, amount, valid_after, valid_before, nonce)
    if not signed_by(signing_digest(domain, signed.hash(TRANSFER_TYPEHASH)), signature, payer):
        raise _unpaid("the payment is not signed by its payer")
    if identifier is not None and not (isinstance(identifier, str) and 16 <= len(identifier) <= 128):
        raise Refusal(400, "invalid_payment", "a payment identifier has 16 to 128 characters")
    return Payment(payer, amount, valid_after, valid_before, nonce, signature, identifier)


async def take(gateway: Gateway, payment: Payment, request: Digest, need: int, presence: Presence) -> None:
    """Have the payment relayed, and wait until the payer can spend `need` atoms. Its deposit may cover that already.

    It pays for this one `request`, named by its body too: once it is relayed everybody can read it on the chain.

    When the client leaves the payment stays on its way, and becomes its payer's deposit.
    """
    if payment.amount < need:
        raise _unpaid(f"this call may cost {need} atoms; the payment is of {payment.amount}")
    await _check_first_deposit(gateway, payment)
    deposit = DepositRequest(
        id=keccak256(b"x402", address(deployed(gateway).token), payment.payer, payment.nonce),
        lane=gateway.lane,
        account=payment.payer,
        amount=payment.amount,
        valid_after=payment.valid_after,
        valid_before=payment.valid_before,
        salt=payment.nonce,
        signature=payment.signature,
        kind="inbox",
    )
    if not await gateway.db(lambda session: publications.pay(session, deposit, request, now_ms())):
        raise _unpaid("this payment was sent with another request before")
    if await _spendable(gateway, payment.payer) >= need:
        return
    with presence:
        relayed = await gateway.relays.wait(deposit.id, gateway.settings.payment_seconds)
    if relayed is not None and relayed.status == "failed":
        raise _unpaid(f"the payment could not be relayed: {relayed.error}")
    if relayed is None or await _spendable(gateway, payment.payer) < need:
        raise Refusal(
            503,
            "payment_pending",
            "the payment is on its way to the chain: send the same request with the same header again",
            retry_after=2,
        )


async def _spendable(gateway: Gateway, payer: Address) -> int:
    means = await gateway.db(lambda session: leases.means(session, gateway.lane, payer))
    return means.spendable + gateway.leases.free(payer)


async def _check_first_deposit(gateway: Gateway, payment: Payment) -> None:
    """Refuse what the contract would: an account's first deposit below the lane's minimum."""
    terms = gateway.lane_state.terms
    if terms is None or payment.amount >= terms.min_deposit:
        return
    if await gateway.db(lambda session: lanes.get_consumer(session, gateway.lane, payment.payer)) is None:
        raise _unpaid(f"a new account's first payment is at least {terms.min_deposit} atoms, not {payment.amount}")


def settled(gateway: Gateway, payment: Payment) -> tuple[bytes, bytes]:
    """The response header for the client: the payment is accepted; the worker brings it on chain."""
    response = {
        "success": True,
        "transaction": "",
        "network": f"eip155:{gateway.domain.chain_id}",
        "payer": to_hex(payment.payer),
        "amount": str(payment.amount),
    }
    return RESPONSE, base64.b64encode(orjson.dumps(response))


def _unpaid(why: str) -> Refusal:
    return Refusal(402, "payment_invalid", why)
