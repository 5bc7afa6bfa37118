"""Disputing: every question about an honest batch has an answer, and the answer is what the chain will check."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from ledger.chain.calls import Calls
from ledger.core.catalog.bids import terms_id
from ledger.core.disputes.questions import DEBITS, GATEWAYS, LINES, PAYOUTS, RECEIPTS, height_of, levels_shown, root_of
from ledger.core.receipts.receipt import struct_hash, unpack
from ledger.core.settlement import events
from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import HeaderId
from ledger.core.settlement.transactions import Call
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import ZERO, amount, range_root, receipt_leaf, verify
from ledger.flows import challenges as disputing
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches, challenges, transactions
from ledger.store.settlement.batches import Batch
from tests import builders as b
from tests.fakechain import SENDER
from tests.room import Room

LATER = 99_999
KEY, OTHER = keccak256(b"a question"), keccak256(b"another")
VOUCHER = b"signed"


class Answers(Calls):
    """Calls as they were made; the bytes of one are its number."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def to(self, contract: str, name: str, *arguments: object) -> Call:
        assert contract == "Questions"
        self.made.append((name, arguments))
        return Address(b"\x5c" * 20), b"%d" % (len(self.made) - 1)

    def sent(self, data: bytes) -> list[tuple[str, Any]]:
        """What a transaction says, with what it carries."""
        name, arguments = self.made[int(data)]
        if name != "multicall":
            return [(name, arguments)]
        return [one for inner in arguments[0] for one in self.sent(inner)]


