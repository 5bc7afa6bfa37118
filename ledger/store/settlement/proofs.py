"""Proofs of payouts, debits and receipts, read from stored tree nodes: one row a level, and a block of receipts."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement import header
from ledger.core.settlement.header import Range, place_of
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.sum_tree import EMPTY, ZERO, TreePosition, Word, above, amount, boundary, receipt_leaf
from ledger.store.chain import lanes, parties
from ledger.store.receipts import receipts
from ledger.store.settlement import batches, tree_nodes
from ledger.store.settlement.batches import Batch


@dataclass(frozen=True, slots=True)
class Proof:
    """A leaf of a batch's cumulative tree and its siblings, leaf level first."""

    index: int
    account: Address
    cumulative: int
    word: Word
    siblings: tuple[Word, ...]


def payout(session: Session, batch: Batch, payee: Address) -> Proof | None:
    """A payee's total earnings up to this batch; None for one without an index."""
    index = parties.index_of(session, payee, batch.lane)
    return _proof(session, batch, tree_nodes.PAYOUT, index, payee) if index is not None else None


def debit(session: Session, batch: Batch, consumer: Address) -> Proof | None:
    """A consumer's total debits up to this batch; None for one that never deposited.

    A consumer beyond the tree's width was debited nothing: no siblings prove it.
    """
    known = lanes.get_consumer(session, batch.lane, consumer)
    if known is None:
        return None
    found = _proof(session, batch, tree_nodes.DEBIT, known.index, consumer)
    return found or Proof(known.index, consumer, 0, ZERO, ())


def payout_range(session: Session, batch: Batch, start: int, count: int) -> list[Word]:
    """The boundary siblings of payees [start, start + count), per level left then right."""
    height = tree_nodes.height(session, batch.lane, tree_nodes.PAYOUT, batch.number)
    wanted = boundary(start, count, height)
    known = tree_nodes.at(session, batch.lane, tree_nodes.PAYOUT, batch.number, wanted)
    return [known.get(position) or EMPTY[position[0]] for position in wanted]


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """Receipts of a batch at the places from `first` on, one after another, as its file has them: sub-calls and, last,
    the receipt that counts them. `siblings` are those at the boundaries of their range, per level left then right.
    `barred` are the places among them whose leaf is the zero word.
    """

    first: int
    signed: tuple[bytes, ...]
    barred: tuple[int, ...]
    ranges: tuple[Range, ...]
    siblings: tuple[Word, ...]


def receipt(session: Session, batch: Batch, one: Receipt) -> ReceiptProof | None:
    """The proof of a receipt that a batch holds, with its sub-calls. None where the tree nodes above its block were not
    kept: the batch was closed by an older version. Reads and hashes two blocks of receipts at most.
    """
    ranges = tuple(batches.ranges(session, batch.lane, batch.number))
    place = place_of(ranges, one.gateway, one.seq)
    first, end = place - one.subcalls, place + 1
    calls, height = sum(row.count for row in ranges), batch.header.heights.receipts
    begin = first >> header.BLOCK << header.BLOCK
    stop = min(calls, (place >> header.BLOCK) + 1 << header.BLOCK)
    barred = set(batch.barred[bisect_left(batch.barred, begin) : bisect_left(batch.barred, stop)])
    words: Sequence[Word] = [
        ZERO if at in barred else receipt_leaf(batch.lane, hashed, charge)
        for at, (hashed, charge) in enumerate(_leaves(session, batch.lane, ranges, begin, stop), begin)
    ]
    wanted = boundary(first, end - first, height)
    known: dict[TreePosition, Word] = {}
    for level in range(min(height, header.BLOCK)):
        known |= {(level, (begin >> level) + at): word for at, word in enumerate(words)}
        words = above(words, level)
    known |= tree_nodes.of_receipts(session, batch.lane, batch.number, (at for at in wanted if at[0] >= header.BLOCK))
    if any(at not in known and at[1] << at[0] < calls for at in wanted):
        return None
    return ReceiptProof(
        first,
        tuple(receipts.signed_records(session, batch.lane, one.gateway, one.seq - one.subcalls, one.seq)),
        tuple(sorted(at for at in barred if first <= at < end)),
        ranges,
        tuple(known.get(at) or EMPTY[at[0]] for at in wanted),
    )


def _leaves(
    session: Session, lane: Lane, ranges: Sequence[Range], begin: int, end: int
) -> Iterator[tuple[Digest, int]]:
    """Digest and charge of the receipts at places [begin, end)."""
    before = 0
    for row in sorted(ranges):
        first, last = max(begin, before), min(end, before + row.count)
        if first < last:
            seq = row.first + first - before
            yield from receipts.leaves(session, lane, row.gateway, seq, seq + last - first - 1)
        before += row.count


def _proof(session: Session, batch: Batch, tree: int, index: int, account: Address) -> Proof | None:
    height = tree_nodes.height(session, batch.lane, tree, batch.number)
    if index >> height:
        return None
    positions = [(0, index), *((level, (index >> level) ^ 1) for level in range(height))]
    known = tree_nodes.at(session, batch.lane, tree, batch.number, positions)
    word = known.get((0, index)) or ZERO
    siblings = tuple(known.get(position) or EMPTY[position[0]] for position in positions[1:])
    return Proof(index, account, amount(word), word, siblings)
