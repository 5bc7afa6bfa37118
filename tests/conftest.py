"""Real services for every test that needs them: PostgreSQL, Redis and a chain, each started once a session.

Servers live under a temporary folder, listen on free ports or sockets, and are stopped by their own process id.
"""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.session import connect
from roles.local import postgres
from roles.local.folder import free_port as free_port

settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")

TOOLS = Path(sys.prefix) / "bin"  # `make install` links redis-server and anvil beside Python
TEMPLATE = "tollway_template"
JOURNEY = "tests/journey/"
_numbers = itertools.count()


class Sharing(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
    """Each file's tests go to one process, and all of the journey's: they share a network that is long in starting."""

    def _split_scope(self, nodeid: str) -> str:
        return JOURNEY if nodeid.startswith(JOURNEY) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing | None:
    """How `--dist loadfile` shares tests out."""
    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None


def wait_until_open(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Block until `port` accepts, or fail with why the process ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process this session started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database (superuser, local socket), with a migrated template."""
    folder = Path(tempfile.mkdtemp(prefix="tollway-pg-", dir="/tmp"))
    folder.chmod(0o755)
    data = folder / "data"
    server = postgres.start(data, "stop")
    try:
        url = str(server.get_uri())
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        engine = connect(settings_for(_named(url, TEMPLATE)).sqlalchemy_url)
        migrate(engine)
        engine.dispose()
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def settings_for(database_url: str, **values: object) -> Settings:
    """Settings over a database, with whatever else a test cares for."""
    return Settings.model_validate({"database_url": database_url, **values})


def _named(url: str, database: str) -> str:
    """`url` with another database name."""
    head, _, query = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{database}" + (f"?{query}" if query else "")


@contextlib.contextmanager
def a_database(server: str) -> Iterator[str]:
    """A fresh migrated database, dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        # Copied as files: less than half the time of the log's way, and what is not safe in a crash needs no log.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY".encode())
    try:
        yield _named(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh migrated database for one test, as a libpq URL."""
    with a_database(postgres_server) as url:
        yield url


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """An engine over a fresh database."""
    made = connect(settings_for(postgres_url).sqlalchemy_url)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server of this session's own, in memory only."""
    port = free_port()
    command = [str(TOOLS / "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly"]
    process = subprocess.Popen([*command, "no"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(process)


@contextlib.contextmanager
def an_anvil(*options: str) -> Iterator[str]:
    """A chain of one's own that mines each transaction at once, each of at most 2^24 gas; its RPC URL."""
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    rules = [] if "--hardfork" in options else ["--hardfork", "osaka"]
    command = [str(TOOLS / "anvil"), "--silent", *rules, *where, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@pytest.fixture(scope="session")
def anvil() -> Iterator[str]:
    """The session's chain; tests that change its clock or mining should start `an_anvil` of their own."""
    with an_anvil() as url:
        yield url