class Court(Room):
    """A room with a posted batch of 150 receipts, and what it is asked."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.post(150)
        self.answers = Answers()
        with unit_of_work(engine) as session:
            row = {"lane": b.LANE, "alice": b.ALICE, "signature": VOUCHER}
            session.execute(
                text(
                    "INSERT INTO vouchers (lane, account, cum_max, signer, signature) VALUES "
                    "(:lane, :alice, 1000000000, :alice, :signature)"
                ),
                row,
            )

    @property
    def batch(self) -> Batch:
        with unit_of_work(self.engine) as session:
            return batches.with_status(session, b.LANE, Status.posted, Status.final)[0]

    @property
    def id(self) -> HeaderId:
        return self.batch.header.id

    def answer(self, now: int = 1) -> int:
        with unit_of_work(self.engine) as session:
            return disputing.answer_all(session, self.answers, SENDER, b.LANE, now)

    def said(self) -> list[tuple[str, Any]]:
        """The answers of the newest transaction."""
        with unit_of_work(self.engine) as session:
            newest = max(transactions.intended(session, b.LANE), key=lambda one: (one.created_at, int(one.data)))
            return self.answers.sent(newest.data)

    def words(self, key: Digest = KEY, tree: int = RECEIPTS, depth: int = 0, position: int = 0) -> events.Event:
        return events.WordsAsked(b.LANE, 1, key, self.id, tree, depth, position, b.BOB, LATER)

    def mandate(self, key: Digest = KEY, account: Address = b.ALICE, cumulative: int = 5) -> events.Event:
        return events.MandateAsked(b.LANE, 1, key, self.id, 1, account, cumulative, b.BOB, LATER)

    def waiting(self) -> list[Digest]:
        with unit_of_work(self.engine) as session:
            return [one.asked.question for one in challenges.unanswered(session, b.LANE)]

    def alarms(self) -> list[str]:
        with unit_of_work(self.engine) as session:
            return [alarm.message for alarm in alarms.active(session, b.LANE)]


@pytest.fixture
def court(engine: Engine) -> Court:
    return Court(engine)


@pytest.mark.parametrize("tree", [RECEIPTS, PAYOUTS, DEBITS, LINES, GATEWAYS])
def test_the_words_below_any_node_are_shown_with_their_path(court: Court, tree: int) -> None:
    header = court.batch.header
    height = height_of(header, tree)
    spots = [(0, 0), *((1, side) for side in (0, 1) if height), (height, 0), (height, (1 << height) - 1)]
    court.see(*(court.words(keccak256(bytes(spot)), tree, *spot) for spot in spots))
    assert court.answer() == 1
    for (depth, position), (name, arguments) in zip(spots, court.said(), strict=True):
        lane, id, _, *asked, words, path = arguments
        assert (name, lane, id, *asked) == ("answerWords", b.LANE, 1, tree, depth, position)
        levels = levels_shown(header, tree, depth)
        assert len(words) == 1 << levels
        assert verify(root_of(header, tree), range_root(words, 0, levels, []), position, path)
        assert len(path) == depth


def test_a_receipt_is_shown_with_its_terms_and_its_path(court: Court) -> None:
    header = court.batch.header
    court.see(*(events.ReceiptAsked(b.LANE, 1, keccak256(bytes([n])), court.id, n, b.BOB, LATER) for n in (0, 149)))
    assert court.answer() == 1
    for place, (name, (_, _, _, said, record, body, path)) in zip((0, 149), court.said(), strict=True):
        receipt = unpack(record)
        assert (name, said, receipt.seq) == ("answerReceipt", place, place + 1)
        assert terms_id(body) == receipt.terms
        leaf = receipt_leaf(b.LANE, struct_hash(receipt), receipt.charge)
        assert verify(header.receipts_root, leaf, place, path)


def test_a_final_word_is_shown_in_the_tree_that_is_final_now(court: Court) -> None:
    court.see(events.FinalAsked(b.LANE, KEY, PAYOUTS, 3, b.BOB, LATER))
    assert court.answer() == 0
    assert "no batch" in court.alarms()[0]  # no chain takes this question before a tree has such an index
    court.see(events.Finalized(b.LANE, 1), events.FinalAsked(b.LANE, OTHER, DEBITS, 0, b.BOB, LATER))
    assert court.answer() == 1
    (_, (_, *one, word, path)), (_, (_, *other, none, its_path)) = court.said()
    header = court.batch.header
    assert (one, other) == ([PAYOUTS, 3], [DEBITS, 0])
    assert amount(word)
    assert verify(header.payout_root, word, 3, path)
    assert none == ZERO
    assert verify(header.debit_root, ZERO, 0, its_path)


def test_questions_are_answered_together_and_once_until_the_chain_says_so(court: Court) -> None:
    court.see(court.mandate(), court.words(OTHER))
    assert court.answer() == 1
    assert court.answer(2) == 0
    assert [name for name, _ in court.said()] == ["answerMandate", "answerWords"]
    assert court.said()[0][1][3:] == ((1, b.ALICE, 5), 10**9, VOUCHER)
    court.see(events.Answered(KEY, SENDER, 0))
    assert court.waiting() == [OTHER]


def test_an_answer_that_was_passed_over_is_sent_again(court: Court) -> None:
    """Many answers in one transaction succeed together, also when one of them does not."""
    court.see(court.mandate(), court.words(OTHER))
    assert court.answer() == 1
    with unit_of_work(court.engine) as session:
        (first,) = transactions.intended(session, b.LANE)
        transactions.set_status(session, b.LANE, first.id, Sending.confirmed)
    court.see(events.Answered(KEY, SENDER, 0))
    assert court.answer(2) == 0, "not at once"
    assert court.answer(60_000) == 1
    assert [name for name, _ in court.said()] == ["answerWords"]


def test_a_debit_without_a_mandate_wakes_a_person_and_keeps_no_other_question_waiting(court: Court) -> None:
    court.see(court.mandate(account=b.BOB), court.words(OTHER))
    assert court.answer() == 1
    assert [name for name, _ in court.said()] == ["answerWords"]
    assert "no mandate" in court.alarms()[0]


def test_x402_payments_are_a_mandate_beside_the_voucher(court: Court) -> None:
    """F18: one rule in ledger and contract."""
    court.see(court.mandate(cumulative=10**9 + 7))
    assert court.answer() == 0
    with unit_of_work(court.engine) as session:
        session.execute(
            text(
                "INSERT INTO deposits_requested (lane, id, account, amount, valid_after, valid_before, salt, "
                "signature, kind, status, block, requested_at) "
                "VALUES (:lane, 'a', :alice, 7, 0, 0, 's', 's', 'inbox', 'credited', 1, 0)"
            ),
            {"lane": b.LANE, "alice": b.ALICE},
        )
    assert court.answer() == 1
    assert court.said()[0][1][4:] == (10**9, VOUCHER)


def test_a_batch_that_is_not_ours_wakes_a_person(court: Court) -> None:
    court.see(events.WordsAsked(b.LANE, 1, KEY, bytes(24), RECEIPTS, 0, 0, b.BOB, LATER))
    assert court.answer() == 0
    assert "this ledger has none" in court.alarms()[0]


def test_a_node_or_place_that_is_not_there_wakes_a_person(court: Court) -> None:
    beyond = events.ReceiptAsked(b.LANE, 1, OTHER, court.id, 150, b.BOB, LATER)
    court.see(court.words(depth=40), beyond)
    assert court.answer() == 0
    assert sorted(said.split(" of ")[0].split(" at ")[0] for said in court.alarms()) == [
        "batch 1 has no receipt",
        "the receipts tree",
    ]


def test_the_same_question_asked_again_is_answered_again(court: Court) -> None:
    """F6: a question is named by its whole cause and its log, so that no answer counts for two."""
    for turn in range(2):
        court.see(court.mandate())
        assert court.answer(turn) == 1
        assert court.answer(turn) == 0
        court.see(events.Answered(KEY, SENDER, 0))
        assert court.waiting() == []
    with unit_of_work(court.engine) as session:
        assert len({one.id for one in transactions.intended(session, b.LANE)}) == 2


def test_a_question_answered_and_asked_again_in_one_block_stays_open(court: Court) -> None:
    asked = court.mandate()
    court.chain.mine(asked)
    court.see(events.Answered(KEY, SENDER, 0), asked)
    with unit_of_work(court.engine) as session:
        (left,) = challenges.unanswered(session, b.LANE)
    assert left.asked == asked
    assert left.log_index == 1


def test_an_answer_that_failed_is_intended_again(court: Court) -> None:
    court.see(court.mandate())
    assert court.answer() == 1
    with unit_of_work(court.engine) as session:
        (first,) = transactions.intended(session, b.LANE)
        transactions.set_status(session, b.LANE, first.id, Sending.failed, error="out of gas")
    assert court.answer(2) == 0, "not at once"
    assert court.answer(60_000) == 1


def test_questions_end_with_their_cause(court: Court) -> None:
    court.see(court.mandate(account=b.BOB), events.FinalAsked(b.LANE, OTHER, PAYOUTS, 3, b.BOB, LATER))
    court.see(events.Fell(b.LANE, 1, 2, b.BOB))
    assert court.waiting() == []
    assert court.answer() == 0
    assert court.alarms() == []


def test_a_question_that_was_closed_waits_no_longer(court: Court) -> None:
    court.see(court.mandate(account=b.BOB))
    court.see(events.Closed(KEY, False))
    assert court.waiting() == []


def test_a_flood_of_questions_is_answered_a_few_at_a_time(court: Court) -> None:
    court.see(*(court.words(keccak256(bytes([n])), RECEIPTS, 8, n) for n in range(20)))
    assert court.answer() == 3
    with unit_of_work(court.engine) as session:
        sizes = sorted(len(court.answers.sent(one.data)) for one in transactions.intended(session, b.LANE))
    assert sizes == [4, 8, 8]
