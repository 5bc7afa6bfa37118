"""The honest batch: the shares, lines and trees that follow from a public file's receipts, leaf by leaf.

The plain module beside `closing`, which computes the same in chunks. An auditor compares a posted batch with it and
takes its proofs from it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ledger.core.catalog.bids import Bid, Role, decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import CONSUMER_BIT, DEBIT_TAG, PAYOUT_TAG, Tree, Word, leaf, line_leaf, receipt_leaf

RECEIPTS, PAYOUTS, DEBITS, LINES = 0, 1, 2, 3
"""The trees of a header, as the contract numbers them."""

Arguments: TypeAlias = tuple[object, ...]
LineLeaf: TypeAlias = tuple[int, int, int, list[Word]]
Row: TypeAlias = tuple[int, Address, int]
NO_LINE: LineLeaf = (0, 0, 0, [])


@dataclass(frozen=True, slots=True)
class PlacedBid:
    """A bid in the book's history, in force in epochs [first, until)."""

    bid: Bid
    first: int
    until: int


def in_force(history: Sequence[PlacedBid], epoch: int) -> Bid | None:
    """The bid of a history that is in force at an epoch."""
    entered = [one for one in history if one.first <= epoch]
    return entered[-1].bid if entered and epoch < entered[-1].until else None


@dataclass(frozen=True, slots=True)
class Answers:
    """Tree nodes opened on chain, by the requested word. Each holds in every tree that contains the word."""

    children: Mapping[Word, tuple[Word, Word]] = field(default_factory=dict)
    """Tree node -> its two children."""
    leaves: Mapping[Word, tuple[bytes, bytes]] = field(default_factory=dict)
    """Leaf -> its preimage, and the terms of a receipt's leaf."""


NO_ANSWERS = Answers()


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts on chain that a batch can contradict."""

    treasury: Address
    payees: Mapping[int, Address]
    deposits: Mapping[Address, tuple[int, int]]
    """Consumer -> (index in the lane, most that it may have been debited)."""
    bids: Mapping[tuple[Digest, Role, Address], Sequence[PlacedBid]] | None = None
    """Whole histories, oldest first. None: do not compare lines with bids."""
    answers: Answers = NO_ANSWERS
    """Tree nodes opened on chain so far."""


@dataclass(frozen=True)
class Recomputation:
    """The honest batch of the file's receipts. Its rows of payouts and debits are the file's own."""

    file: BatchFile
    receipts: Sequence[Receipt]
    trees: tuple[Tree, Tree, Tree, Tree]
    lines: tuple[tuple[int, int, int], ...]
    """(party, run, amount), sorted."""


def recompute(file: BatchFile, facts: Facts) -> Recomputation:
    """Recompute a file's trees and lines. Its prices must have been checked before."""
    receipts = file.receipts
    lines = tuple(_lines(file, receipts, facts))
    trees = (
        Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts]),
        Tree.build(account_leaves(PAYOUTS, rows(file, PAYOUTS))),
        Tree.build(account_leaves(DEBITS, rows(file, DEBITS))),
        Tree.build([line_leaf(*line) for line in lines]),
    )
    return Recomputation(file, receipts, trees, lines)


def rows(file: BatchFile | None, tree: int) -> dict[int, Row]:
    """The payouts or debits of a file, by index; empty without a file."""
    if file is None:
        return {}
    return {row[0]: row for row in (file.payouts if tree == PAYOUTS else file.debits).rows()}


def account_leaves(tree: int, of: Mapping[int, Row]) -> list[Word]:
    """The leaves of a payout or debit tree. Index 0 is always empty."""
    tag = PAYOUT_TAG if tree == PAYOUTS else DEBIT_TAG
    leaves = [bytes(32)] * (max(of, default=0) + 1)
    for index, account, cumulative in of.values():
        leaves[index] = leaf(tag, index, account, cumulative)
    return leaves


def account_leaf(tree: Tree, row: Row) -> Arguments:
    """A row as the contract takes it. Beyond the tree's width, with the proof of the empty leaf at 0."""
    index, account, cumulative = row
    return account, cumulative, tree.proof(index if index < 1 << tree.height else 0)


def boundary(honest: Recomputation, key: tuple[int, int]) -> tuple[int, LineLeaf, LineLeaf]:
    """The position of (party, run) among the lines: the rank of the first not below it, and the leaves around it."""
    rank = sum(1 for party, run, _ in honest.lines if (party, run) < key)
    return edge(honest, min(rank, 1 << honest.trees[LINES].height))


def edge(honest: Recomputation, rank: int) -> tuple[int, LineLeaf, LineLeaf]:
    """The leaves on both sides of a rank."""
    right = line_at(honest, rank) if rank < 1 << honest.trees[LINES].height else NO_LINE
    return rank, line_at(honest, rank - 1) if rank else NO_LINE, right


def line_at(honest: Recomputation, rank: int) -> LineLeaf:
    """The line at a rank and its proof; the empty leaf after the last line."""
    proof = honest.trees[LINES].proof(rank)
    return (*honest.lines[rank], proof) if rank < len(honest.lines) else (0, 0, 0, proof)


def _lines(file: BatchFile, receipts: Sequence[Receipt], facts: Facts) -> list[tuple[int, int, int]]:
    """Lines (party, run, amount), sorted. Unknown parties have index 0, which has no lines: the total is too low."""
    indexes = {account: index for index, account in facts.payees.items()}
    totals: Counter[tuple[int, int]] = Counter()
    for place, receipt in enumerate(receipts):
        terms = decode(file.terms[receipt.terms])
        due = price(terms, receipt.units, receipt.subcall_total)
        for (payee, _), paid in zip(payees(terms), due.amounts, strict=True):
            totals[indexes.get(payee, 0), place // RUN] += paid
        consumer, _ = facts.deposits.get(receipt.consumer, (0, 0))
        totals[consumer | CONSUMER_BIT, place // RUN] += receipt.charge
    return sorted((party, run, total) for (party, run), total in totals.items() if total and party & ~CONSUMER_BIT)
