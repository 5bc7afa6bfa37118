"""The folder of a local network: its data, logs, ports, keys and the components that should run.

components/NAME.json   a `Component` that should run, unless `off/NAME` exists
running/NAME           pid and start time of a running component; `well/NAME`: it is healthy
logs/NAME.log          its output
clone, up              whose network it is: a clone's path; the process of the last `tollway up`
ports.json             a port per name, chosen once among the free ones
data/                  PostgreSQL, Redis, the chain
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from roles.wallet import home

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(sys.prefix) / "bin"
PORTS = range(20_000, 32_000)
"""Candidates, below those a kernel gives to outgoing connections: a port must still be free when its component
restarts."""


class Token(StrEnum):
    """What a local network settles in."""

    aic = "aic"
    usdc = "usdc"


@dataclass(frozen=True, slots=True)
class Component:
    """A process that should run. `health` is its check: `http://...`, `tcp:PORT`, `file:PATH` or `log:TEXT`.

    It starts when the components in `after` are well, has `start_seconds` to become well, `stop_seconds` to end.
    """

    name: str
    command: tuple[str, ...]
    health: str
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 180
    stop_seconds: float = 20


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """A local network's folder."""

    path: Path

    @classmethod
    def of(cls, folder: Path) -> NetworkFolder:
        """The network of a home."""
        return cls(folder / "local")

    def data(self, name: str) -> Path:
        """A data folder, created on first use."""
        path = self.path / "data" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def port(self, name: str) -> int:
        """The port of `name`: a free one on first use, then always the same."""
        path = self.path / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if name not in ports:
            ports[name] = free_port(ports.values())
            home.write_private(path, json.dumps(ports, indent=2))
        return ports[name]

    def secret(self, name: str) -> str:
        """64 random hex digits, created once and stored in a file that only its owner can read."""
        path = self.path / "secrets" / name
        if not path.exists():
            home.write_private(path, secrets.token_hex(32))
        return path.read_text()

    def note(self, name: str) -> str:
        """What was chosen when the network was made, such as its `token` or its `upstream`: "" if nothing was."""
        path = self.path / name
        return path.read_text() if path.exists() else ""

    def want(self, component: Component) -> None:
        """Have a component run. The same again changes nothing; another definition restarts it."""
        path = self.path / "components" / f"{component.name}.json"
        text = json.dumps(asdict(component), indent=2)
        if not path.exists() or path.read_text() != text:
            home.write_private(path, text)
        (self.path / "off" / component.name).unlink(missing_ok=True)

    def refuse(self, name: str) -> None:
        """Have a component stopped until it is wanted again."""
        home.write_private(self.path / "off" / name, "")

    def components(self) -> dict[str, Component]:
        """The components that this network is made of, by name, whether or not they were stopped."""
        known = {}
        for path in sorted((self.path / "components").glob("*.json")):
            read = json.loads(path.read_text())
            lists = {name: tuple(read[name]) for name in ("command", "after")}
            known[path.stem] = Component(**{**read, **lists})
        return known

    def wanted(self) -> dict[str, Component]:
        """The components that should run, by name."""
        return {name: one for name, one in self.components().items() if not (self.path / "off" / name).exists()}

    def running(self) -> dict[str, int]:
        return {path.name: pid for path in sorted((self.path / "running").glob("*")) if (pid := alive(path))}


def free_port(taken: Container[int] = ()) -> int:
    """A free port outside `taken`, at random, so that networks which start together do not collide."""
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port


def birth(pid: int) -> str | None:
    """A process's start time in kernel ticks, since a pid may be reused. None when the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        return "unknown"
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else rest[18]


def record(path: Path, pid: int) -> None:
    home.write_private(path, f"{pid} {birth(pid)}")


def alive(path: Path) -> int | None:
    """The pid in a file, if that same process still runs."""
    try:
        pid, born = path.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if birth(int(pid)) == born else None
