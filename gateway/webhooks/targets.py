"""Where a webhook may lead, its secret, and how a message to it is signed (Standard Webhooks 1).

A receiver is a stranger's server: it is called as nodes are, at an address that the guard permits.
"""

import base64
import hashlib
import hmac
import os
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlmodel import Session

from gateway import encryption
from gateway.errors import Refusal
from gateway.upstream.guard import Guard, is_address
from gateway.upstream.target import Target
from ledger.core.accounts.webhooks import URL_CHARACTERS, Webhook
from ledger.core.values.ids import Address, Lane
from ledger.store.access import webhooks

PREFIX = "whsec_"
SECRET_BYTES = 32
SETTING = "GATEWAY_WEBHOOK_NETWORKS"
"""Where the operator names the private networks that webhooks of all accounts may lead into."""


def parse(url: str, guard: Guard) -> Target:
    """Where a webhook's messages go. Refused unless it is an https URL; http does for an address, written as such, in a
    network that the operator allows.
    """
    try:
        if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"it has more than {URL_CHARACTERS} characters, or other than printable ASCII")
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(f"this is not a URL: {error}") from error
    if not host or parts.scheme not in ("http", "https"):
        raise _refused("a webhook is an https URL, such as https://example.com/tollway")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("a webhook's URL has no credentials and no fragment: its messages are signed instead")
    if parts.scheme == "http" and not (is_address(host) and guard.allows(host)):
        raise _refused(f"a webhook is an https URL; http does only for an address that the operator names in {SETTING}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def new_secret(secret: SecretStr | None, lane: Lane, account: Address, hook: str) -> tuple[str, bytes, bytes]:
    """A webhook's secret as its owner is shown it once, and a nonce and the secret as they are kept."""
    keys = encryption.keys_of(secret)
    if not keys:
        raise Refusal(
            400, "no_secret", "this gateway keeps no secrets of webhooks: its operator sets GATEWAY_SECRET for them"
        )
    made = os.urandom(SECRET_BYTES)
    nonce, encrypted = encryption.encrypt(keys[0], _whose(lane, account, hook), made)
    return PREFIX + base64.b64encode(made).decode(), nonce, encrypted


def secret_of(secret: SecretStr | None, lane: Lane, hook: Webhook) -> bytes:
    """A webhook's secret. Conflict when it was encrypted with none of the operator's secrets."""
    whose = _whose(lane, hook.account, hook.id)
    return encryption.decrypt(encryption.keys_of(secret), whose, hook.nonce, hook.encrypted)


def renew(session: Session, secret: SecretStr | None, lane: Lane) -> None:
    """Encrypt with the first of the operator's secrets what another one still encrypts."""
    keys = encryption.keys_of(secret)
    for hook in webhooks.every(session, lane) if len(keys) > 1 else ():
        renewed = encryption.renewed(keys, _whose(lane, hook.account, hook.id), hook.nonce, hook.encrypted)
        if renewed is not None:
            webhooks.renew(session, lane, hook, *renewed)


def headers(secret: bytes, name: str, at: int, body: bytes) -> bytes:
    """The header lines of a message that is sent at `at` (s)."""
    signature = base64.b64encode(hmac.digest(secret, f"{name}.{at}.".encode() + body, hashlib.sha256)).decode()
    lines = {
        "Content-Type": "application/json",
        "User-Agent": "Tollway-Webhooks/1",
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in lines.items())


def _whose(lane: Lane, account: Address, hook: str) -> bytes:
    return b"webhook" + lane + account + hook.encode()


def _refused(why: str) -> Refusal:
    return Refusal(400, "invalid_url", why, param="url")
