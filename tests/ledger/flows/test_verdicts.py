"""A verdict the chain takes back: the batch stands again, or what was built in its place; nobody is paid twice."""

import pytest
from sqlalchemy import Engine

from ledger.core.accounts.accounts import accrued, available, claimable, withdrawing
from ledger.core.catalog.bids import Role
from ledger.core.settlement import events
from ledger.core.settlement.batches import ActiveBatch, active_batches
from ledger.core.settlement.header import NO_HEADER
from ledger.core.values.errors import Conflict, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.flows import batches as settling
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches, tree_nodes
from tests import builders as b
from tests.room import LANE, Room

VERDICT = keccak256(b"the accuser's transaction")


@pytest.fixture
def room(engine: Engine) -> Room:
    """Three batches on chain: the first is good, the second and third are about to fall."""
    room = Room(engine)
    for calls in (10, 5, 3):
        room.post(calls)
    return room


def fall(room: Room, first: int = 2) -> None:
    """Somebody proves a batch wrong: it and all after it are void."""
    room.see(events.Fell(b.LANE, first, 2, b.BOB), transaction=VERDICT)


def money(room: Room) -> tuple[int, int]:
    """What a payee can claim, and what it has earned that no batch on chain pays."""
    return room.balance(claimable(b.MAKER)), room.balance(accrued(b.MAKER, Role.maker))


def test_what_a_lost_verdict_had_voided_stands_again(room: Room) -> None:
    before, stood = money(room), room.batches()
    with unit_of_work(room.engine) as session:
        leaves = tree_nodes.leaves(session, b.LANE, tree_nodes.PAYOUT, 3)
    fall(room)
    assert room.batches() == [(1, "final", 1), (2, "void", 2), (3, "void", 3)]
    assert sum(money(room)) == sum(before)
    room.fork(2)
    assert (room.batches(), money(room)) == (stood, before)
    with unit_of_work(room.engine) as session:
        assert tree_nodes.leaves(session, b.LANE, tree_nodes.PAYOUT, 3) == leaves
    assert room.laws() == []
    room.serve(4)
    after = room.closed()
    assert after.header.calls == 4, "what the restored batches hold is not batched again"
    room.sweep()
    assert room.batches()[-1] == (4, "posted", 4)
    assert room.laws() == []


def test_a_verdict_that_comes_back_voids_again(room: Room) -> None:
    before = money(room)
    for _ in range(2):
        fall(room)
        assert [status for _, status, _ in room.batches()] == ["final", "void", "void"]
        assert (sum(money(room)), room.laws()) == (sum(before), [])
        room.fork(2)
        assert (money(room), room.laws()) == (before, [])
    fall(room)
    again = room.closed()
    assert (again.header.calls, again.header.prev) == (8, room.header(1).id)
    room.sweep()
    assert room.batches()[-1] == (4, "posted", 2)
    assert (money(room), room.laws()) == (before, [])


def test_what_was_built_in_its_place_gives_way(room: Room) -> None:
    before = money(room)
    fall(room)
    room.serve(2)
    assert room.close() is not None
    room.sweep()
    assert room.batches()[-1] == (4, "posted", 2)
    room.chain.forget()
    room.fork(6)
    assert room.batches() == [(1, "final", 1), (2, "posted", 2), (3, "posted", 3), (4, "void", None)]
    assert room.laws() == []
    last = room.closed()
    assert last.header.calls == 2
    room.sweep(8)
    assert room.batches()[-1] == (5, "posted", 4)
    assert sum(money(room)) > sum(before)
    assert room.laws() == []


def test_what_was_built_in_its_place_holds_if_the_chain_takes_it_first(room: Room) -> None:
    """The verdict is lost, the old batches stand, the verdict returns, and then the replacement's commit is mined."""
    fall(room)
    room.serve(2)
    replacement = room.closed()
    room.sweep()
    paid = money(room)
    room.chain.fork(6, keep_pool=False)
    room.see()
    assert room.batches()[-1] == (4, "void", None)
    room.chain.mine(events.Fell(b.LANE, 2, 2, b.BOB), transaction=VERDICT)
    room.see(events.Committed(b.LANE, 2, replacement.header, 10**6))
    assert room.batches() == [(1, "final", 1), (2, "void", 2), (3, "void", 3), (4, "posted", 2)]
    assert (money(room), room.laws()) == (paid, [])
    assert room.close() is None, "it holds every receipt"


