"""No proof convicts an honest batch, however its leaves and nodes are presented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.chain.errors import Reverted
from ledger.core.catalog.bids import encode, terms_id
from ledger.core.disputes import proofs
from ledger.core.disputes.proofs import FraudProof, Stands, row, stands_at
from ledger.core.disputes.questions import DEBITS, GATEWAYS, LINES, PAYOUTS, RECEIPTS
from ledger.core.receipts.receipt import pack
from ledger.core.settlement.header import RUN
from ledger.core.values.ids import ZERO_ADDRESS, Digest
from ledger.core.values.sum_tree import ZERO, SumTree
from tests.builders import MAKER
from tests.ledger.chain.conftest import Stage
from tests.ledger.chain.lies import Draft
from tests.ledger.chain.play import Play

NOTHING: Stands = (ZERO, [])
CALLS = 70


@pytest.fixture
def play(stage: Stage) -> Play:
    return Play(stage)


Proof = Callable[[Play, Draft], FraudProof]


def _a_right_price(play: Play, draft: Draft) -> FraudProof:
    shown = proofs.opening(draft.tree(RECEIPTS), 3, draft.receipts[3])
    return FraudProof("PriceJudge", "proveBadPrice", (shown, encode(play.terms)), "")


def _another_price_of_other_terms(play: Play, draft: Draft) -> FraudProof:
    """Terms that the receipt does not name."""
    shown = proofs.opening(draft.tree(RECEIPTS), 3, draft.receipts[3])
    other = replace(play.terms, subject=Digest(bytes(31) + b"\x63"))
    return FraudProof("PriceJudge", "proveBadPrice", (shown, encode(other)), "")


def _a_right_payout(play: Play, draft: Draft) -> FraudProof:
    index, lines = play.payees[MAKER], draft.tree(LINES)
    level = draft.heights.runs
    grown = lines.at(level, index), lines.proof(index, level)
    return proofs.bad_payout(None, index, NOTHING, stands_at(draft.tree(PAYOUTS), index), grown)


def _a_payout_by_another_node(play: Play, draft: Draft) -> FraudProof:
    """The party's first run instead of the node over all its runs."""
    index, lines = play.payees[MAKER], draft.tree(LINES)
    run = stands_at(lines, index << draft.heights.runs)
    return proofs.bad_payout(None, index, NOTHING, stands_at(draft.tree(PAYOUTS), index), run)


def _the_run(play: Play, draft: Draft, run: int, places: range, line: Stands) -> FraudProof:
    of = [draft.receipts[place] for place in places]
    shown = proofs.openings(draft.tree(RECEIPTS), places.start, of)
    bodies = {terms_id(encode(play.terms)): encode(play.terms)}
    return proofs.bad_run(play.payees[MAKER], run, shown, of, bodies, line)


def _line_of(play: Play, draft: Draft, run: int) -> Stands:
    return stands_at(draft.tree(LINES), play.payees[MAKER] << draft.heights.runs | run)


def _a_right_run(play: Play, draft: Draft) -> FraudProof:
    return _the_run(play, draft, 1, range(RUN, 2 * RUN), _line_of(play, draft, 1))


def _the_last_run(play: Play, draft: Draft) -> FraudProof:
    return _the_run(play, draft, 4, range(4 * RUN, CALLS), _line_of(play, draft, 4))


def _a_run_that_is_shown_in_part(play: Play, draft: Draft) -> FraudProof:
    return _the_run(play, draft, 1, range(RUN, 2 * RUN - 1), _line_of(play, draft, 1))


def _a_run_against_the_line_of_another(play: Play, draft: Draft) -> FraudProof:
    return _the_run(play, draft, 1, range(RUN, 2 * RUN), _line_of(play, draft, 4))


def _omitted(draft: Draft, stands: Stands) -> FraudProof:
    """Receipt 2, at place 1, is said to be left out."""
    given, file = draft.receipts[1], draft.book.files[-1]
    signature = file.signed.signature(1)
    (of,) = file.opening.ranges
    shown = row(draft.tree(GATEWAYS), of.number, of.gateway, of)
    return proofs.omitted(None, (pack(given), signature), shown, stands, given.seq)


def _a_receipt_at_its_place(play: Play, draft: Draft) -> FraudProof:
    return _omitted(draft, stands_at(draft.tree(RECEIPTS), 1))


def _a_node_instead_of_a_leaf(play: Play, draft: Draft) -> FraudProof:
    """The root's right child stands at index 1, and is not receipt 1: but it is no leaf."""
    tree = draft.tree(RECEIPTS)
    left, right = (tree.at(tree.height - 1, side) for side in (0, 1))
    return _omitted(draft, (right, [left]))


