"""Locks of calls: one gateway has each, while it lives by the database's clock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest
from ledger.store.receipts import call_locks
from ledger.store.receipts.call_locks import FORGOTTEN_MS, SILENT_MS, GatewayRun, Refused, Taking
from ledger.store.session import connect_unsynced, unit_of_work
from tests import builders as b
from tests.conftest import settings_for

FIRST = GatewayRun(b.LANE, b.GATEWAY.address, b"first run")
AGAIN = GatewayRun(b.LANE, b.GATEWAY.address, b"second run")
OTHER = GatewayRun(b.LANE, b.OTHER_GATEWAY.address, b"another's run")
ELSEWHERE = GatewayRun(b.OTHER_LANE, b.OTHER_GATEWAY.address, b"another lane's run")
CALL, SECOND_CALL = keccak256(b"a call"), keccak256(b"another call")
BODY, OTHER_BODY = keccak256(b"a body"), keccak256(b"another body")


@pytest.fixture
def unsynced(postgres_url: str) -> Iterator[Engine]:
    """An engine as gateways have it for their locks."""
    made = connect_unsynced(settings_for(postgres_url).sqlalchemy_url)
    yield made
    made.dispose()


def begin(engine: Engine, *runs: GatewayRun) -> None:
    """These runs begin."""
    with unit_of_work(engine) as session:
        for run in runs:
            call_locks.begin(session, run)


def take(engine: Engine, run: GatewayRun, call: Digest = CALL, body: bytes = BODY) -> Taking:
    """One lock."""
    with unit_of_work(engine) as session:
        return call_locks.take(session, run, {call: body})[call]


def silent(engine: Engine, run: GatewayRun, ms: int) -> None:
    """A gateway was seen so long ago."""
    with unit_of_work(engine) as session:
        statement = text("UPDATE gateway_heartbeats SET seen_at = seen_at - :ms WHERE boot = :boot")
        session.execute(statement, {"ms": ms, "boot": run.boot})


def locks(engine: Engine) -> list[tuple[bytes, bytes]]:
    """Each call that is locked, and for which run."""
    with unit_of_work(engine) as session:
        return [(bytes(call), bytes(boot)) for call, boot in session.execute(text("SELECT call, boot FROM call_locks"))]


def test_a_call_is_locked_by_one_gateway_of_its_lane(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER, ELSEWHERE)
    assert take(unsynced, FIRST) is None
    assert take(unsynced, OTHER) is Refused.running
    assert take(unsynced, OTHER, body=OTHER_BODY) is Refused.mismatch
    assert take(unsynced, OTHER, SECOND_CALL) is None
    assert take(unsynced, ELSEWHERE) is None


def test_a_lock_that_is_released_is_free_and_another_gateway_releases_nothing(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    with unit_of_work(unsynced) as session:
        call_locks.release(session, OTHER, [CALL])
    assert take(unsynced, OTHER) is Refused.running
    with unit_of_work(unsynced) as session:
        call_locks.release(session, FIRST, [CALL])
    assert take(unsynced, OTHER, body=OTHER_BODY) is None


def test_a_gateway_loses_its_locks_to_the_one_that_asks_once_it_was_silent_for_ten_seconds(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    silent(unsynced, FIRST, SILENT_MS - 5_000)
    assert take(unsynced, OTHER) is Refused.running
    silent(unsynced, FIRST, 5_000)
    assert take(unsynced, OTHER, SECOND_CALL) is None, "nobody asked for the other one"
    assert take(unsynced, OTHER) is None
    with unit_of_work(unsynced) as session:
        call_locks.show_alive(session, FIRST)
    assert take(unsynced, FIRST) is Refused.running, "it was taken over while it slept"
    assert sorted(locks(unsynced)) == sorted([(CALL, OTHER.boot), (SECOND_CALL, OTHER.boot)])


def test_a_gateway_that_comes_back_in_time_keeps_its_locks(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    silent(unsynced, FIRST, SILENT_MS)
    with unit_of_work(unsynced) as session:
        call_locks.show_alive(session, FIRST)
    assert take(unsynced, OTHER) is Refused.running


def test_a_gateway_that_starts_again_has_no_locks_of_before(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    take(unsynced, OTHER, SECOND_CALL)
    begin(unsynced, AGAIN)
    assert locks(unsynced) == [(SECOND_CALL, OTHER.boot)]
    assert take(unsynced, OTHER) is None


def test_a_lock_of_a_run_that_is_over_is_free_however_late_it_was_written(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER, AGAIN)
    take(unsynced, FIRST)
    assert take(unsynced, OTHER) is None


def test_a_lock_whose_gateway_writes_a_receipt_now_is_not_waited_for(unsynced: Engine, engine: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    silent(unsynced, FIRST, SILENT_MS)
    with unit_of_work(engine) as session:
        call_locks.release(session, FIRST, [CALL])
        assert take(unsynced, OTHER) is Refused.running
    assert take(unsynced, OTHER) is None


def test_a_gateway_that_stops_leaves_nothing(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    take(unsynced, OTHER, SECOND_CALL)
    with unit_of_work(unsynced) as session:
        call_locks.end(session, FIRST)
    assert locks(unsynced) == [(SECOND_CALL, OTHER.boot)]
    assert take(unsynced, OTHER) is None


def test_a_call_that_was_charged_is_answered_with_its_receipt_and_not_locked(unsynced: Engine) -> None:
    begin(unsynced, OTHER)
    receipt = b.a_receipt(1)
    with unit_of_work(unsynced) as session:
        b.write(session, [receipt])
        found = call_locks.take(session, OTHER, {receipt.call_id: BODY, CALL: BODY})
    charged = found.pop(receipt.call_id)
    assert charged is not None
    assert not isinstance(charged, Refused)
    assert charged.receipt.call_id == receipt.call_id
    assert found == {CALL: None}
    assert locks(unsynced) == [(CALL, OTHER.boot)]


def test_what_dead_gateways_left_is_deleted_after_an_hour(unsynced: Engine) -> None:
    begin(unsynced, FIRST, OTHER)
    take(unsynced, FIRST)
    take(unsynced, OTHER, SECOND_CALL)
    silent(unsynced, FIRST, FORGOTTEN_MS - 60_000)
    for left in ([(CALL, FIRST.boot), (SECOND_CALL, OTHER.boot)], [(SECOND_CALL, OTHER.boot)]):
        with unit_of_work(unsynced) as session:
            call_locks.clean(session, b.LANE)
        assert sorted(locks(unsynced)) == sorted(left)
        silent(unsynced, FIRST, 60_000)


@pytest.mark.parametrize("dead", [False, True])
def test_of_many_gateways_that_want_the_same_calls_at_once_one_gets_each(postgres_url: str, dead: bool) -> None:
    """Also those of a dead gateway. They ask in different orders, and none waits for another for ever."""
    engines = [connect_unsynced(settings_for(postgres_url).sqlalchemy_url) for _ in range(4)]
    runs = [GatewayRun(b.LANE, b.an_address(n), b"run %d" % n) for n in range(4)]
    calls = [keccak256(b"call %d" % n) for n in range(50)]
    begin(engines[0], FIRST, *runs)
    if dead:
        with unit_of_work(engines[0]) as session:
            call_locks.take(session, FIRST, dict.fromkeys(calls, BODY))
        silent(engines[0], FIRST, SILENT_MS)
    got: list[dict[Digest, Taking]] = []
    ready = threading.Barrier(4)

    def ask(n: int) -> None:
        ready.wait()
        with unit_of_work(engines[n]) as session:
            got.append(call_locks.take(session, runs[n], dict.fromkeys(calls[:: 1 if n % 2 else -1], BODY)))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert len(got) == 4
    assert Counter(call for one in got for call, taken in one.items() if taken is None) == Counter(calls)
    assert {taken for one in got for taken in one.values()} == {None, Refused.running}
