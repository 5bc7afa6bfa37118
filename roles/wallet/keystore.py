"""The wallets of a home: one encrypted key a file, named after the wallet."""

import difflib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, address
from ledger.core.values.typed_data import Signer
from ledger.keystore import decrypt, encrypt
from roles.wallet import home

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
TREASURY = "treasury"
LIGHT = 1 << 12
STRONG = 1 << 18
"""scrypt's N: STRONG takes about a second to decrypt, LIGHT no noticeable time."""


def create(name: str, secret: bytes | None = None, *, strength: int = STRONG) -> Address:
    """Make a wallet, from a given key or from a new random one. A name that is taken is Rejected: no key is lost."""
    _check_name(name)
    path = _path(name)
    if path.exists():
        raise Rejected(f"wallet {name!r} already exists: {path}", name=name)
    key = os.urandom(32) if secret is None else secret
    account = Signer(key).address
    said = home.password(f"a password for the new wallet {name}", new=True)
    home.write_private(path, json.dumps(encrypt(key, said, strength)))
    return account


def names() -> list[str]:
    return sorted(path.stem for path in home.keystores().glob("*.json"))


def address_of(name: str) -> Address:
    """The address of a wallet, without its password."""
    return address("0x" + str(_read(name)["address"]).removeprefix("0x").lower())


def party(text: str) -> Address:
    """An address from a wallet's name or from `0x...`."""
    return address(text.lower()) if text.startswith("0x") else address_of(text)


def unlock(name: str) -> Signer:
    """The wallet's key, ready to sign. Rejected when the password is wrong."""
    encrypted = _read(name)
    return _unlocked(json.dumps(encrypted, sort_keys=True), home.password(f"password of wallet {name}"), name)


@lru_cache(maxsize=64)
def _unlocked(encrypted: str, said: str, name: str) -> Signer:
    try:
        return Signer(decrypt(json.loads(encrypted), said))
    except Rejected as error:
        raise Rejected(f"wallet {name!r}: {error.message}", name=name) from error


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Rejected(f"{name!r} is not a wallet name: lower-case letters, digits, dots, dashes", name=name)


def _path(name: str) -> Path:
    return home.keystores() / f"{name}.json"


def _read(name: str) -> dict[str, Any]:
    _check_name(name)
    try:
        encrypted: dict[str, Any] = json.loads(_path(name).read_text())
    except ValueError as error:
        raise Rejected(f"{_path(name)} is not a keystore: {error}", name=name) from error
    except FileNotFoundError as error:
        near = difflib.get_close_matches(name, names(), 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}? If not" if near else ""
        hint += f"; make one: tollway wallet create {name}"
        raise Rejected(f"there is no wallet {name!r} in {home.keystores()}{hint}", name=name) from error
    return encrypted
