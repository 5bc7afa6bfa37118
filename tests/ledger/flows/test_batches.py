"""Settling: what a batch holds, what it comes to, and its way to the chain and back."""

import io
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from ledger.core.accounts.accounts import CUSTODY, accrued, available, claimable, withdrawing
from ledger.core.catalog.bids import Role
from ledger.core.disputes import audit
from ledger.core.receipts.receipt import struct_hash, unpack
from ledger.core.settlement import batch_file as batch_files
from ledger.core.settlement import events, header
from ledger.core.settlement.header import NO_HEADER
from ledger.core.settlement.transactions import Step
from ledger.core.values.errors import Conflict, Unavailable
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane
from ledger.core.values.sum_tree import Tree, amount, leaf, range_root, receipt_leaf, verify
from ledger.core.values.typed_data import Mandate, Voucher
from ledger.flows import batches as settling
from ledger.flows import postings
from ledger.store.access import vouchers
from ledger.store.chain import chain_time, parties
from ledger.store.receipts import receipts, watermarks
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches, proofs, tree_nodes
from ledger.store.settlement import batch_files as files
from ledger.store.settlement.alarms import Alarm
from tests import builders as b
from tests.room import LANE, PAYEES, Room


@pytest.fixture
def room(engine: Engine) -> Room:
    return Room(engine)


def test_a_batch_file_proves_the_batch_and_nothing_more_is_needed(room: Room) -> None:
    previous = None
    for calls in (130, 70):
        room.serve(calls)
        batch = room.closed()
        with unit_of_work(room.engine) as session:
            files.write_again(session, sink := io.BytesIO(), b.DOMAIN, batch)
        file = batch_files.read(sink.getvalue())
        assert file.header == batch.header
        verdict = audit.verify(file, previous, batch.header)
        assert verdict.ok, str(verdict)
        assert verdict.receipts == calls
        previous = file
    assert room.close() is None


