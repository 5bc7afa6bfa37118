"""Nodes of the cumulative trees, version by version: a batch writes only the nodes it changed. In the tree of batch n
each node is the newest row of a batch up to n; a node never written is the empty node.

Of a batch's receipts tree what is above blocks of 1,024 receipts is kept: two rows a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, func, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import Session, col, select

from ledger.core.values.ids import Digest, Lane
from ledger.core.values.sum_tree import Word, positions_to_read, rehash
from ledger.store.session import change, column, connection_of
from ledger.store.settlement.tables import TreeNodeRow as Row

if TYPE_CHECKING:  # closing imports numba, and a gateway that reads proofs does not need it
    from ledger.core.settlement.closing import Closed

PAYOUT, DEBIT = 1, 2
RECEIPTS = 3
"""A batch's own tree: its receipts are in no other batch, so every row is of the batch that has its number."""
Position = tuple[int, int]
"""Level (0 is the leaves), and index within it."""

_AT = text(  # one index lookup for each of many positions: as Core statements, a lateral join of arrays is longer
    "SELECT w.level, w.index, n.word FROM unnest(cast(string_to_array(:levels, ',') AS bigint[]), "
    "cast(string_to_array(:indices, ',') AS bigint[])) AS w(level, index) CROSS JOIN LATERAL "
    "(SELECT word FROM tree_nodes WHERE lane = :lane AND tree = :tree AND level = w.level AND index = w.index "
    "AND number <= :number ORDER BY number DESC LIMIT 1) n"
)


def at(session: Session, lane: Lane, tree: int, number: int, positions: Iterable[Position]) -> dict[Position, Digest]:
    """The nodes at these positions as of a batch; those never written are left out."""
    wanted = sorted(set(positions))
    levels, indices = column(level for level, _ in wanted), column(index for _, index in wanted)
    values = {"levels": levels, "indices": indices, "lane": lane, "tree": tree, "number": number}
    return {(level, index): Digest(bytes(word)) for level, index, word in session.execute(_AT, values)}


def leaves(session: Session, lane: Lane, tree: int, number: int) -> list[tuple[int, int]]:
    """Every leaf as of a batch: index and cumulative amount (the word's low 64 bits), by index."""
    query = select(Row.index, Row.word).ext(distinct_on(col(Row.index)))
    query = query.where(*_of(lane, tree), col(Row.level) == 0, col(Row.number) <= number)
    rows = session.exec(query.order_by(col(Row.index), col(Row.number).desc()))
    return [(index, int.from_bytes(word[24:], "big")) for index, word in rows]


def written(session: Session, lane: Lane, tree: int, number: int) -> dict[int, int]:
    """The leaves a batch changed: index and cumulative amount."""
    query = select(Row.index, Row.word).where(*_of(lane, tree), col(Row.level) == 0, col(Row.number) == number)
    return {index: int.from_bytes(word[24:], "big") for index, word in session.exec(query)}


def height(session: Session, lane: Lane, tree: int, number: int) -> int:
    """The tree's number of levels above the leaves as of a batch."""
    query = select(func.max(Row.level)).where(*_of(lane, tree), col(Row.number) <= number)
    return session.exec(query).one() or 0


def write(session: Session, lane: Lane, tree: int, number: int, words: Mapping[Position, bytes]) -> None:
    statement = "COPY tree_nodes (lane, tree, level, index, number, word) FROM STDIN"
    ours = f"\\\\x{lane.hex()}"
    with connection_of(session).cursor() as cursor, cursor.copy(statement) as copy:
        for (level, index), word in sorted(words.items()):
            copy.write(f"{ours}\t{tree}\t{level}\t{index}\t{number}\t\\\\x{word.hex()}\n")


def grow(session: Session, lane: Lane, before: int, number: int, closed: Closed) -> None:
    """Store what a batch that follows batch `before` (0: none) changed in both cumulative trees, and of its receipts
    tree what is above blocks of receipts. Proofs are read from it.
    """
    changed = (
        (PAYOUT, closed.payout_changes, closed.header.payout_root),
        (DEBIT, closed.debit_changes, closed.header.debit_root),
    )
    for tree, changes, root in changed:
        if changes:
            old = height(session, lane, tree, before)
            top, positions = positions_to_read(changes, old)
            known: dict[Position, Word] = dict(at(session, lane, tree, before, positions))
            words = rehash(changes, old, top, known)
            assert words[top, 0] == root, "the tree in the store is the tree in the header"
            write(session, lane, tree, number, words)
    write(session, lane, RECEIPTS, number, closed.receipt_nodes)


def of_receipts(session: Session, lane: Lane, number: int, positions: Iterable[Position]) -> dict[Position, Word]:
    """The nodes of a batch's receipts tree that are kept at these positions: those above its blocks."""
    wanted = tuple_(col(Row.level), col(Row.index)).in_(sorted(set(positions)))
    query = select(Row.level, Row.index, Row.word).where(*_of(lane, RECEIPTS), col(Row.number) == number, wanted)
    return {(level, index): bytes(word) for level, index, word in session.exec(query)}


def drop(session: Session, lane: Lane, number: int) -> None:
    """Delete the nodes of this batch and of all after it: it is void."""
    change(session, delete(Row).where(col(Row.lane) == lane, col(Row.number) >= number))


def _of(lane: Lane, tree: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Row.lane) == lane, col(Row.tree) == tree
