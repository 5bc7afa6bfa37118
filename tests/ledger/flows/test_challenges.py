"""Disputing: every question about an honest batch has an answer, and the answer is what the chain will check."""

import pytest
from sqlalchemy import Engine, text

from ledger.chain.calls import Calls
from ledger.core.disputes.recomputation import DEBITS, LINES, PAYOUTS, RECEIPTS
from ledger.core.receipts.receipt import struct_hash, unpack
from ledger.core.settlement import events
from ledger.core.settlement.batches import Status
from ledger.core.settlement.transactions import Call
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.values.errors import Conflict
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import Word, amount, parent, receipt_leaf, tree_node
from ledger.flows import challenges as disputing
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches, challenges, transactions
from tests import builders as b
from tests.fakechain import SENDER
from tests.room import Room


class Answers(Calls):
    """Calldata in words."""

    def __init__(self) -> None:
        pass

    def to_settlement(self, name: str, *arguments: object) -> Call:
        return Address(b"\x5c" * 20), " ".join((name, *map(str, arguments))).encode()


@pytest.fixture
def room(engine: Engine) -> Room:
    room = Room(engine)
    room.serve(150)
    room.close()
    room.sweep()
    return room


@pytest.mark.parametrize("tree", [RECEIPTS, PAYOUTS, DEBITS, LINES])
def test_any_path_from_the_root_to_a_leaf_can_be_opened(room: Room, tree: int) -> None:
    with unit_of_work(room.engine) as session:
        (batch,) = batches.with_status(session, b.LANE, Status.posted)
        header = batch.header
        roots = (header.receipts_root, header.payout_root, header.debit_root, header.lines_root)
        word: Word = roots[tree]
        depth = place = 0
        while True:
            opened = disputing.open_node(session, batch, tree, depth, place)
            if opened.children is None:
                break
            left, right = opened.children
            assert parent(left, right) == word
            side = 0 if amount(left) else 1
            depth, place, word = depth + 1, 2 * place + side, opened.children[side]
    if tree == RECEIPTS:
        assert receipt_leaf(struct_hash(unpack(opened.preimage)), amount(word)) == word
        assert opened.terms
    else:
        assert tree_node(keccak256(opened.preimage), amount(word)) == word
        assert len(opened.preimage) == (17 if tree == LINES else 33)


def test_challenges_are_answered_once_until_the_chain_says_so(room: Room) -> None:
    key, other = keccak256(b"a challenge"), keccak256(b"another")
    with unit_of_work(room.engine) as session:
        row = {"lane": b.LANE, "alice": b.ALICE}
        session.execute(text("INSERT INTO vouchers VALUES (:lane, :alice, 1000000000, 'signed')"), row)
        root = batches.with_status(session, b.LANE, Status.posted)[0].header.receipts_root
    room.chain.mine(
        events.DebitChallenged(b.LANE, 1, key, 1, b.ALICE, 5, 99_999),
        events.NodeDemanded(b.LANE, 1, other, RECEIPTS, Digest(root), 0, 0, 99_999),
    )
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 1) == 2
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 2) == 0
        calls = sorted(one.data.split()[0] for one in transactions.intended(session, b.LANE))
        assert calls == [b"answerDebit", b"answerNode"]
    room.chain.mine(events.Answered(b.LANE, 1, key))
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        assert [question.asked.key for question in challenges.unanswered(session, b.LANE)] == [other]


def test_a_debit_without_a_voucher_wakes_a_person(room: Room) -> None:
    room.chain.mine(events.DebitChallenged(b.LANE, 1, keccak256(b"why?"), 4, b.BOB, 5, 99_999))
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 1) == 0
        assert [alarm.law for alarm in alarms.active(session, b.LANE)] == ["dispute"]


def test_what_is_not_there_cannot_be_opened(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        (batch,) = batches.with_status(session, b.LANE, Status.posted)
        with pytest.raises(Conflict, match="no node"):
            disputing.open_node(session, batch, PAYOUTS, 40, 0)
        with pytest.raises(Conflict, match="nothing to open"):
            disputing.open_node(session, batch, PAYOUTS, 3, 0)


@pytest.mark.parametrize("again_in", [1, 2])
def test_the_same_question_asked_twice_is_answered_twice(room: Room, again_in: int) -> None:
    key = keccak256(b"a debit that is the same in every batch")
    with unit_of_work(room.engine) as session:
        row = {"lane": b.LANE, "alice": b.ALICE}
        session.execute(text("INSERT INTO vouchers VALUES (:lane, :alice, 1000000000, 'signed')"), row)
    for turn, batch in enumerate((1, again_in)):
        room.chain.mine(events.DebitChallenged(b.LANE, batch, key, 1, b.ALICE, 5, 99_999))
        room.chain.mine()
        room.index()
        with unit_of_work(room.engine) as session:
            assert disputing.answer_all(session, Answers(), SENDER, b.LANE, turn) == 1
            assert disputing.answer_all(session, Answers(), SENDER, b.LANE, turn) == 0
        room.chain.mine(events.Answered(b.LANE, batch, key))
        room.chain.mine()
        room.index()
        with unit_of_work(room.engine) as session:
            assert challenges.unanswered(session, b.LANE) == []
            assert alarms.active(session, b.LANE) == []
            assert len({one.id for one in transactions.intended(session, b.LANE)}) == turn + 1


def test_a_question_answered_and_asked_again_in_one_block_stays_open(room: Room) -> None:
    key = keccak256(b"why?")
    asked = events.DebitChallenged(b.LANE, 1, key, 1, b.ALICE, 5, 99_999)
    room.chain.mine(asked)
    room.chain.mine(events.Answered(b.LANE, 1, key), asked)
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        (left,) = challenges.unanswered(session, b.LANE)
    assert left.asked == asked
    assert left.log_index == 1


def test_an_answer_that_failed_is_intended_again(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        row = {"lane": b.LANE, "alice": b.ALICE}
        session.execute(text("INSERT INTO vouchers VALUES (:lane, :alice, 1000000000, 'signed')"), row)
    room.chain.mine(events.DebitChallenged(b.LANE, 1, keccak256(b"why?"), 1, b.ALICE, 5, 99_999))
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 1) == 1
        (first,) = transactions.intended(session, b.LANE)
        transactions.set_status(session, b.LANE, first.id, Sending.failed, error="out of gas")
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 2) == 0, "not at once"
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 60_000) == 1


def test_a_question_ends_with_its_batch(room: Room) -> None:
    asked = events.DebitChallenged(b.LANE, 1, keccak256(b"why?"), 4, b.BOB, 5, 99_999)
    room.chain.mine(asked)
    room.chain.mine(events.Voided(b.LANE, 1, b.BOB))
    room.chain.mine()
    room.index()
    with unit_of_work(room.engine) as session:
        assert challenges.unanswered(session, b.LANE) == []
        assert disputing.answer_all(session, Answers(), SENDER, b.LANE, 1) == 0
        assert alarms.active(session, b.LANE) == []