def _a_place_that_is_not_the_receipts(play: Play, draft: Draft) -> FraudProof:
    return _omitted(draft, stands_at(draft.tree(RECEIPTS), 2))


def _beyond_the_last_receipt(play: Play, draft: Draft) -> FraudProof:
    return proofs.stray(CALLS, stands_at(draft.tree(RECEIPTS), CALLS))


def _a_receipt_as_a_stray_one(play: Play, draft: Draft) -> FraudProof:
    return proofs.stray(CALLS - 1, stands_at(draft.tree(RECEIPTS), CALLS - 1))


def _a_right_log(play: Play, draft: Draft) -> FraudProof:
    before = row(None, 1, play.stage.operator.address, None)
    return proofs.broken_log(None, before, stands_at(draft.tree(GATEWAYS), 1))


def _a_right_account(tree: int) -> Proof:
    def proof(play: Play, draft: Draft) -> FraudProof:
        index = play.payees[MAKER] if tree == PAYOUTS else 1
        account = play.stage.consumers[0].address
        return proofs.wrong_account(tree, index, account, stands_at(draft.tree(tree), index))

    return proof


def _an_index_beyond_the_tree(tree: int) -> Proof:
    """The widest index that there is, with a path that leads elsewhere."""

    def proof(play: Play, draft: Draft) -> FraudProof:
        real: SumTree = draft.tree(tree)
        return proofs.wrong_account(tree, 1 | 1 << 31, ZERO_ADDRESS, stands_at(real, 1))

    return proof


def _a_debit_within_the_deposit(play: Play, draft: Draft) -> FraudProof:
    account = play.stage.consumers[0].address
    return proofs.overdraft(1, account, 0, stands_at(draft.tree(DEBITS), 1))


def _a_debit_of_another_as_ones_own(play: Play, draft: Draft) -> FraudProof:
    account = play.stage.consumers[0].address
    return proofs.overdraft(1, account, 0, stands_at(draft.tree(DEBITS), 2))


def _two_calls_as_one(play: Play, draft: Draft) -> FraudProof:
    tree = draft.tree(RECEIPTS)
    pair = tuple(proofs.opening(tree, place, draft.receipts[place]) for place in (0, 1))
    return FraudProof("Referee", "proveDoubleCall", pair, "")


def _one_call_twice(play: Play, draft: Draft) -> FraudProof:
    shown = proofs.opening(draft.tree(RECEIPTS), 0, draft.receipts[0])
    return FraudProof("Referee", "proveDoubleCall", (shown, shown), "")


def _a_receipt_in_time(play: Play, draft: Draft) -> FraudProof:
    shown = proofs.opening(draft.tree(RECEIPTS), 0, draft.receipts[0])
    return FraudProof("Referee", "proveReceiptTime", (shown,), "")


def _a_plain_call_without_sub_calls(play: Play, draft: Draft) -> FraudProof:
    segment = proofs.openings(draft.tree(RECEIPTS), 5, [draft.receipts[5]])
    return FraudProof("Referee", "proveBadSubcalls", (segment,), "")


HONEST: list[tuple[Proof, str]] = [
    (_a_right_price, "NotProven"),
    (_another_price_of_other_terms, "ProofInvalid"),
    (_a_right_payout, "NotProven"),
    (_a_payout_by_another_node, "ProofInvalid"),
    (_a_right_run, "NotProven"),
    (_the_last_run, "NotProven"),
    (_a_run_that_is_shown_in_part, "ProofInvalid"),
    (_a_run_against_the_line_of_another, "ProofInvalid"),
    (_a_receipt_at_its_place, "NotProven"),
    (_a_node_instead_of_a_leaf, "ProofInvalid"),
    (_a_place_that_is_not_the_receipts, "ProofInvalid"),
    (_beyond_the_last_receipt, "NotProven"),
    (_a_receipt_as_a_stray_one, "NotProven"),
    (_a_right_log, "NotProven"),
    (_a_right_account(PAYOUTS), "NotProven"),
    (_a_right_account(DEBITS), "NotProven"),
    (_an_index_beyond_the_tree(PAYOUTS), "ProofInvalid"),
    (_an_index_beyond_the_tree(DEBITS), "ProofInvalid"),
    (_a_debit_within_the_deposit, "NotProven"),
    (_a_debit_of_another_as_ones_own, "ProofInvalid"),
    (_two_calls_as_one, "NotProven"),
    (_one_call_twice, "NotProven"),
    (_a_receipt_in_time, "NotProven"),
    (_a_plain_call_without_sub_calls, "NotProven"),
]


def test_no_proof_convicts_an_honest_batch(play: Play) -> None:
    file = play.post(play.honest(CALLS))
    (draft,) = play.drafts
    for proof, refusal in HONEST:
        with pytest.raises(Reverted, match=refusal):
            play.send(file, proof(play, draft))
