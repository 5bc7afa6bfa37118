"""An audit while money moves: what is committed between two of its statements breaks no law."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ledger import tasks
from ledger.flows import audits
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms
from tests import builders as b
from tests.room import Room


@pytest.mark.parametrize("thorough", [False, True])
def test_a_lease_that_commits_within_an_audit_sounds_no_alarm(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, thorough: bool
) -> None:
    room = Room(engine)
    room.deposit(b.ALICE, 10**9)
    scope = audits.Scope(b.LANE, b.DOMAIN, room.contract.held)
    monkeypatch.setattr(tasks, "here", lambda: SimpleNamespace(engine=engine, scope=scope))
    audit, moved = threading.get_ident(), 0

    def meanwhile(*executed: Any) -> None:
        nonlocal moved
        if threading.get_ident() == audit and "FROM accounts" in executed[2]:
            moved += 1
            other = threading.Thread(target=room.lease, args=(b.ALICE, 10**6))
            other.start()
            other.join()

    event.listen(engine, "after_cursor_execute", meanwhile)
    try:
        tasks._check(thorough=thorough)
    finally:
        event.remove(engine, "after_cursor_execute", meanwhile)
    assert moved > 1
    with unit_of_work(engine) as session:
        assert alarms.active(session, b.LANE) == []
    assert room.laws() == []
