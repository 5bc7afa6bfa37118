"""Where a local network lives: one folder with its data, logs, ports, keys and the list of what should run.

components/NAME.json   what should run (a `Component`); `off/NAME` says: not now
running/NAME           pid and start time of what runs
logs/NAME.log          what it says
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
from pathlib import Path

from roles.wallet import home

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(sys.prefix) / "bin"
PORTS = range(20_000, 32_000)
"""Where to look for ports: below those a kernel gives to outgoing connections. A component's port must still be free
when it starts again, and no call of somebody else's may have borrowed it meanwhile."""


@dataclass(frozen=True, slots=True)
class Component:
    """A process that should run. `health` says when it does: `http://...`, `tcp:PORT`, `file:PATH` or `log:TEXT`."""

    name: str
    command: tuple[str, ...]
    health: str
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    patience_seconds: float = 180
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
        """A data folder, made when asked for the first time."""
        path = self.path / "data" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        """A component's log."""
        return self.path / "logs" / f"{name}.log"

    def port(self, name: str) -> int:
        """The port of `name`: the one it always had, or a free one from now on."""
        path = self.path / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if name not in ports:
            ports[name] = free_port(ports.values())
            home.write_private(path, json.dumps(ports, indent=2))
        return ports[name]

    def secret(self, name: str) -> str:
        """64 random hex digits, made once and kept in a file only its owner reads."""
        path = self.path / "secrets" / name
        if not path.exists():
            home.write_private(path, secrets.token_hex(32))
        return path.read_text()

    def want(self, component: Component) -> None:
        """Have it run from now on. Saying the same again changes nothing; saying something else restarts it."""
        path = self.path / "components" / f"{component.name}.json"
        text = json.dumps(asdict(component), indent=2)
        if not path.exists() or path.read_text() != text:
            home.write_private(path, text)
        (self.path / "off" / component.name).unlink(missing_ok=True)

    def refuse(self, name: str) -> None:
        """Have it stopped until it is wanted again."""
        home.write_private(self.path / "off" / name, "")

    def wanted(self) -> dict[str, Component]:
        """What should run, by name."""
        found = {}
        for path in sorted((self.path / "components").glob("*.json")):
            read = json.loads(path.read_text())
            if not (self.path / "off" / path.stem).exists():
                found[path.stem] = Component(
                    **{**read, "command": tuple(read["command"]), "after": tuple(read["after"])}
                )
        return found

    def running(self) -> dict[str, int]:
        """The pids of what runs, by name."""
        return {path.name: pid for path in sorted((self.path / "running").glob("*")) if (pid := alive(path))}


def free_port(taken: Container[int] = ()) -> int:
    """A port nobody listens on now, outside `taken`: any of them, so that networks which start together do not meet."""
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port


def birth(pid: int) -> str | None:
    """When a process started, as its kernel counts: a pid alone may be somebody else's by now. None when it is gone."""
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
    """Remember a process."""
    home.write_private(path, f"{pid} {birth(pid)}")


def alive(path: Path) -> int | None:
    """The pid a file remembers, if that very process still runs."""
    try:
        pid, born = path.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if birth(int(pid)) == born else None
