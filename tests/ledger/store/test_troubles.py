"""What is late or silent is read from the database, and shown by the operator's command with what helps."""

import json
import time
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger import operate
from ledger.core.settlement.events import Block
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.flows import postings as posting
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import chain_time, lanes
from ledger.store.receipts import call_locks
from ledger.store.receipts.call_locks import GatewayRun
from ledger.store.session import unit_of_work
from tests import builders as b

HOUR_MS = 3_600_000


@pytest.fixture
def said(engine: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; the names of what is wrong, and its exit code."""
    monkeypatch.setenv("LEDGER_DATABASE_URL", postgres_url)
    monkeypatch.setenv("LEDGER_LANE", to_hex(b.LANE))

    def run() -> tuple[int, list[str]]:
        code = operate.main(["alarms"])
        return code, [one["name"] for one in json.loads(capsys.readouterr().out)["alarms"]]

    return run


def test_what_waits_too_long_is_listed_until_it_is_done(engine: Engine, said: Any) -> None:
    assert said() == (0, [])
    now = time.time_ns() // 1_000_000
    with unit_of_work(engine) as session:
        b.fund(session, b.ALICE, 10**6)
        b.write(session, [b.a_receipt(n, ended_at=now - HOUR_MS) for n in (1, 2)])
    assert said() == (1, ["posting_late"])
    with unit_of_work(engine) as session:
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 10, now) == 2
    assert said() == (1, ["closing_late"])
    asked = DepositRequest(Digest(bytes(32)), b.LANE, b.BOB, 5, 0, 9, Digest(bytes(32)), b"")
    with unit_of_work(engine) as session:
        deposits.request(session, asked, now - HOUR_MS)
    assert said() == (1, ["closing_late", "deposit_late"])
    with unit_of_work(engine) as session:
        deposits.set_status(session, asked, "failed", "no tokens")
    assert said() == (1, ["closing_late"])


def test_a_gateway_that_was_killed_is_missed_and_one_that_stopped_is_not(
    engine: Engine, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = GatewayRun(b.LANE, b.GATEWAY.address, b"boot")
    with unit_of_work(engine) as session:
        call_locks.show_alive(session, run)
    assert said() == (0, [])
    monkeypatch.setattr("ledger.core.settlement.troubles.SILENT_MS", -1)
    assert said() == (1, ["gateway_silent"])
    with unit_of_work(engine) as session:
        call_locks.end(session, run)
    assert said() == (0, [])


def test_the_bond_and_a_chain_that_is_away_are_listed(
    engine: Engine, said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from ledger.deployments import save
    from tests.gateway.world import a_deployment

    with unit_of_work(engine) as session:
        lanes.put(session, lanes.Lane(b.LANE, b.OPERATOR, window=1, answer_time=1, bond=1_000))
        b.fund(session, b.ALICE, 800)
        chain_time.advance(session, Block(1, Digest(bytes(32)), 1), 1)
    assert said() == (1, ["bond_near"])
    monkeypatch.setenv("LEDGER_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LEDGER_DEPLOYMENT", str(save(a_deployment(), tmp_path)))
    assert said() == (1, ["chain_away", "bond_near"])
    assert PRIVATE_LANE == b.LANE
