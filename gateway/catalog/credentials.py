"""Credentials for providers' servers, encrypted (AES-256-GCM) with the operator's secret."""

import os
import re

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
    key = key_of(secret)
    if key is None:
        raise Refusal(400, "no_credentials", "this gateway keeps no credentials: GATEWAY_SECRET is not set")
    nonce = os.urandom(12)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(provider + subject)
    body, tag = cipher.encrypt_and_digest(plain)
    return Credential(provider, subject, nonce, body + tag)


def decrypted(session: Session, secret: SecretStr | None) -> dict[tuple[Address, Digest], bytes]:
    """All credentials decrypted. Conflict when the secret is not the one they were encrypted with."""
    key = key_of(secret)
    if key is None:
        return {}
    credentials = {}
    for one in offers.credentials(session):
        cipher = AES.new(key, AES.MODE_GCM, nonce=one.nonce)
        cipher.update(one.provider + one.subject)
        try:
            credentials[one.provider, one.subject] = cipher.decrypt_and_verify(one.encrypted[:-16], one.encrypted[-16:])
        except ValueError as error:
            raise Conflict("GATEWAY_SECRET is not the secret the stored credentials were encrypted with") from error
    return credentials


def key_of(secret: SecretStr | None) -> bytes | None:
    """The operator's secret as a key; None without one."""
    if secret is None:
        return None
    key = bytes.fromhex(secret.get_secret_value().removeprefix("0x"))
    if len(key) != 32:
        raise Conflict("GATEWAY_SECRET is 64 hex digits")
    return key