def test_a_clock_that_jumped_makes_no_receipt_wait(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        b.fund(session, b.ALICE, 10**9)
        b.write(session, [b.a_receipt(1, ended_at=chain_time.now(session, 10**12))])
        postings.post_chunk(session, b.LANE, b.GATEWAY.address, 10, now=1)
        due = [settling.is_due(session, LANE, 10**12 + late) for late in (-LANE.batch_ms, -1, 0, LANE.batch_ms)]
    assert due == [True, False, False, True]


def test_proofs_come_from_stored_nodes(room: Room) -> None:
    for calls in (30, 20):
        room.serve(calls)
        batch = room.closed()
        with unit_of_work(room.engine) as session:
            for place, payee in enumerate(PAYEES):
                proof = proofs.payout(session, batch, payee)
                assert proof is not None
                assert proof.index == place + 3
                assert proof.word == leaf(1, b.LANE, proof.index, payee, proof.cumulative)
                assert verify(batch.header.payout_root, proof.word, proof.index, proof.siblings)
            debit = proofs.debit(session, batch, b.BOB)
            assert debit is not None
            assert verify(batch.header.debit_root, debit.word, 4, debit.siblings)
            assert proofs.payout(session, batch, b.ALICE) is None
            assert (
                sum(n for _, n in tree_nodes.leaves(session, b.LANE, tree_nodes.DEBIT, batch.number))
                == batch.cumulative
            )


def test_a_receipt_is_proven_from_its_blocks_and_the_nodes_above_them(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, leaves_of = list[int](), receipts.leaves

    def counted(*arguments: Any) -> list[tuple[Digest, int]]:
        read.append(arguments[-1] - arguments[-2] + 1)
        return leaves_of(*arguments)

    monkeypatch.setattr(header, "BLOCK", 6)
    monkeypatch.setattr(receipts, "leaves", counted)
    closed = []
    for calls in (300, 200):  # which have nodes at the same positions
        room.serve(calls)
        closed.append(room.closed())
    for batch in closed:
        with unit_of_work(room.engine) as session:
            for row in batches.ranges(session, b.LANE, batch.number):
                for at in [*range(0, row.count, 7), row.count - 1] if row.count else ():
                    one = receipts.by_seq(session, b.LANE, row.gateway, row.first + at)
                    assert one is not None
                    read.clear()
                    proof = proofs.receipt(session, batch, one.receipt._replace(subcalls=min(at, 63, 3 * at % 64)))
                    assert proof is not None
                    assert sum(read) <= 128
                    held = [unpack(signed[:-65]) for signed in proof.signed]
                    assert held[-1] == one.receipt
                    words = [receipt_leaf(b.LANE, struct_hash(each), each.charge) for each in held]
                    height = batch.header.heights.receipts
                    assert range_root(words, proof.first, height, proof.siblings) == batch.header.receipts_root


def test_a_receipt_of_a_batch_whose_nodes_were_not_kept_has_no_proof_here(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.serve(130)
    batch = room.closed()  # closed with larger blocks: nothing is kept of so few receipts
    monkeypatch.setattr(header, "BLOCK", 6)
    with unit_of_work(room.engine) as session:
        (row, *_) = (row for row in batches.ranges(session, b.LANE, batch.number) if row.count)
        one = receipts.by_seq(session, b.LANE, row.gateway, row.first)
        assert one is not None
        assert proofs.receipt(session, batch, one.receipt) is None


def test_the_largest_payments_are_read_and_the_others_counted(room: Room) -> None:
    room.serve(30)
    batch = room.closed()
    with unit_of_work(room.engine) as session:
        everything = batches.earned(session, b.LANE, batch.number)
        largest, count = batches.largest_shares(session, b.LANE, batch.number, 2)
    ordered = sorted(everything.items(), key=lambda row: (-row[1], row[0]))
    assert (list(largest.items()), count) == (ordered[:2], len(everything))


def test_the_tree_in_the_store_is_the_tree_built_whole(room: Room) -> None:
    room.serve(10)
    batch = room.closed()
    with unit_of_work(room.engine) as session:
        words = dict(tree_nodes.leaves(session, b.LANE, tree_nodes.PAYOUT, batch.number))
        names = parties.by_index(session)
    whole = Tree.build(
        [leaf(1, b.LANE, i, names[i], words[i]) if i in words else bytes(32) for i in range(max(words) + 1)]
    )
    assert whole.root == batch.header.payout_root
    assert amount(whole.root) == batch.total


def test_a_built_batch_cannot_become_final_and_stays_as_it_is(room: Room) -> None:
    room.serve(10)
    batch = room.closed()
    with unit_of_work(room.engine) as session, pytest.raises(Conflict, match="cannot become final"):
        batches.set_final(session, batch, 1)
    assert room.batches() == [(1, "built", None)]


def test_a_batch_is_committed_posted_and_final(room: Room) -> None:
    room.serve(40)
    room.close()
    assert room.batches() == [(1, "built", None)]
    room.commit()
    assert room.batches() == [(1, "signed", None)]
    room.sweep()
    assert room.batches() == [(1, "posted", 1)]
    assert room.balance(accrued(b.MAKER, Role.maker)) == 0
    earned = room.balance(claimable(b.MAKER))
    assert earned > 0
    with unit_of_work(room.engine) as session:
        assert settling.finalize(session, LANE, room.calls, room.now) is None
    room.see(seconds=61)
    with unit_of_work(room.engine) as session:
        assert settling.finalize(session, LANE, room.calls, room.now) is not None
        assert settling.finalize(session, LANE, room.calls, room.now) is None
    room.sweep()
    assert room.batches() == [(1, "final", 1)]
    room.chain.mine(events.Claimed(b.LANE, 3, b.MAKER, earned))
    room.sweep()
    assert room.balance(claimable(b.MAKER)) == 0
    assert room.balance(CUSTODY) == 2 * 10**9 - earned


def test_a_commit_carries_the_finalizing_of_a_ripe_batch(room: Room) -> None:
    room.post(10)
    room.see(seconds=61)
    room.post(10)
    assert room.batches() == [(1, "final", 1), (2, "posted", 2)]


def test_late_receipts_go_to_the_next_batch(room: Room) -> None:
    room.serve(10)
    first = room.close()
    room.serve(5)
    room.sweep()
    second = room.close()
    assert first is not None
    assert second is not None
    assert (second.header.calls, second.header.prev) == (5, first.header.id)
    room.sweep()
    assert room.batches() == [(1, "posted", 1), (2, "posted", 2)]


def test_a_stuck_commit_is_replaced_by_fee_with_the_same_nonce(room: Room) -> None:
    room.serve(10)
    room.close()
    room.commit()
    room.transmit()
    room.chain.base_fee = 200
    for _ in range(12):
        room.now += 600
        room.transmit()
        room.chain.mine()
        room.index()
    assert room.batches() == [(1, "posted", 1)]
    assert len(room.contract.headers()) == 1


def test_a_dropped_commit_is_sent_again(room: Room) -> None:
    room.serve(10)
    room.close()
    room.commit()
    assert room.transmit() == [Step.broadcast]
    room.chain.forget()
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]


@pytest.mark.parametrize("misfortune", ["refused", "dropped", "stuck"])
def test_a_clock_that_fell_keeps_no_commit_waiting(room: Room, misfortune: str) -> None:
    ahead = 3_600_000
    room.serve(10)
    room.close()
    room.now += ahead
    room.contract.refuses = misfortune == "refused"
    room.commit()
    room.transmit()
    if misfortune == "refused":
        room.chain.mine()
    room.contract.refuses = False
    if misfortune == "dropped":
        room.chain.forget()
    if misfortune == "stuck":
        room.chain.base_fee = 200
    room.now -= ahead
    room.sweep(12)
    assert room.batches() == [(1, "posted", 1)]


def test_a_reorganisation_under_a_posted_batch_posts_it_again(room: Room) -> None:
    room.post(10)
    assert room.batches() == [(1, "posted", 1)]
    charged = room.balance(claimable(b.MAKER))
    room.fork(4)
    assert room.batches() == [(1, "signed", None)]
    assert room.balance(claimable(b.MAKER)) == 0
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]
    assert room.balance(claimable(b.MAKER)) == charged


def test_a_void_batch_is_reversed_and_its_receipts_go_into_the_next(room: Room) -> None:
    room.post(10)
    room.post(5)
    charged = room.balance(claimable(b.MAKER))
    room.see(events.Fell(b.LANE, 1, 2, b.BOB))
    assert room.batches() == [(1, "void", 1), (2, "void", 2)]
    assert (room.balance(claimable(b.MAKER)), room.balance(accrued(b.MAKER, Role.maker))) == (0, charged)
    again = room.closed()
    assert (again.number, again.header.calls, again.header.prev) == (3, 15, NO_HEADER)
    assert (again.header.era, room.header(2).era) == (2, 1), "what was closed before the fall is of another era"
    room.sweep()
    assert room.batches()[-1] == (3, "posted", 1)
    assert room.balance(claimable(b.MAKER)) == charged


def test_a_fall_and_an_escape_void_what_was_built_and_not_yet_posted(room: Room) -> None:
    room.serve(10)
    room.close()
    again = None
    for ends in (events.Fell(b.LANE, 1, 2, b.BOB), events.Withdrawn(b.LANE, b.ALICE, 0, True)):
        room.see(ends)
        assert room.batches()[-1][1] == "void"
        again = room.closed()
        assert (again.header.prev, again.header.calls) == (NO_HEADER, 10)
    assert again is not None
    assert again.header.era == 3, "a fall and an escape begin an era each"
    room.sweep()
    assert room.batches()[-1] == (3, "posted", 1)


def test_a_batch_that_waited_too_long_is_closed_anew(room: Room) -> None:
    room.serve(10)
    stale = room.closed()
    room.see(seconds=LANE.day)
    room.commit()
    assert room.batches() == [(1, "void", None)]
    fresh = room.closed()
    assert fresh.header.closed_at >= stale.header.closed_at + LANE.day
    room.sweep()
    assert room.batches()[-1] == (2, "posted", 1)
    assert room.laws() == []


def test_a_paused_lane_closes_nothing(room: Room) -> None:
    room.serve(10)
    room.see(events.LaneActive(b.LANE, False))
    assert room.close() is None
    room.see(events.LaneActive(b.LANE, True))
    assert room.close() is not None


def test_a_reverted_commit_is_tried_again_under_another_purpose(room: Room) -> None:
    room.serve(10)
    room.close()
    room.contract.refuses = True
    room.sweep(3)
    room.contract.refuses = False
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]


