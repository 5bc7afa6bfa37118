"""Fraud proofs and questions as contract calls: contract, function and arguments, named and shaped as in the ABI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ledger.core.catalog.bids import Role
from ledger.core.disputes import questions
from ledger.core.disputes.facts import History, PlacedBid, bid_in_force, latest_bid
from ledger.core.disputes.questions import TREES
from ledger.core.receipts.receipt import Receipt, pack
from ledger.core.settlement.header import Header, Range
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import ZERO, SumTree, Word

Arguments: TypeAlias = tuple[object, ...]
Stands: TypeAlias = tuple[Word, list[Word]]
"""A word of a tree and its path: the ABI's `Word`."""
NO_BID: Arguments = (0, (0, [], 0))

_OF_NO_BATCH = ("proveDoubleReceipt", "proveUnpostedReceipt")


@dataclass(frozen=True, slots=True)
class FraudProof:
    """A call that proves fraud, or a paid question that leads to one.

    `arguments` follow (lane, id, header), for offences of no single batch (lane). A question has its `subject`.
    """

    contract: str
    function: str
    arguments: Arguments
    why: str
    subject: Digest | None = None

    @property
    def paid(self) -> bool:
        """Whether it is a question, which costs a fee."""
        return self.subject is not None

    @property
    def voids(self) -> bool:
        """Whether it is about one batch, which falls with it."""
        return self.function not in _OF_NO_BATCH

    @property
    def kind(self) -> int:
        """The question's kind, as the contract numbers them."""
        kinds = {"askWords": questions.WORDS, "askReceipt": questions.RECEIPT, "askMandate": questions.MANDATE}
        return kinds[self.function]


def stands_at(tree: SumTree, index: int) -> Stands:
    """The word at an index and its path; beyond the tree's width, the zero word without a path."""
    return (tree.leaf(index), tree.proof(index)) if index < 1 << tree.height else (ZERO, [])


# ---------------------------------------------------------------------- questions


def ask_words(tree: int, depth: int, position: int) -> FraudProof:
    """Ask for the words eight levels below a node."""
    why = f"tree node {position} at depth {depth} of the {TREES[tree]} tree does not follow from what is known"
    subject = questions.subject_of_words(tree, depth, position)
    return FraudProof("Questions", "askWords", (tree, depth, position), why, subject)


def ask_receipt(place: int, why: str) -> FraudProof:
    return FraudProof("Questions", "askReceipt", (place,), why, questions.subject_of_receipt(place))


def ask_mandate(index: int, account: Address, now: Stands, previous: Header | None, before: Stands) -> FraudProof:
    """Ask what lets the lane debit an account as much as it does."""
    cumulative = int.from_bytes(now[0][24:], "big")
    why = f"consumer {index} is debited {cumulative} atoms, which its receipts do not come to"
    arguments = ((index, account, cumulative), now[1], previous, *before)
    return FraudProof(
        "Questions", "askMandate", arguments, why, questions.subject_of_mandate(index, account, cumulative)
    )


# ---------------------------------------------------------------------- Referee


def wrong_account(tree: int, index: int, account: Address, now: Stands) -> FraudProof:
    """A word of payouts or debits is not the leaf of who stands at its index."""
    if tree == questions.PAYOUTS:
        return FraudProof("Referee", "proveWrongPayee", (index, now), f"payee {index} is another account")
    return FraudProof("Referee", "proveWrongConsumer", (index, account, now), f"consumer {index} is another account")


def regression(previous: Header, tree: int, index: int, before: Stands, now: Stands) -> FraudProof:
    was, is_ = (int.from_bytes(word[24:], "big") for word, _ in (before, now))
    why = f"index {index} of the {TREES[tree]} tree fell from {was} to {is_}"
    return FraudProof("Referee", "proveRegression", (previous, tree, index, before, now), why)


def overdraft(index: int, account: Address, most: int, now: Stands) -> FraudProof:
    why = f"consumer {index} is debited {int.from_bytes(now[0][24:], 'big')} of {most}"
    return FraudProof("Referee", "proveOverdraft", (account, now), why)


def debit_after_exit(previous: Header, index: int, account: Address, before: Stands, now: Stands) -> FraudProof:
    why = f"consumer {index} is debited more, though a batch closed after its request and notice"
    return FraudProof("Referee", "proveDebitAfterExit", (previous, account, before, now), why)


def broken_log(previous: Header | None, before: Arguments, now: Stands) -> FraudProof:
    """`before` is the gateway's row in the batch before, as `row` gives it."""
    why = f"the receipts of gateway {before[0]} do not continue from the batch before"
    return FraudProof("Referee", "proveBrokenLog", (previous, before, now), why)


def row(tree: SumTree | None, number: int, key: Address, found: Range | None) -> Arguments:
    """A gateway's row with its path in a gateways tree; without one, that it has no row yet."""
    path = [] if tree is None else stands_at(tree, number)[1]
    return number, key, found.first if found else 0, found.count if found else 0, path


def omitted(previous: Header | None, signed: Arguments, of_gateway: Arguments, stands: Stands, seq: int) -> FraudProof:
    """A receipt signed by its gateway has another leaf at its place, or none."""
    why = f"receipt {seq} of gateway {of_gateway[0]} was left out"
    return FraudProof("Referee", "proveOmittedReceipt", (previous, signed, of_gateway, stands), why)


def stray(place: int, stands: Stands) -> FraudProof:
    why = f"a receipt is at place {place}, after the last"
    return FraudProof("Referee", "proveStrayReceipt", (place, stands), why)


# ---------------------------------------------------------------------- openings


def opening(tree: SumTree, place: int, receipt: Receipt) -> Arguments:
    """A receipt at its place, with its path."""
    return place, pack(receipt), tree.proof(place)


def openings(tree: SumTree, start: int, receipts: Sequence[Receipt | None]) -> Arguments:
    """Consecutive receipts, with the siblings of their range; None where the zero word stands."""
    records = [pack(receipt) if receipt else b"" for receipt in receipts]
    return start, records, tree.range_proof(start, len(receipts)) if receipts else []


# ---------------------------------------------------------------------- PriceJudge


def bad_run(
    party: int, run: int, receipts: Arguments, of: Sequence[Receipt | None], terms: Mapping[Digest, bytes], line: Stands
) -> FraudProof:
    """A posted line differs from what the receipts of its run give."""
    names = sorted({receipt.terms for receipt in of if receipt})
    which = [names.index(receipt.terms) if receipt else 0 for receipt in of]
    why = f"run {run} does not give party {party} the amount of its line"
    arguments = (party, receipts, [terms[name] for name in names], which, line)
    return FraudProof("PriceJudge", "proveBadRun", arguments, why)


def bad_payout(previous: Header | None, index: int, before: Stands, now: Stands, lines: Stands) -> FraudProof:
    """A payee's cumulative amount did not grow by its lines."""
    why = f"index {index} of the payouts tree did not grow by its lines"
    return FraudProof("PriceJudge", "provePayout", (previous, index, before, now, lines), why)


def bid_shown(history: History, role: Role, epoch: int) -> Arguments:
    """A bid as the contract is shown it: in force at the epoch, lapsed before it, or none yet."""
    last = latest_bid(history, epoch)
    if last is None:
        return NO_BID
    return (last.number, _bid(last)) if bid_in_force(history, role, epoch) else (last.number, NO_BID[1])


def _bid(placed: PlacedBid) -> Arguments:
    return placed.bid.ratio_ppm, list(placed.bid.asks), placed.first
