"""Settling: what a batch holds, what it comes to, and its way to the chain and back."""

import io
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from ledger.core import audits, events
from ledger.core import batches as batch_files
from ledger.core.accounts import CUSTODY, accrued, claimable
from ledger.core.bids import Role
from ledger.core.errors import Conflict, Unavailable
from ledger.core.headers import NO_BATCH, Header
from ledger.core.ids import ZERO_DIGEST, Address
from ledger.core.sumtree import Tree, amount, leaf, verify
from ledger.core.transmissions import Call, Policy, Step
from ledger.flows import indexing, posting, settling, transmitting
from ledger.store import alarms, batches, files, journal, nodes, parties, proofs, watermarks
from ledger.store.alarms import Alarm
from ledger.store.batches import Batch, Status
from ledger.store.session import unit_of_work
from tests import builders as b
from tests.fakechain import SENDER, FakeChain

LANE = settling.Lane(b.LANE, b.DOMAIN, SENDER, batch_calls=1_000, batch_ms=60_000)
NETWORK = indexing.Network(chain_id=31337, lane=b.LANE, start_block=0, confirmations=1, epoch_seconds=100)
POLICY = Policy(confirmations=1, stuck_ms=1_000, max_fee=10_000)
SETTLEMENT = Address(b"\x5c" * 20)
PAYEES = (b.MAKER, b.COMPUTE, b.OPERATOR, b.TREASURY)


class Calls:
    """Calldata a fake contract understands: words joined by blanks."""

    def commit(self, lane: int, header: Header, finalize_id: int, finalize_header: Header) -> Call:
        return SETTLEMENT, f"commit {header.hash.hex()} {header.prev.hex()} {finalize_id}".encode()

    def finalize(self, lane: int, batch_id: int, header: Header) -> Call:
        return SETTLEMENT, f"finalize {batch_id}".encode()


class Contract:
    """As much of Settlement as settling needs: a chain of headers, and finality."""

    def __init__(self) -> None:
        self.headers: list[str] = []

    def __call__(self, target: Address, data: bytes) -> list[events.Event] | None:
        word, *rest = data.decode().split()
        if word == "finalize":
            return [events.Finalized(b.LANE, int(rest[0]))]
        hashed, prev, finalize_id = rest
        if prev != (self.headers[-1] if self.headers else ZERO_DIGEST.hex()):
            return None
        self.headers.append(hashed)
        committed = events.Committed(b.LANE, len(self.headers), b.digest(hashed))
        return [committed, *([] if int(finalize_id) == NO_BATCH else [events.Finalized(b.LANE, int(finalize_id))])]


