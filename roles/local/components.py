"""The components of a local network: the same programs a deployment runs, each from a package, on free ports."""

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
    """The ledger's database. `database_url` can be read once it is well."""
    data, url = folder.data("postgres") / "18", folder.path / "data" / "postgres.url"
    command = (sys.executable, "-m", "roles.local.postgres", str(data), str(url))
    return Component("postgres", command, f"file:{url}", stop_seconds=60)


def database_url(folder: NetworkFolder) -> str:
    return (folder.path / "data" / "postgres.url").read_text()


def redis(folder: NetworkFolder) -> Component:
    """The Celery broker. It stores nothing on disk: losing it loses nothing."""
    port = folder.port("redis")
    options = ("--port", str(port), "--bind", LOCALHOST, "--save", "", "--appendonly", "no")
    command = (tool("redis-server"), *options, "--dir", str(folder.data("redis")))
    return Component("redis", command, f"tcp:{port}")


def redis_url(folder: NetworkFolder) -> str:
    return f"redis://{LOCALHOST}:{folder.port('redis')}/0"


def chain(folder: NetworkFolder, genesis: int) -> Component:
    """A local chain, with a block for each transaction and each second, and its state on disk.

    `genesis` is the time of its first block; a chain that exists keeps its own.
    """
    known = folder.wanted().get("chain")
    port, state = folder.port("chain"), folder.data("chain") / "state.json"
    where = (tool("anvil"), str(state), str(port), str(CHAIN_ID), str(genesis))
    return known or Component("chain", (sys.executable, "-m", "roles.local.chain", *where), f"tcp:{port}")


def rpc_url(folder: NetworkFolder) -> str:
    return f"http://{LOCALHOST}:{folder.port('chain')}"


def tool(name: str) -> str:
    """A program beside Python, where `make install` links it, or on the PATH. Unavailable if there is none."""
    for path in (TOOLS / name, Path(shutil.which(name) or "/nowhere")):
        if path.exists():
            return str(path)
    raise Unavailable(f"{name} is not installed: run `make install`, or put it on the PATH")


def migrate(environment: Mapping[str, str]) -> None:
    """Migrate the database to this version. Unavailable, with the migration's error, when it fails."""
    command = (sys.executable, "-m", "ledger.migrations")
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Unavailable(f"the database cannot be migrated:\n{ended.stderr[-2000:]}")


def worker(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    """The Celery worker: posts, closes, commits, indexes."""
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "worker", "--loglevel", "INFO", "-c", "1")
    return Component("worker", command, "log: ready.", ("postgres", "redis", "chain"), environment)


def beat(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    schedule = str(folder.data("beat") / "schedule")
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "beat", "--schedule", schedule, "--pidfile=")
    return Component("beat", command, "log:maxinterval", ("postgres", "redis"), environment)


def gateway(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    port = folder.port("gateway")
    command = (sys.executable, "-m", "gateway", "--host", LOCALHOST, "--port", str(port))
    return Component("gateway", command, f"http://{LOCALHOST}:{port}/health", ("postgres", "chain"), environment)
