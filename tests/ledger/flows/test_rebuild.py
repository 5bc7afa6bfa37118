"""A ledger made again from the chain and the batch files alone: to the atom, account by account."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger import operate
from ledger.core.accounts.postings import balance
from ledger.core.settlement.batch_file import file_name
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Address, to_hex
from ledger.deployments import path as deployment_path
from ledger.flows import audits
from ledger.store.access import vouchers
from ledger.store.chain import chain_time
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import connect, unit_of_work
from ledger.store.settlement import batch_files, batches
from tests.conftest import a_database, settings_for
from tests.ledger.chain.conftest import DEPOSIT, FUNDS, WINDOW, Stage, stage
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


@pytest.fixture
def files(operator: Operator, tmp_path: Path) -> Path:
    """The mirrored files of the lane's batches."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with unit_of_work(operator.engine) as session:
        for one in batches.with_status(session, operator.stage.lane, Status.posted, Status.final):
            sink = io.BytesIO()
            batch_files.write_again(session, sink, operator.stage.domain, one)
            (folder / file_name(one.number, one.header.id)).write_bytes(sink.getvalue())
    return folder


@pytest.fixture
def empty(
    operator: Operator, postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An empty database, named by the environment as a worker's is."""
    with a_database(postgres_server) as url:
        deployed = deployment_path(operator.chain.deployment.chain_id, tmp_path)
        values = {"DATABASE_URL": url, "RPC_URL": operator.chain.url, "DEPLOYMENT": str(deployed)}
        values |= {"LANE": to_hex(operator.stage.lane), "CONFIRMATIONS": "0"}
        for name, value in values.items():
            monkeypatch.setenv(f"LEDGER_{name}", value)
        engine = connect(settings_for(url).sqlalchemy_url)
        yield engine
        engine.dispose()


def balances(engine: Engine, lane: Address) -> BALANCES:
    """Every account that holds something."""
    with unit_of_work(engine) as session:
        held = {name: balance(name, sums) for name, sums in postings.entries(session, lane).items()}
    return {name: amount for name, amount in held.items() if amount}


def rows(engine: Engine, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """The rows of a table, in an order of their own."""
    with unit_of_work(engine) as session:
        return sorted(map(tuple, session.execute(text(f"SELECT {columns} FROM {table}"))), key=repr)


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
    operator: Operator, files: Path, empty: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    lane, lost = operator.stage.lane, operator.engine
    release_all(operator)
    assert operate.main(["rebuild", "--files", str(files)]) == 0
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


def test_a_missing_or_forged_file_or_a_ledger_that_is_there_stops_it_and_nothing_is_changed(
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
    with pytest.raises(SystemExit):
        operate.main(["rebuild", "--files", str(files)])
    assert "this database holds a ledger" in capsys.readouterr().err
