"""Proofs of payouts and debits, read from stored tree nodes, one row a level."""

from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.values.ids import Address
from ledger.core.values.sum_tree import EMPTY, ZERO, Word, amount
from ledger.store.chain import lanes, parties
from ledger.store.settlement import tree_nodes
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
    wanted: list[tree_nodes.Position] = []
    end = start + count
    for level in range(height):
        wanted += [(level, start - 1)] if start & 1 else []
        wanted += [(level, end)] if end & 1 else []
        start, end = start >> 1, (end + 1) >> 1
    known = tree_nodes.at(session, batch.lane, tree_nodes.PAYOUT, batch.number, wanted)
    return [known.get(position) or EMPTY[position[0]] for position in wanted]


def _proof(session: Session, batch: Batch, tree: int, index: int, account: Address) -> Proof | None:
    height = tree_nodes.height(session, batch.lane, tree, batch.number)
    if index >> height:
        return None
    positions = [(0, index), *((level, (index >> level) ^ 1) for level in range(height))]
    known = tree_nodes.at(session, batch.lane, tree, batch.number, positions)
    word = known.get((0, index)) or ZERO
    siblings = tuple(known.get(position) or EMPTY[position[0]] for position in positions[1:])
    return Proof(index, account, amount(word), word, siblings)
