"""The API keys that a wallet keeps: one file a key, never overwritten by another one.

`keys/WALLET/ID` has a key's secret, `keys/WALLET/current` is a link to the one that calls are sent with.
"""

import hashlib
import os
from pathlib import Path

from ledger.core.values.errors import Rejected
from roles.wallet import home

CURRENT = "current"


def keep(wallet: str, id: str, secret: str) -> Path:
    """Write a key's secret to its own file, which only its owner can read. The same key again is a rotated one."""
    path = _folder(wallet) / id
    home.write_private(path, secret)
    return path


def use(wallet: str, id: str) -> Path:
    """Send calls with this key from now on. Rejected when its secret is not kept here."""
    folder = _folder(wallet)
    if id == CURRENT or id not in ids(wallet):
        known = ", ".join(ids(wallet)) or "none: make one with `tollway consumer key`"
        raise Rejected(f"no secret of key {id!r} is kept for {wallet}; there are {known}", key=id)
    draft = folder / f".{CURRENT}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(id)
    draft.replace(folder / CURRENT)
    return folder / CURRENT


def current(wallet: str) -> str | None:
    """The id of the key that calls are sent with; None without one."""
    link = _folder(wallet) / CURRENT
    return link.readlink().name if link.is_symlink() and link.exists() else None


def current_file(wallet: str) -> Path:
    """Where a program reads the key that calls are sent with."""
    return _folder(wallet) / CURRENT


def secret(wallet: str, id: str | None = None) -> str | None:
    """A key's secret, by default the current one's; None when it is not kept here."""
    if id is not None and id not in ids(wallet):
        return None
    path = _folder(wallet) / (id or CURRENT)
    return path.read_text().strip() if path.is_file() else None


def ids(wallet: str) -> list[str]:
    """The ids of the keys whose secrets are kept here."""
    folder = _folder(wallet)
    return sorted(path.name for path in folder.glob("key_*")) if folder.is_dir() else []


def drop(wallet: str, id: str) -> None:
    """Send no more calls with a key that is revoked. Its file stays."""
    if current(wallet) == id:
        (_folder(wallet) / CURRENT).unlink()


def _folder(wallet: str) -> Path:
    """A wallet's keys. A file there is the one key that earlier versions kept: it gets a file of its own."""
    folder = home.home() / "keys" / wallet
    if folder.is_file():
        id = "key_" + hashlib.sha256(folder.read_bytes().strip()).hexdigest()[:16]
        old = folder.replace(folder.with_name(f".{wallet}"))
        folder.mkdir(mode=0o700)
        old.replace(folder / id)
        (folder / CURRENT).symlink_to(id)
    return folder