def test_an_alarm_stops_closing_and_committing(room: Room) -> None:
    room.serve(10)
    with unit_of_work(room.engine) as session:
        alarms.sound(session, b.LANE, Alarm("L3", "custody is not what is owed"), 1)
    assert room.close() is None
    with unit_of_work(room.engine) as session:
        alarms.clear(session, b.LANE, alarms.active(session, b.LANE), 2)
    assert room.close() is not None


def test_a_payee_without_a_place_holds_the_batch_up(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        session.execute(text("DELETE FROM parties WHERE payee_index = 4"))
    room.serve(10)
    with unit_of_work(room.engine) as session:
        assert settling.missing_payees(session, LANE.lane) == [b.COMPUTE]
    with pytest.raises(Unavailable, match="has no index yet"):
        room.close()


def test_a_batch_covers_whole_segments_of_all_gateways_up_to_its_cap(room: Room) -> None:
    for _ in range(3):
        room.serve(4)
    with unit_of_work(room.engine) as session:
        b.fund(session, b.BOB, 10**9, b.OTHER_GATEWAY.address)
        b.write(session, [b.a_receipt(900 + i, consumer=b.BOB) for i in range(7)], signer=b.OTHER_GATEWAY)
        postings.post_chunk(session, b.LANE, b.OTHER_GATEWAY.address, 100, 5)
        made = settling.close(session, replace(LANE, batch_calls=9), 10, 5)
        assert made is not None
        covered = {row.gateway: row.count for row in batches.ranges(session, b.LANE, 1)}
        marks = {mark.gateway: mark.batched_seq for mark in watermarks.of_lane(session, b.LANE)}
    assert covered == {gateway: seq for gateway, seq in marks.items() if seq}
    assert made.header.calls in (7 + 4, 8 + 7)


def test_a_file_that_no_longer_comes_to_its_header_is_a_conflict(room: Room) -> None:
    room.serve(10)
    batch = room.closed()
    with unit_of_work(room.engine) as session:
        session.execute(text(b.altered(3, "ended_at")))
    with pytest.raises(Conflict, match="no longer"), unit_of_work(room.engine) as session:
        files.write_again(session, files.Discard(), b.DOMAIN, batch)


class Full:
    """A sink that takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes | memoryview, /) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError("no space left on device")


def test_a_file_is_read_ahead_in_pieces_and_never_past_an_error(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.serve(300)
    whole = room.closed()
    monkeypatch.setattr(files, "READ_CALLS", 64)
    reading, read, plain = threading.Event(), [], receipts.chunk

    def slow(session: Session, lane: Lane, gateway: Address, first: int, last: int) -> receipts.Chunk:
        reading.set()
        found = plain(session, lane, gateway, first, last)
        time.sleep(0.05)
        read.append(first)
        reading.clear()
        return found

    monkeypatch.setattr(receipts, "chunk", slow)
    with unit_of_work(room.engine) as session:
        files.write_again(session, sink := io.BytesIO(), b.DOMAIN, whole)
        assert audit.verify(batch_files.read(sink.getvalue()), None, whole.header).ok
        assert len(read) >= 5
        read.clear()
        with pytest.raises(OSError, match="no space"):
            files.write_again(session, Full(64 * 382 + 500), b.DOMAIN, whole)
        assert not reading.is_set(), "the session is ours again"
        assert 2 <= len(read) < 5


def test_who_leaves_gets_a_batch_of_its_own_when_nobody_calls(room: Room) -> None:
    room.serve(10)
    first = room.closed()
    room.commit()
    room.sweep()
    assert room.close() is None
    room.chain.mine(events.WithdrawRequested(b.LANE, b.ALICE, True))
    room.see()
    with unit_of_work(room.engine) as session:
        assert settling.is_due(session, LANE, room.now)
    empty = room.closed()
    assert (empty.header.calls, empty.total, empty.cumulative) == (0, 0, first.cumulative)
    assert (empty.header.payout_root, empty.header.debit_root) == (first.header.payout_root, first.header.debit_root)
    with unit_of_work(room.engine) as session:
        kept = []
        for batch in (first, empty):
            sink = io.BytesIO()
            files.write_again(session, sink, b.DOMAIN, batch)
            kept.append(batch_files.read(sink.getvalue()))
        assert audit.verify(kept[0], None, first.header).ok
        assert audit.verify(kept[1], kept[0], empty.header).ok
        assert proofs.debit(session, empty, b.ALICE) is not None
    room.commit()
    room.sweep()
    assert room.batches()[-1][:2] == (2, "posted")
    assert room.close() is None, "one is enough"
    assert room.laws() == []


def test_who_never_called_leaves_a_lane_that_has_no_batch(room: Room) -> None:
    assert room.close() is None
    room.chain.mine(events.WithdrawRequested(b.LANE, b.BOB, True))
    room.see()
    empty = room.closed()
    assert (empty.header.calls, empty.cumulative, empty.header.debit_root) == (0, 0, ZERO_DIGEST)
    assert room.close() is None, "one is under way"
    room.commit()
    room.sweep()
    assert room.batches()[-1][:2] == (1, "posted")
    room.serve(1)
    busy = room.closed()
    with unit_of_work(room.engine) as session:
        for batch in (empty, busy):
            proof = proofs.debit(session, batch, b.BOB)
            assert proof is not None
            assert (proof.index, proof.cumulative) == (4, 0)
            beyond = proof.index >> batch.header.heights.debits
            assert beyond or verify(batch.header.debit_root, proof.word, proof.index, proof.siblings)
            assert not (beyond and proof.siblings)
    assert room.laws() == []


def test_a_notice_asks_for_a_batch_after_it(room: Room) -> None:
    room.serve(10)
    assert room.close() is not None
    room.sweep()
    room.chain.mine(events.WithdrawRequested(b.LANE, b.ALICE, True))
    room.see()
    with unit_of_work(room.engine) as session:
        assert settling.is_due(session, LANE, room.now), "what was closed before the request settles no exit"
    assert room.close() is not None
    room.sweep()
    patient = replace(LANE, exit_notice=600)
    with unit_of_work(room.engine) as session:
        assert not settling.is_due(session, patient, room.now), "closed after the request, and the notice still runs"
        assert not settling.is_due(session, LANE, room.now), "closed after the request, and there is no notice"
    room.chain.mine(seconds=600)
    room.sweep()
    with unit_of_work(room.engine) as session:
        assert settling.is_due(session, patient, room.now)
        assert not settling.is_due(session, LANE, room.now)


def test_no_batch_is_closed_by_an_old_chain(room: Room) -> None:
    room.serve(3)
    noticed = replace(LANE, exit_notice=900)
    with unit_of_work(room.engine) as session:
        block = chain_time.get(session)
        assert block is not None
        indexed_at = 10**12 - (chain_time.now(session, 10**12) - block.timestamp * 1_000)
        assert settling.close(session, noticed, 1, indexed_at + 900_001) is None, "a request to leave may be unknown"
        assert settling.close(session, noticed, 1, indexed_at + 900_000) is not None


def leave(room: Room, spent: int) -> None:
    """Alice's lease ends after what was posted, and she asks to leave with the rest."""
    with unit_of_work(room.engine) as session:
        b.release(session, b.ALICE, 10**9 - spent)
        done = text("UPDATE leases SET spent = :spent, state = 'closed' WHERE consumer = :alice")
        session.execute(done, {"spent": spent, "alice": b.ALICE})
    room.chain.mine(events.WithdrawRequested(b.LANE, b.ALICE, True))
    room.chain.mine(seconds=2)
    room.chain.mine()
    room.index()


def used_by_alice(room: Room, count: int) -> int:
    """Half of these calls are Alice's."""
    room.serve(count)
    return count // 2 * b.a_receipt(1).charge


def test_who_escapes_takes_what_it_used_and_is_not_charged_when_the_operator_returns(room: Room) -> None:
    leave(room, used_by_alice(room, 10))
    room.close()
    room.chain.mine(events.Withdrawn(b.LANE, b.ALICE, 10**9, True))
    room.chain.mine()
    room.index()
    assert room.laws() == []
    batch = room.close()
    assert batch is not None
    assert (batch.barred, batch.total) == (tuple(range(0, 10, 2)), 5 * b.a_receipt(1).charge)
    room.sweep()
    assert room.batches()[-1] == (2, "posted", 1)
    assert room.laws() == []
    assert (room.balance(withdrawing(b.ALICE)), room.balance(available(b.ALICE))) == (0, 0)


def test_what_a_fallen_batch_barred_is_charged_again_if_the_next_one_must(room: Room) -> None:
    """Between her request and the batch that bars, another batch closed; both fall, and one takes their place."""
    spent = used_by_alice(room, 10)
    leave(room, spent)
    with unit_of_work(room.engine) as session:
        watermark = watermarks.of_lane(session, b.LANE)
        session.execute(text("UPDATE watermarks SET posted_seq = 0"))
    empty = room.close()
    with unit_of_work(room.engine) as session:
        for mark in watermark:
            watermarks.advance_posted(session, b.LANE, mark.gateway, mark.posted_seq)
    barring = room.close()
    assert empty is not None
    assert barring is not None
    assert (empty.barred, barring.barred) == ((), tuple(range(0, 10, 2)))
    assert (room.laws(), room.balance(withdrawing(b.ALICE))) == ([], 10**9)
    room.chain.mine(events.Fell(b.LANE, 1, 2, b.BOB))
    room.chain.mine()
    room.index()
    again = room.close()
    assert again is not None
    assert (again.barred, again.total) == ((), 2 * spent)
    assert (room.laws(), room.balance(withdrawing(b.ALICE))) == ([], 10**9 - spent)


def test_a_voucher_signed_after_closing_changes_no_file(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 10**6), b.ALICE, bytes(65))
    room.serve(4)
    batch = room.close()
    assert batch is not None
    with unit_of_work(room.engine) as session:
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 10**9), b.ALICE, bytes(65))
        vouchers.raise_to(session, Voucher(b.LANE, b.BOB, 10**9), b.BOB, bytes(65))
        files.write_again(session, sink := io.BytesIO(), b.DOMAIN, batch)
    assert batch_files.read(sink.getvalue()).mandates == (Mandate(1, 10**6, bytes(65)),)


def test_a_file_shows_no_voucher_whose_key_no_longer_counts(room: Room) -> None:
    stolen = b.OTHER_GATEWAY.address
    with unit_of_work(room.engine) as session:
        parties.put_session_key(session, b.ALICE, stolen)
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 10**6), b.ALICE, bytes(65))
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 10**9), stolen, bytes(65))
        parties.put_session_key(session, b.ALICE, stolen, counts_until=0)
    room.serve(4)
    batch = room.close()
    assert batch is not None
    with unit_of_work(room.engine) as session:
        files.write_again(session, sink := io.BytesIO(), b.DOMAIN, batch)
    assert batch_files.read(sink.getvalue()).mandates == (Mandate(1, 10**6, bytes(65)),)
