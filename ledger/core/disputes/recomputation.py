"""The honest batch that a public file's receipts make: its shares, lines and trees, leaf by leaf.

This is the plain page beside `closing`, which makes the same by the chunk. An auditor compares a posted batch with it,
and takes its proofs from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ledger.core.catalog.bids import Bid, Role, decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt, struct_hash, unpack
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.values.ids import Address, Digest
from ledger.core.values.sum_tree import DEBIT_TAG, PAYOUT_TAG, Tree, Word, leaf, line_leaf, receipt_leaf

RECEIPTS, PAYOUTS, DEBITS, LINES = 0, 1, 2, 3
"""Trees of a header, as the contract numbers them."""
CONSUMER = 1 << 31

Arguments: TypeAlias = tuple[object, ...]
LineLeaf: TypeAlias = tuple[int, int, int, list[Word]]
Row: TypeAlias = tuple[int, Address, int]
NO_LINE: LineLeaf = (0, 0, 0, [])


@dataclass(frozen=True, slots=True)
class PlacedBid:
    """A bid as the book's history has it."""

    bid: Bid
    first: int
    until: int


def in_force(history: Sequence[PlacedBid], epoch: int) -> Bid | None:
    """The bid a history has in force at an epoch."""
    entered = [one for one in history if one.first <= epoch]
    return entered[-1].bid if entered and epoch < entered[-1].until else None


@dataclass(frozen=True, slots=True)
class Answers:
    """What operators opened on chain, by the word that was asked for: true of any tree the word is in."""

    nodes: Mapping[Word, tuple[Word, Word]] = field(default_factory=dict)
    """Node -> its two children."""
    leaves: Mapping[Word, tuple[bytes, bytes]] = field(default_factory=dict)
    """Leaf -> its preimage, and the terms if it is a receipt's."""


NO_ANSWERS = Answers()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the chain says, as far as a batch can contradict it."""

    treasury: Address
    payees: Mapping[int, Address]
    deposits: Mapping[Address, tuple[int, int]]
    """Consumer -> (lane index, most it may have been debited)."""
    bids: Mapping[tuple[Digest, Role, Address], Sequence[PlacedBid]] | None = None
    """Whole histories, oldest first. None: do not judge lines by the book."""
    answers: Answers = NO_ANSWERS
    """What was opened on chain so far."""


@dataclass(frozen=True)
class Recomputation:
    """The honest batch that the file's receipts make; its rows of payouts and debits are the file's own."""

    file: BatchFile
    receipts: tuple[Receipt, ...]
    trees: tuple[Tree, Tree, Tree, Tree]
    lines: tuple[tuple[int, int, int], ...]
    """(party, run, amount), sorted."""


def recompute(file: BatchFile, facts: Facts) -> Recomputation:
    """What the file's receipts and rows make, leaf by leaf. The prices must have been checked."""
    receipts = receipts_of(file)
    lines = tuple(_lines(file, receipts, facts))
    trees = (
        Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts]),
        Tree.build(account_leaves(PAYOUTS, rows(file, PAYOUTS))),
        Tree.build(account_leaves(DEBITS, rows(file, DEBITS))),
        Tree.build([line_leaf(*line) for line in lines]),
    )
    return Recomputation(file, receipts, trees, lines)


def receipts_of(file: BatchFile) -> tuple[Receipt, ...]:
    """In place order."""
    return tuple(unpack(row.tobytes()) for row in file.signed["receipt"])


def rows(file: BatchFile | None, tree: int) -> dict[int, Row]:
    """A file's payouts or debits by index; none without a file."""
    if file is None:
        return {}
    return {row[0]: row for row in (file.payouts if tree == PAYOUTS else file.debits).rows()}


def account_leaves(tree: int, of: Mapping[int, Row]) -> list[Word]:
    """The leaves of a payout or debit tree; position 0 is always empty."""
    tag = PAYOUT_TAG if tree == PAYOUTS else DEBIT_TAG
    leaves = [bytes(32)] * (max(of, default=0) + 1)
    for index, account, cumulative in of.values():
        leaves[index] = leaf(tag, index, account, cumulative)
    return leaves


def account_leaf(tree: Tree, row: Row) -> Arguments:
    """A row as the contract takes it; beyond the tree's width, the empty leaf at 0."""
    index, account, cumulative = row
    return account, cumulative, tree.proof(index if index < 1 << tree.height else 0)


def boundary(made: Recomputation, key: tuple[int, int]) -> tuple[int, LineLeaf, LineLeaf]:
    """Where a (party, run) stands among the lines: the rank of the first not below it, and the leaves around."""
    rank = sum(1 for party, run, _ in made.lines if (party, run) < key)
    return edge(made, min(rank, 1 << made.trees[LINES].height))


def edge(made: Recomputation, rank: int) -> tuple[int, LineLeaf, LineLeaf]:
    """The leaves on both sides of a rank."""
    right = line_at(made, rank) if rank < 1 << made.trees[LINES].height else NO_LINE
    return rank, line_at(made, rank - 1) if rank else NO_LINE, right


def line_at(made: Recomputation, rank: int) -> LineLeaf:
    """The line at a rank with its proof; the empty leaf beyond the last."""
    proof = made.trees[LINES].proof(rank)
    return (*made.lines[rank], proof) if rank < len(made.lines) else (0, 0, 0, proof)


def _lines(file: BatchFile, receipts: Sequence[Receipt], facts: Facts) -> list[tuple[int, int, int]]:
    """Nobody stands at index 0: what would be paid there has no line, and so is missed in the total."""
    indexes = {account: index for index, account in facts.payees.items()}
    totals: Counter[tuple[int, int]] = Counter()
    for place, receipt in enumerate(receipts):
        terms = decode(file.terms[receipt.terms])
        due = price(terms, receipt.units, receipt.passed)
        for (payee, _), paid in zip(payees(terms), due.amounts, strict=True):
            totals[indexes.get(payee, 0), place // RUN] += paid
        consumer, _ = facts.deposits.get(receipt.consumer, (0, 0))
        totals[consumer | CONSUMER, place // RUN] += receipt.charge
    return sorted((party, run, total) for (party, run), total in totals.items() if total and party & ~CONSUMER)