class Room:
    """A lane with a chain, some money and posted receipts; `sweep` is what the worker does."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.contract, self.calls, self.now = engine, Contract(), Calls(), 1_000
        self.chain = FakeChain(self.contract)
        self.chain.mine(
            events.LaneOpened(b.LANE, SENDER, 60, 30, 1_000),
            *(events.PayeeRegistered(place + 3, payee) for place, payee in enumerate(PAYEES)),
            events.Deposited(b.LANE, b.ALICE, 1, 10**9),
            events.Deposited(b.LANE, b.BOB, 4, 10**9),
        )
        self.chain.mine()
        self.index()
        with unit_of_work(engine) as session:
            b.lease(session, b.ALICE, 10**9, 1)
            b.lease(session, b.BOB, 10**9, 2)
        self.calls_made = 0

    def serve(self, count: int) -> None:
        """Charge some calls, and post them."""
        with unit_of_work(self.engine) as session:
            made = [
                b.a_receipt(self.calls_made + i + 1, consumer=(b.ALICE, b.BOB)[i % 2], ended_at=self.now)
                for i in range(count)
            ]
            b.write(session, made)
            posting.post_chunk(session, b.GATEWAY.address, 10_000, self.now)
        self.calls_made += count

    def close(self) -> Batch | None:
        with unit_of_work(self.engine) as session:
            return settling.close(session, LANE, 10, self.now)

    def commit(self) -> None:
        with unit_of_work(self.engine) as session:
            settling.commit(session, LANE, self.calls, self.now)

    def transmit(self) -> list[Step]:
        with unit_of_work(self.engine) as session:
            transmitting.sign_next(session, self.chain, SENDER, self.now)
        steps = []
        with unit_of_work(self.engine) as session:
            under_way = transmitting.under_way(session)
        for one in under_way:
            with unit_of_work(self.engine) as session:
                steps.append(transmitting.review(session, self.chain, one, self.now, POLICY))
        return steps

    def index(self) -> None:
        done = 1
        while done:
            with unit_of_work(self.engine) as session:
                done = indexing.index_next(session, self.chain, NETWORK, self.now)

    def sweep(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            self.now += 300
            self.commit()
            self.transmit()
            self.chain.mine()
            self.index()

    def batches(self) -> list[tuple[int, str, int | None]]:
        with unit_of_work(self.engine) as session:
            found = batches.with_status(session, b.LANE, *Status)
            return [(batch.number, batch.status.value, batch.chain_id) for batch in found]

    def balance(self, name: str) -> int:
        with unit_of_work(self.engine) as session:
            return journal.balance(session, name)


@pytest.fixture
def room(engine: Engine) -> Room:
    return Room(engine)


def test_a_batch_file_proves_the_batch_and_nothing_more_is_needed(room: Room) -> None:
    previous = None
    for calls in (130, 70):
        room.serve(calls)
        batch = room.close()
        assert batch is not None
        with unit_of_work(room.engine) as session:
            files.write_again(session, sink := io.BytesIO(), b.DOMAIN, batch)
        file = batch_files.read(sink.getvalue())
        assert file.header == batch.header
        verdict = audits.verify(file, previous, batch.header)
        assert verdict.ok, str(verdict)
        assert verdict.receipts == calls
        previous = file
    assert room.close() is None


def test_proofs_come_from_stored_nodes(room: Room) -> None:
    for calls in (30, 20):
        room.serve(calls)
        batch = room.close()
        assert batch is not None
        with unit_of_work(room.engine) as session:
            for place, payee in enumerate(PAYEES):
                proof = proofs.payout(session, batch, payee)
                assert proof is not None
                assert proof.index == place + 3
                assert proof.word == leaf(1, proof.index, payee, proof.cumulative)
                assert verify(batch.header.payout_root, proof.word, proof.index, proof.siblings)
            debit = proofs.debit(session, batch, b.BOB)
            assert debit is not None
            assert verify(batch.header.debit_root, debit.word, 4, debit.siblings)
            assert proofs.payout(session, batch, b.ALICE) is None
            assert sum(n for _, n in nodes.leaves(session, b.LANE, nodes.DEBIT, batch.number)) == batch.cumulative


def test_the_tree_in_the_store_is_the_tree_built_whole(room: Room) -> None:
    room.serve(10)
    batch = room.close()
    assert batch is not None
    with unit_of_work(room.engine) as session:
        words = dict(nodes.leaves(session, b.LANE, nodes.PAYOUT, batch.number))
        names = parties.by_index(session)
    whole = Tree.build([leaf(1, i, names[i], words[i]) if i in words else bytes(32) for i in range(max(words) + 1)])
    assert whole.root == batch.header.payout_root
    assert amount(whole.root) == batch.total


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
    room.chain.mine(seconds=61)
    room.chain.mine()
    room.index()
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
    room.serve(10)
    room.close()
    room.sweep()
    room.chain.mine(seconds=61)
    room.chain.mine()
    room.index()
    room.serve(10)
    room.close()
    room.sweep()
    assert room.batches() == [(1, "final", 1), (2, "posted", 2)]


def test_late_receipts_go_to_the_next_batch(room: Room) -> None:
    room.serve(10)
    first = room.close()
    room.serve(5)
    room.sweep()
    second = room.close()
    assert first is not None
    assert second is not None
    assert (second.header.first_call, second.header.calls, second.header.prev) == (10, 5, first.header.hash)
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
    assert room.contract.headers == [room.contract.headers[0]]


def test_a_dropped_commit_is_sent_again(room: Room) -> None:
    room.serve(10)
    room.close()
    room.commit()
    assert room.transmit() == [Step.broadcast]
    room.chain.forget()
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]


def test_a_reorganisation_under_a_posted_batch_posts_it_again(room: Room) -> None:
    room.serve(10)
    room.close()
    room.sweep()
    assert room.batches() == [(1, "posted", 1)]
    charged = room.balance(claimable(b.MAKER))
    room.chain.fork(4, keep_pool=False)
    room.contract.headers.clear()
    for _ in range(5):
        room.chain.mine()
    room.index()
    assert room.batches() == [(1, "signed", None)]
    assert room.balance(claimable(b.MAKER)) == 0
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]
    assert room.balance(claimable(b.MAKER)) == charged


def test_a_void_batch_is_reversed_and_its_receipts_go_into_the_next(room: Room) -> None:
    room.serve(10)
    room.close()
    room.sweep()
    room.serve(5)
    room.close()
    room.sweep()
    charged = room.balance(claimable(b.MAKER))
    room.contract.headers.clear()
    room.chain.mine(events.Voided(b.LANE, 1, b.BOB))
    room.chain.mine()
    room.index()
    assert room.batches() == [(1, "void", 1), (2, "void", 2)]
    assert (room.balance(claimable(b.MAKER)), room.balance(accrued(b.MAKER, Role.maker))) == (0, charged)
    again = room.close()
    assert again is not None
    assert (again.number, again.header.calls, again.header.prev) == (3, 15, ZERO_DIGEST)
    room.sweep()
    assert room.batches()[-1] == (3, "posted", 1)
    assert room.balance(claimable(b.MAKER)) == charged


def test_a_reverted_commit_is_tried_again_under_another_purpose(room: Room) -> None:
    room.serve(10)
    room.close()
    room.contract.headers.append("something else")
    room.sweep(3)
    room.contract.headers.clear()
    room.sweep(8)
    assert room.batches() == [(1, "posted", 1)]


def test_an_alarm_stops_closing_and_committing(room: Room) -> None:
    room.serve(10)
    with unit_of_work(room.engine) as session:
        alarms.sound(session, Alarm("L3", "custody is not what is owed"), 1)
    assert room.close() is None
    with unit_of_work(room.engine) as session:
        assert alarms.clear(session, 2) == 1
    assert room.close() is not None


def test_a_payee_without_a_place_holds_the_batch_up(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        session.execute(text("DELETE FROM parties WHERE payee_index = 4"))
    room.serve(10)
    with unit_of_work(room.engine) as session:
        assert settling.missing_payees(session) == [b.COMPUTE]
    with pytest.raises(Unavailable, match="has no index yet"):
        room.close()


def test_a_batch_covers_whole_segments_of_all_gateways_up_to_its_cap(room: Room) -> None:
    for _ in range(3):
        room.serve(4)
    with unit_of_work(room.engine) as session:
        b.fund(session, b.BOB, 10**9, b.OTHER_GATEWAY.address)
        b.write(session, [b.a_receipt(900 + i, consumer=b.BOB) for i in range(7)], signer=b.OTHER_GATEWAY)
        posting.post_chunk(session, b.OTHER_GATEWAY.address, 100, 5)
        made = settling.close(session, replace(LANE, batch_calls=9), 10, 5)
        assert made is not None
        covered = {row.gateway: row.count for row in batches.ranges(session, b.LANE, 1)}
        marks = {mark.gateway: mark.batched_seq for mark in watermarks.of_lane(session, b.LANE)}
    assert covered == {gateway: seq for gateway, seq in marks.items() if seq}
    assert made.header.calls in (7 + 4, 8 + 7)


def test_a_file_that_no_longer_comes_to_its_header_is_a_conflict(room: Room) -> None:
    room.serve(10)
    batch = room.close()
    assert batch is not None
    with unit_of_work(room.engine) as session:
        session.execute(text("UPDATE receipts SET ended_at = ended_at + 1 WHERE seq = 3"))
    with pytest.raises(Conflict, match="no longer"), unit_of_work(room.engine) as session:
        files.write_again(session, files.Discard(), b.DOMAIN, batch)
