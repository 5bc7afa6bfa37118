"""Credentials for providers' servers, encrypted (AES-256-GCM) with the operator's secret.

While the secret is changed, gateways have two: what is stored is encrypted with the first, and read with either.
"""

import os
import re
from collections.abc import Sequence

from Crypto.Cipher import AES
from pydantic import SecretStr
from sqlmodel import Session

from gateway.errors import Refusal
from ledger.core.values import call_heads
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest
from ledger.store.network import offers
from ledger.store.network.offers import Credential

_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_FORBIDDEN = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "idempotency-key", call_heads.HEADER.lower())
)


def lines(headers: dict[str, str]) -> bytes:
    """Header lines from a mapping. Refused for names and values that could break a request."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FORBIDDEN:
            raise Refusal(400, "invalid_request", f"{name!r} cannot be a credential header", param="credentials")
        if not value.isprintable() or not value.isascii() or len(value) > 4096:
            raise Refusal(400, "invalid_request", f"the value of {name} cannot be sent", param="credentials")
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())


def encrypt(secret: SecretStr | None, provider: Address, subject: Digest, plain: bytes) -> Credential:
    """Encrypt header lines. Refused when the operator has set no secret."""
    keys = keys_of(secret)
    if not keys:
        raise Refusal(400, "no_credentials", "this gateway keeps no credentials: GATEWAY_SECRET is not set")
    nonce = os.urandom(12)
    cipher = AES.new(keys[0], AES.MODE_GCM, nonce=nonce)
    cipher.update(provider + subject)
    body, tag = cipher.encrypt_and_digest(plain)
    return Credential(provider, subject, nonce, body + tag)


def decrypted(session: Session, secret: SecretStr | None) -> dict[tuple[Address, Digest], bytes]:
    """All credentials decrypted. Conflict when they were encrypted with none of the operator's secrets."""
    keys = keys_of(secret)
    if not keys:
        return {}
    return {(one.provider, one.subject): _decrypt(one, keys) for one in offers.credentials(session)}


def renew(session: Session, secret: SecretStr | None, now: int) -> None:
    """Encrypt with the first secret what another one still encrypts. `now` is in ms."""
    keys = keys_of(secret)
    for one in offers.credentials(session) if len(keys) > 1 else ():
        if _opened(one, keys[0]) is None:
            renewed = encrypt(secret, one.provider, one.subject, _decrypt(one, keys))
            offers.renew_credential(session, one, renewed, now)


def keys_of(secret: SecretStr | None) -> tuple[bytes, ...]:
    """The operator's secrets as keys; none without one."""
    if secret is None:
        return ()
    try:
        keys = tuple(bytes.fromhex(one.strip().removeprefix("0x")) for one in secret.get_secret_value().split(","))
    except ValueError as error:
        raise Conflict("GATEWAY_SECRET is 64 hex digits, or two of them with a comma") from error
    if {len(key) for key in keys} != {32}:
        raise Conflict("GATEWAY_SECRET is 64 hex digits, or two of them with a comma")
    return keys


def _decrypt(one: Credential, keys: Sequence[bytes]) -> bytes:
    found = (_opened(one, key) for key in keys)
    plain = next((plain for plain in found if plain is not None), None)
    if plain is None:
        raise Conflict("GATEWAY_SECRET is not the secret the stored credentials were encrypted with")
    return plain


def _opened(one: Credential, key: bytes) -> bytes | None:
    """What a credential says; None if it was encrypted with another key."""
    cipher = AES.new(key, AES.MODE_GCM, nonce=one.nonce)
    cipher.update(one.provider + one.subject)
    try:
        return cipher.decrypt_and_verify(one.encrypted[:-16], one.encrypted[-16:])
    except ValueError:
        return None
