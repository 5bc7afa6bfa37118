"""No proof convicts an honest batch, however its leaves and nodes are presented."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from ledger.core.disputes.recomputation import (
    DEBITS,
    PAYOUTS,
    RECEIPTS,
    account_leaf,
    boundary,
    line_at,
    recompute,
    rows,
)

from ledger.chain.errors import Reverted
from ledger.core.disputes import proofs
from ledger.core.disputes.proofs import FraudProof
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.values.ids import ZERO_ADDRESS, Address
from ledger.core.values.sum_tree import CONSUMER_BIT
from tests.builders import MAKER
from tests.ledger.chain.conftest import Stage
from tests.ledger.chain.play import Play

NOTHING: tuple[Address, int, list[bytes]] = (ZERO_ADDRESS, 0, [])


@pytest.fixture
def play(stage: Stage) -> Play:
    return Play(stage)


Proof = Callable[[Play, BatchFile], FraudProof]


def _a_right_price(play: Play, file: BatchFile) -> FraudProof:
    made = recompute(file, play.facts())
    return FraudProof("Referee", "proveBadLine", (proofs.opening(file, made.receipts[3], 3, made.trees[0]),), "")


def _a_right_payout(play: Play, file: BatchFile) -> FraudProof:
    made, index = recompute(file, play.facts()), play.payees[MAKER]
    row = account_leaf(made.trees[PAYOUTS], rows(file, PAYOUTS)[index])
    return proofs.bad_payout(made, None, PAYOUTS, index, NOTHING, row)


def _a_right_run(play: Play, file: BatchFile) -> FraudProof:
    made, party = recompute(file, play.facts()), 1 | CONSUMER_BIT
    return proofs.bad_run(made, party, 1, play.stage.consumers[0].address, boundary(made, (party, 1)))


def _a_receipt_at_its_place(play: Play, file: BatchFile) -> FraudProof:
    made = recompute(file, play.facts())
    signature = file.signed.signature(1)
    return proofs.omitted(file, made.receipts[1], signature, made.trees[0].leaf(1), made.trees[0].proof(1))


def _a_node_instead_of_a_leaf(play: Play, file: BatchFile) -> FraudProof:
    """The root's right child stands at index 1, and is not receipt 1: but it is no leaf."""
    made = recompute(file, play.facts())
    left, right = made.trees[0].levels[-2]
    signature = file.signed.signature(1)
    return proofs.omitted(file, made.receipts[1], signature, right, [left])


def _a_consumers_lines_for_nobodys_place(play: Play, file: BatchFile, tree: int) -> FraudProof:
    """Index 2^31 + 1 has no row; its lines would be those of consumer 1."""
    made = recompute(file, play.facts())
    empty = (ZERO_ADDRESS, 0, made.trees[tree].proof(0))
    edges = boundary(made, (1 | CONSUMER_BIT, 0)), boundary(made, (2 | CONSUMER_BIT, 0))
    return FraudProof("Referee", "provePayout", (None, tree, 1 | CONSUMER_BIT, NOTHING, empty, *edges), "")


def _lines_in_order(play: Play, file: BatchFile) -> FraudProof:
    made = recompute(file, play.facts())
    return proofs.unsorted(2, line_at(made, 2), line_at(made, 3))


def _the_last_line_and_nothing(play: Play, file: BatchFile) -> FraudProof:
    made = recompute(file, play.facts())
    last = len(made.lines) - 1
    return proofs.unsorted(last, line_at(made, last), line_at(made, last + 1))


def _leaves_of_one_depth(play: Play, file: BatchFile) -> FraudProof:
    """The receipts tree's empty leaf, at the height that so many calls need."""
    made = recompute(file, play.facts())
    empty = (b"", b"", 71, made.trees[0].proof(71))
    return proofs.uneven(RECEIPTS, empty, empty)


HONEST: list[tuple[Proof, str]] = [
    (_a_right_price, "NotProven"),
    (_a_right_payout, "NotProven"),
    (_a_right_run, "NotProven"),
    (_a_receipt_at_its_place, "NotProven"),
    (_a_node_instead_of_a_leaf, "ProofInvalid"),
    (partial(_a_consumers_lines_for_nobodys_place, tree=PAYOUTS), "ProofInvalid"),
    (partial(_a_consumers_lines_for_nobodys_place, tree=DEBITS), "ProofInvalid"),
    (_lines_in_order, "NotProven"),
    (_the_last_line_and_nothing, "NotProven"),
    (_leaves_of_one_depth, "NotProven"),
]


def test_no_proof_convicts_an_honest_batch(play: Play) -> None:
    file = play.post(play.honest(70))
    for proof, refusal in HONEST:
        with pytest.raises(Reverted, match=refusal):
            play.send(file, proof(play, file))
