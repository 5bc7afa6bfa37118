"""A person's files: one folder for keys and for what the last `tollway up` said of its network.

`TOLLWAY_HOME`, or `~/.tollway`. Nothing secret is ever an argument: a keystore's password comes from
`TOLLWAY_PASSWORD`, from the file `password` beside the keystores (mode 600; `tollway up` makes one for the wallets it
plays with), or from a prompt.
"""

import json
import os
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path

from ledger.core.values.errors import Rejected


@dataclass(frozen=True, slots=True)
class Network:
    """The network a person talks to when nothing else is said: written by `tollway up`."""

    gateway: str
    rpc: str
    deployment: str


def home() -> Path:
    """The folder, whether it exists or not."""
    return Path(os.environ.get("TOLLWAY_HOME") or Path.home() / ".tollway").expanduser()


def keystores() -> Path:
    return home() / "keystores"


def deployments() -> Path:
    """Where deployments are that were written into no checkout."""
    return home() / "deployments"


def network() -> Network | None:
    """The network of this home's last `tollway up`, if any."""
    try:
        return Network(**json.loads((home() / "network.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def password(prompt: str, *, new: bool = False) -> str:
    """The password of a keystore. Asked twice when it is `new`; Rejected where there is nobody to ask."""
    if said := os.environ.get("TOLLWAY_PASSWORD"):
        return said
    file = keystores() / "password"
    if file.exists():
        return file.read_text().strip()
    try:
        typed = getpass(f"{prompt}: ")
        if new and getpass("the same again: ") != typed:
            raise Rejected("the two passwords differ: nothing was written")
    except (EOFError, KeyboardInterrupt) as error:
        raise Rejected(f"{prompt}: set TOLLWAY_PASSWORD, or run this where somebody can type") from error
    if not typed:
        raise Rejected("the password is empty")
    return typed


def upstream_key() -> str | None:
    return os.environ.get("TOLLWAY_UPSTREAM_KEY") or None


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
