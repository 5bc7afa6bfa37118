"""MPP (HTTP's `Payment` authentication scheme), method `evm`, intent `charge`: for the stock client `mppx`.

Its credential is the same ERC-3009 authorization that x402's `exact` has, with a nonce that names the challenge. The
challenge is not kept: a call is priced again when it is paid, and the authorization pays for one request.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations
from gateway.payment.authorizations import Payment, unpaid
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest, address, to_hex

CHALLENGE, HEADER, RECEIPT = b"www-authenticate", b"authorization", b"payment-receipt"
SCHEME = b"payment "
METHOD, INTENT = "evm", "charge"


def credential_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The credential that a request shows; None without one."""
    said = headers.get(HEADER, b"")
    return said[len(SCHEME) :].strip() if said[: len(SCHEME)].lower() == SCHEME else None


def challenge(gateway: Gateway, url: str, amount: int) -> tuple[bytes, bytes]:
    """The header by which a stock client pays `amount` to the lane's address."""
    domain = authorizations.token_domain(gateway)
    request = {
        "amount": str(amount),
        "currency": to_hex(domain.contract),
        "methodDetails": {
            "chainId": domain.chain_id,
            "credentialTypes": ["authorization"],
            "decimals": authorizations.deployed(gateway).token_decimals,
        },
        "recipient": to_hex(gateway.lane),
    }
    fields = {
        "id": _url64(os.urandom(16)),
        "realm": url.partition("://")[2].partition("/")[0],
        "method": METHOD,
        "intent": INTENT,
        "request": _url64(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)),
        "description": authorizations.DESCRIPTION,
        "expires": _date(now_ms() // 1_000 + authorizations.lasts(gateway)),
    }
    said = ", ".join(f'{name}="{_escaped(value)}"' for name, value in fields.items())
    return CHALLENGE, f"Payment {said}".encode("ascii", "backslashreplace")  # a host's name is anybody's text


def read(gateway: Gateway, credential: bytes, now: int) -> Payment:
    """The payment in a credential. Refused unless it is to our lane, for the challenge that it names, valid for a
    while, and signed by its payer.
    """
    try:
        sent = orjson.loads(_from_url64(credential))
        answered, payload = sent["challenge"], sent["payload"]
        named = (answered["id"] + answered["realm"]).encode()
        way = (answered["method"], answered["intent"], payload["type"])
        asked = orjson.loads(_from_url64(answered["request"].encode()))
        token = (asked["methodDetails"]["chainId"], address(asked["currency"].lower()))
        signed = authorizations.read({**payload, "nonce": payload["nonce"].lower()})
        signature = bytes.fromhex(payload["signature"].removeprefix("0x"))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, Rejected) as error:
        raise Refusal(400, "invalid_payment", f"the credential is not one of MPP's evm charges: {error}") from error
    domain = authorizations.token_domain(gateway)
    if way != (METHOD, INTENT, "authorization") or token != (domain.chain_id, domain.contract):
        raise unpaid("the payment is not of the method, intent, chain and token asked for")
    if signed.nonce != keccak256(named):
        raise unpaid("the payment's nonce does not name the challenge that it answers")
    authorizations.check(gateway, signed, signature, now)
    return Payment(signed, signature, "mpp")


def receipt(payment: Payment, transaction: Digest | None) -> tuple[bytes, bytes]:
    """The header that tells a client that its payment was taken: by the transaction that relayed it, or while that is
    not in a block by the authorization's nonce.
    """
    said = {
        "method": METHOD,
        "reference": to_hex(transaction if transaction is not None else payment.signed.nonce),
        "status": "success",
        "timestamp": _date(now_ms() // 1_000),
    }
    return RECEIPT, _url64(orjson.dumps(said)).encode()


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _url64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _from_url64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
