"""The components of a local network: the same programs a deployment runs, each from a package, on free ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ledger.core.values.errors import Unavailable
from roles.local.folder import TOOLS, Component, NetworkFolder

LOCALHOST = "127.0.0.1"
CHAIN_ID = 31337


def postgres(folder: NetworkFolder) -> Component:
    """The ledger's database. Its URL is in `database_url(folder)` once it is well."""
    data, url = folder.data("postgres") / "18", folder.path / "data" / "postgres.url"
    return Component(
        "postgres",
        (sys.executable, "-m", "roles.local.postgres", str(data), str(url)),
        f"file:{url}",
        stop_seconds=60,
    )


def database_url(folder: NetworkFolder) -> str:
    """Where the ledger's database is."""
    return (folder.path / "data" / "postgres.url").read_text()


def redis(folder: NetworkFolder) -> Component:
    """What carries wake-ups. It keeps nothing: losing it loses nothing."""
    port = folder.port("redis")
    options = (
        "--port",
        str(port),
        "--bind",
        LOCALHOST,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder.data("redis")),
    )
    return Component("redis", (tool("redis-server"), *options), f"tcp:{port}")


def redis_url(folder: NetworkFolder) -> str:
    """Where Redis listens."""
    return f"redis://{LOCALHOST}:{folder.port('redis')}/0"


def chain(folder: NetworkFolder, genesis: int) -> Component:
    """A chain of one's own: a block a transaction and one a second, its whole state kept on disk.

    `genesis` is the time of its first block, as it was first said.
    """
    known = folder.wanted().get("chain")
    port, state = folder.port("chain"), folder.data("chain") / "state.json"
    where = (tool("anvil"), str(state), str(port), str(CHAIN_ID), str(genesis))
    return known or Component("chain", (sys.executable, "-m", "roles.local.chain", *where), f"tcp:{port}")


def rpc_url(folder: NetworkFolder) -> str:
    """Where the chain answers."""
    return f"http://{LOCALHOST}:{folder.port('chain')}"


def tool(name: str) -> str:
    """A program `make install` linked beside Python, or one on the PATH."""
    for path in (TOOLS / name, Path(shutil.which(name) or "/nowhere")):
        if path.exists():
            return str(path)
    raise Unavailable(f"{name} is not installed: run `make install`, or put it on the PATH")


def migrate(environment: Mapping[str, str]) -> None:
    """Bring the database's tables to this version. Unavailable, with what the migration said, when it fails."""
    command = (sys.executable, "-m", "ledger.migrations")
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Unavailable(f"the database cannot be migrated:\n{ended.stderr[-2000:]}")


def worker(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    """The ledger's hands: posts, closes, commits, indexes."""
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "worker", "--loglevel", "INFO", "-c", "1")
    return Component("worker", command, "log: ready.", ("postgres", "redis", "chain"), environment)


def beat(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    """The ledger's clock: rings for due work."""
    schedule = str(folder.data("beat") / "schedule")
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "beat", "--schedule", schedule, "--pidfile=")
    return Component("beat", command, "log:maxinterval", ("postgres", "redis"), environment)


def gateway(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    """The door."""
    port = folder.port("gateway")
    command = (sys.executable, "-m", "gateway", "--host", LOCALHOST, "--port", str(port))
    return Component("gateway", command, f"http://{LOCALHOST}:{port}/health", ("postgres", "chain"), environment)
