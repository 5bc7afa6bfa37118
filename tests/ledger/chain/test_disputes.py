"""A lying operator of each kind, on a real chain: what `find_fraud_proof` finds in the public file convicts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.chain.calls import words
from ledger.chain.errors import Reverted
from ledger.chain.logs import demand_key
from ledger.core.catalog.bids import Bid, Line, Role
from ledger.core.disputes import proofs
from ledger.core.disputes.challenge_game import withheld
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.recomputation import LINES, NO_ANSWERS, RECEIPTS, PlacedBid, boundary, recompute
from ledger.core.receipts.receipt import Receipt, pack, receipt_digest, struct_hash
from ledger.core.settlement.batch_file import BatchFile, Roots
from ledger.core.settlement.header import place_of
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import Tree, amount, receipt_leaf
from tests import builders as b
from tests.builders import COMPUTE, MAKER, TREASURY, a_receipt, an_address, some_terms
from tests.ledger.chain.conftest import (
    ANSWER,
    BOND,
    DEPOSIT,
    FUNDS,
    WINDOW,
    Stage,
    bids_of,
    epoch_of,
    register,
)
from tests.ledger.chain.play import Play
from tests.rates import asks

STRANGER = an_address(99)
HOUR = 3_600


@pytest.fixture
def play(stage: Stage) -> Play:
    return Play(stage)


def test_an_honest_batch_accuses_nobody(play: Play) -> None:
    for count in (3, 70):
        file = play.post(play.honest(count))
        assert play.find_fraud_proof(file) is None


def test_a_price_above_the_real_one_but_below_every_ceiling(play: Play) -> None:
    play.post(play.honest())
    receipts = play.receipts()
    receipts[1] = receipts[1]._replace(price=receipts[1].price + 5, charge=receipts[1].charge + 5)
    file = play.post(play.book.honest(receipts))
    play.convict(file, play.find_fraud_proof(file), "proveBadLine")


def test_a_payee_short_changed(play: Play) -> None:
    play.post(play.honest())
    draft = play.honest()
    _move(draft.paid, play.payees[MAKER], play.payees[COMPUTE], 7)
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "provePayout")


def test_a_consumer_debited_for_another(play: Play) -> None:
    draft = play.honest()
    _move(draft.owed, 1, 2, 7)
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "provePayout")


def test_a_cumulative_that_falls(play: Play) -> None:
    play.post(play.honest())
    draft = play.honest()
    _move(draft.paid, play.payees[MAKER], play.payees[COMPUTE], draft.paid[play.payees[MAKER]][1])
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "proveRegression")


def test_a_payee_swapped(play: Play) -> None:
    draft = play.honest()
    index = play.payees[MAKER]
    draft.paid[index] = (STRANGER, draft.paid[index][1])
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "proveWrongPayee")


def test_a_debit_above_the_deposit(play: Play) -> None:
    facts = play.facts()
    units = play.receipts(1)[0].units._replace(output_token=10_000_000)
    play.number = 0
    play.number += 1
    consumer = play.stage.consumers[0]
    receipt = a_receipt(1, play.terms, consumer=consumer.address, gateway=play.stage.operator.address, units=units)
    assert receipt.charge > DEPOSIT
    play.chain.transact(FUNDS, play.chain.calls.deposit(b.LANE, play.stage.consumers[1].address, 10**11))
    file = play.post(play.book.honest([receipt]))
    play.convict(file, play.find_fraud_proof(file, facts), "proveOverdraft")


def test_a_receipt_repeated_under_another_number(play: Play) -> None:
    receipts = play.receipts(3)
    receipts[2] = receipts[0]._replace(seq=3)
    file = play.post(play.book.honest(receipts))
    fraud_proof = play.find_fraud_proof(file)
    assert fraud_proof is not None
    assert fraud_proof.function == "proveDoubleReceipt"
    vault = play.chain.deployment.stake_vault
    key = play.stage.key(play.stage.operator)
    play.chain.transact(key, play.chain.calls.approve(Address(bytes.fromhex(vault[2:])), 1_000))
    play.chain.transact(key, play.chain.calls.to("StakeVault", "stake", 1_000))
    play.send(file, fraud_proof)
    assert play.chain.lane(b.LANE).bond == 0
    assert play.chain.stake(play.stage.operator.address) == (0, 0, 0)
    assert play.chain.balance(play.stage.auditor.address) == 10**12 + BOND // 2 + 500
    with pytest.raises(Reverted, match="AlreadyPunished"):
        play.send(file, fraud_proof)


def test_a_receipt_at_anothers_place(play: Play) -> None:
    receipts = play.receipts(3)
    file = play.post(play.book.honest([receipts[0], receipts[2], receipts[1]]))
    play.convict(file, play.find_fraud_proof(file), "proveMisplacedReceipt")


def test_a_receipt_skipped_between_batches(play: Play) -> None:
    play.post(play.honest())
    play.receipts(1)  # given out, and forgotten
    draft = play.honest()
    draft.first += 1
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "proveBrokenJournal")


def test_a_receipt_replaced_by_a_cheaper_one(play: Play) -> None:
    receipts = play.receipts(3)
    given = receipts[1]  # what the consumer holds, signed
    signature = play.stage.operator.sign(receipt_digest(play.stage.domain, given))
    less = given.units._replace(output_token=1)
    cheaper = a_receipt(2, play.terms, consumer=given.consumer, gateway=given.gateway, units=less)
    file = play.post(play.book.honest([receipts[0], cheaper, receipts[2]]))
    assert play.find_fraud_proof(file) is None, "the file alone is consistent"
    play.convict(file, _omission(file, given, signature), "proveOmittedReceipt")
    assert _omission(file, receipts[0], b"") is None


def test_a_line_dropped_from_a_run(play: Play) -> None:
    draft = play.honest(70)
    maker = play.payees[MAKER]
    run_one = next(line for line in draft.lines if line[:2] == (maker, 1))
    draft.lines.remove(run_one)
    compute = next(n for n, line in enumerate(draft.lines) if line[:2] == (play.payees[COMPUTE], 1))
    party, run, paid = draft.lines[compute]
    draft.lines[compute] = (party, run, paid + run_one[2])
    _move(draft.paid, maker, play.payees[COMPUTE], run_one[2])
    file = play.post(draft)
    first = play.find_fraud_proof(file)
    assert first is not None
    assert (first.function, first.arguments[0]) == ("demandNode", LINES), "the file does not show the lines"
    # the operator opens its lines, down to the one that lies; the auditor has them all then
    made = replace(recompute(file, play.facts()), lines=tuple(draft.lines))
    posted = replace(made, trees=(*made.trees[:3], draft.lines_tree()))
    edge = boundary(posted, (maker, 1))
    play.convict(file, proofs.bad_run(made, maker, 1, MAKER, edge), "proveBadRun")


def test_lines_out_of_order(play: Play) -> None:
    draft = play.honest()
    draft.lines[0], draft.lines[1] = draft.lines[1], draft.lines[0]
    file = play.post(draft)
    tree = draft.lines_tree()
    leaves = [(*draft.lines[rank], tree.proof(rank)) for rank in (0, 1)]
    fraud_proof = FraudProof("Referee", "proveUnsortedLines", (0, *leaves), "out of order")
    play.convict(file, fraud_proof, "proveUnsortedLines")


def test_an_interior_sum_that_lies(play: Play) -> None:
    draft = play.honest()
    draft.bend_roots = _one_atom_more
    file = play.post(draft)
    play.convict(file, play.find_fraud_proof(file), "proveBadSum")


def test_withheld_data(play: Play) -> None:
    draft = play.honest()
    file = play.post(draft)
    fraud_proof = withheld(file.header, NO_ANSWERS)
    play.send(file, fraud_proof)
    play.stage.wait(ANSWER + 1)
    key = demand_key(RECEIPTS, file.header.receipts_root, 0, 0)
    call = play.chain.calls.to_settlement("timeout", 1, 1, words(file.header), key)
    play.chain.transact(FUNDS, call)
    assert play.chain.head(b.LANE).next == 1
    assert play.chain.balance(play.stage.auditor.address) == 10**12 + BOND // 2


def test_a_demand_answered_in_time_changes_nothing(play: Play) -> None:
    file = play.post(play.honest())
    made = recompute(file, play.facts())
    fraud_proof = withheld(file.header, NO_ANSWERS)
    play.send(file, fraud_proof)
    tree = made.trees[0]
    left, right = tree.levels[-2]
    answer = play.chain.calls.to_settlement("answerNode", 1, 1, 0, tree.root, 0, 0, left, right)
    play.chain.transact(play.stage.key(play.stage.operator), answer)
    leaf, proof = tree.leaf(1), tree.proof(1)
    play.send(file, proofs.demand(0, leaf, 1, proof, "show it"))
    receipt = made.receipts[1]
    preimage = pack(receipt)
    opened = play.chain.calls.to_settlement(
        "answerLeaf", 1, 1, 0, leaf, 1, len(proof), preimage, file.terms[receipt.terms]
    )
    play.chain.transact(play.stage.key(play.stage.operator), opened)
    assert play.chain.posted(b.LANE, 1).open == 0
    play.stage.wait(WINDOW)
    play.chain.transact(FUNDS, play.chain.calls.finalize(b.LANE, 1, file.header))


@pytest.mark.parametrize("honest", [True, False])
def test_a_line_that_is_not_the_bid_in_force(play: Play, honest: bool) -> None:
    chain, subject = play.chain, play.terms.subject
    ask = play.terms.lines[1].asks
    bidder = play.stage.key(play.stage.consumers[0])
    party = play.stage.consumers[0].address
    bid = Bid(0, ask if honest else asks(input_token=1, output_token=1))
    chain.transact(bidder, chain.calls.place_bid(subject, Role.compute, bid))
    play.stage.wait(HOUR)
    lines = [*play.terms.lines[:1], Line(party, Role.compute, 0, ask), play.terms.lines[2]]
    play.terms = some_terms(lines=lines)
    play.book.terms = [play.terms]
    play.payees |= register(chain, party)
    play.book.payees = play.payees
    receipts = [receipt._replace(epoch=epoch_of(chain)) for receipt in play.receipts()]
    file = play.post(play.book.honest(receipts))
    history = [PlacedBid(one.bid, one.first, one.until) for one in bids_of(chain, party)]
    fraud_proof = play.find_fraud_proof(file, play.facts({(subject, Role.compute, party): history}))
    if honest:
        assert fraud_proof is None
        return
    play.convict(file, fraud_proof, "proveBadBid")


def test_a_protocol_fee_to_somebody_else(play: Play) -> None:
    play.terms = some_terms(lines=[*play.terms.lines[:2], Line(TREASURY, Role.protocol, 20_000)])
    play.book.terms = [play.terms]
    play.payees |= register(play.chain, TREASURY)
    play.book.payees = play.payees
    file = play.post(play.honest())
    play.convict(file, play.find_fraud_proof(file), "proveBadBid")


def _move(rows: dict[int, tuple[Address, int]], giver: int, taker: int, atoms: int) -> None:
    rows[giver] = (rows[giver][0], rows[giver][1] - atoms)
    rows[taker] = (rows[taker][0], rows[taker][1] + atoms)


def _one_atom_more(roots: Roots) -> Roots:
    """Every total one atom above its children's, so that the contract's own sums agree."""

    def more(word: bytes, atoms: int) -> Digest:
        return Digest(word[:24] + (amount(word) + atoms).to_bytes(8, "big"))

    return Roots(more(roots.receipts, 1), more(roots.payout, 1), more(roots.debit, 1), more(roots.lines, 2))


def _omission(file: BatchFile, receipt: Receipt, signature: bytes) -> FraudProof | None:
    """The proof of who holds a signed receipt that the file replaces; None if the file has it."""
    place = place_of(file.opening.ranges, receipt.gateway, receipt.seq)
    if file.receipts[place] == receipt:
        return None
    tree = Tree.build([receipt_leaf(struct_hash(one), one.charge) for one in file.receipts])
    return proofs.omitted(file, receipt, signature, tree.leaf(place), tree.proof(place))