def test_a_verdict_against_the_first_batch_is_taken_back(engine: Engine) -> None:
    room = Room(engine)
    room.post(10)
    before = money(room)
    fall(room, 1)
    rebuilt = room.closed()
    assert (rebuilt.header.prev, rebuilt.header.calls) == (NO_HEADER, 10)
    room.fork(2)
    assert room.batches() == [(1, "posted", 1), (2, "void", None)]
    assert (money(room), room.laws()) == (before, [])


def test_nothing_falls_while_a_batch_is_being_built(room: Room) -> None:
    room.chain.mine(events.Fell(b.LANE, 2, 2, b.BOB), transaction=VERDICT)
    room.chain.mine()
    with unit_of_work(room.engine) as session:
        assert batches.take(session, b.LANE)
        with pytest.raises(Unavailable, match="is being built"):
            room.index()
    room.index()
    assert room.batches()[1:] == [(2, "void", 2), (3, "void", 3)]


def test_an_exit_that_was_never_asked_for_is_forgotten(room: Room) -> None:
    room.deposit(b.ALICE, 700)
    room.see(events.WithdrawRequested(b.LANE, b.ALICE, True))
    assert (room.balance(available(b.ALICE)), room.balance(withdrawing(b.ALICE))) == (0, 700)
    room.fork(2)
    assert (room.balance(available(b.ALICE)), room.balance(withdrawing(b.ALICE))) == (700, 0)
    assert room.laws() == []


def test_an_exit_that_was_paid_is_taken_back_and_paid_again(room: Room) -> None:
    room.deposit(b.ALICE, 700)
    for _ in range(3):
        room.chain.mine(events.WithdrawRequested(b.LANE, b.ALICE, True))
        room.see(events.Withdrawn(b.LANE, b.ALICE, 700, False), transaction=VERDICT)
        assert (room.balance(available(b.ALICE)), room.balance(withdrawing(b.ALICE))) == (0, 0)
        assert room.laws() == []
        room.fork(3)
        assert (room.balance(available(b.ALICE)), room.balance(withdrawing(b.ALICE))) == (700, 0)
        assert room.laws() == []


def test_a_deposit_that_is_gone_and_spent_waits_for_its_return_or_a_person(room: Room) -> None:
    room.see(events.Deposited(b.LANE, b.ALICE, 1, 500), transaction=VERDICT)
    room.lease(b.ALICE, 400)
    with pytest.raises(Conflict, match="took back a deposit of which something was spent"):
        room.fork(2)
    room.see(events.Deposited(b.LANE, b.ALICE, 1, 500), transaction=VERDICT)
    assert (room.balance(available(b.ALICE)), room.laws()) == (100, [])


def test_the_logs_of_a_lane_say_which_batches_stand(room: Room) -> None:
    room.chain.mine(
        events.Finalized(b.LANE, 1), events.Fell(b.LANE, 2, 2, b.BOB), events.Fell(b.OTHER_LANE, 1, 2, b.BOB)
    )
    logs = room.chain.logs(0, 10**6)
    (one,) = active_batches(logs, b.LANE)
    assert one == ActiveBatch(1, one.header, one.posted_at, one.until, room.chain.blocks[-1].block.timestamp)
    assert one.header.id == room.header(1).id
    assert active_batches(logs, b.OTHER_LANE) == []


def test_a_retried_commit_of_the_replaced_batch_reverts(room: Room) -> None:
    """The replacement's signed commit is sent after the batch it replaced stands again: it fails."""
    fall(room)
    assert room.close() is not None
    room.commit()
    room.transmit()
    room.fork(2)
    room.sweep(6)
    assert room.batches() == [(1, "final", 1), (2, "posted", 2), (3, "posted", 3), (4, "void", None)]
    with unit_of_work(room.engine) as session:
        assert settling.commit(session, LANE, room.calls, room.now) is None
    assert room.laws() == []
