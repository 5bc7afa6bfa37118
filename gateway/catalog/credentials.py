"""Credentials for providers' servers, encrypted with the operator's secret."""

import re

from pydantic import SecretStr
from sqlmodel import Session

from gateway import encryption
from gateway.encryption import keys_of
from gateway.errors import Refusal
from ledger.core.values import call_heads
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
    return Credential(provider, subject, *encryption.encrypt(keys[0], provider + subject, plain))


def decrypted(session: Session, secret: SecretStr | None) -> dict[tuple[Address, Digest], bytes]:
    """All credentials decrypted. Conflict when they were encrypted with none of the operator's secrets."""
    keys = keys_of(secret)
    if not keys:
        return {}
    return {
        (one.provider, one.subject): encryption.decrypt(keys, one.provider + one.subject, one.nonce, one.encrypted)
        for one in offers.credentials(session)
    }


def renew(session: Session, secret: SecretStr | None, now: int) -> None:
    """Encrypt with the first secret what another one still encrypts. `now` is in ms."""
    keys = keys_of(secret)
    for one in offers.credentials(session) if len(keys) > 1 else ():
        renewed = encryption.renewed(keys, one.provider + one.subject, one.nonce, one.encrypted)
        if renewed is not None:
            offers.renew_credential(session, one, Credential(one.provider, one.subject, *renewed), now)
