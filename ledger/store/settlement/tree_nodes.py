"""Nodes of the cumulative trees, version by version: a batch writes only what it changed.

The tree of batch n is, at each place, the newest node of a batch up to n; a place never written is the empty node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.values.ids import Digest
from ledger.core.values.sum_tree import Word, positions_to_read, rehash
from ledger.store.driver import column, connection_of

if TYPE_CHECKING:  # closing brings its compiler, and a gateway that reads proofs needs none
    from ledger.core.settlement.closing import Closed

PAYOUT, DEBIT = 1, 2
Place = tuple[int, int]
"""Level (0 is the leaves) and place within it."""


def at(session: Session, lane: int, tree: int, number: int, places: Iterable[Place]) -> dict[Place, Digest]:
    """The nodes at these places as of a batch; places never written are left out."""
    wanted = sorted(set(places))
    rows = session.execute(
        text(
            "SELECT w.level, w.place, n.word FROM unnest(cast(string_to_array(:levels, ',') AS bigint[]), "
            "cast(string_to_array(:places, ',') AS bigint[])) AS w(level, place) CROSS JOIN LATERAL "
            "(SELECT word FROM nodes WHERE lane = :lane AND tree = :tree AND level = w.level AND place = w.place "
            "AND number <= :number ORDER BY number DESC LIMIT 1) n"
        ),
        {
            "levels": column(level for level, _ in wanted),
            "places": column(place for _, place in wanted),
            "lane": lane,
            "tree": tree,
            "number": number,
        },
    )
    return {(level, place): Digest(bytes(word)) for level, place, word in rows}


def leaves(session: Session, lane: int, tree: int, number: int) -> list[tuple[int, int]]:
    """Every leaf as of a batch: place and cumulative amount (the sum is the word's low 64 bits), by place."""
    rows = session.execute(
        text(
            "SELECT DISTINCT ON (place) place, word FROM nodes WHERE lane = :lane AND tree = :tree AND level = 0 "
            "AND number <= :number ORDER BY place, number DESC"
        ),
        {"lane": lane, "tree": tree, "number": number},
    )
    return [(place, int.from_bytes(bytes(word)[24:], "big")) for place, word in rows]


def written(session: Session, lane: int, tree: int, number: int) -> dict[int, int]:
    """The leaves a batch changed: place and cumulative amount."""
    query = "SELECT place, word FROM nodes WHERE lane = :lane AND tree = :tree AND level = 0 AND number = :number"
    rows = session.execute(text(query), {"lane": lane, "tree": tree, "number": number})
    return {place: int.from_bytes(bytes(word)[24:], "big") for place, word in rows}


def height(session: Session, lane: int, tree: int, number: int) -> int:
    """How many levels above the leaves the tree has as of a batch."""
    query = "SELECT coalesce(max(level), 0) FROM nodes WHERE lane = :lane AND tree = :tree AND number <= :number"
    found = session.execute(text(query), {"lane": lane, "tree": tree, "number": number}).scalar_one()
    return int(found)


def write(session: Session, lane: int, tree: int, number: int, words: Mapping[Place, bytes]) -> None:
    """Store what a batch changed."""
    statement = "COPY nodes (lane, tree, level, place, number, word) FROM STDIN"
    with connection_of(session).cursor() as cursor, cursor.copy(statement) as copy:
        for (level, place), word in sorted(words.items()):
            copy.write(f"{lane}\t{tree}\t{level}\t{place}\t{number}\t\\\\x{word.hex()}\n")


def grow(session: Session, lane: int, before: int, number: int, closed: Closed) -> None:
    """Store what a batch that follows batch `before` (0: none) changed in both trees; proofs are read from it."""
    changed = (
        (PAYOUT, closed.payout_changes, closed.header.payout_root),
        (DEBIT, closed.debit_changes, closed.header.debit_root),
    )
    for tree, changes, root in changed:
        if changes:
            old = height(session, lane, tree, before)
            top, places = positions_to_read(changes, old)
            known: dict[Place, Word] = dict(at(session, lane, tree, before, places))
            words = rehash(changes, old, top, known)
            assert words[top, 0] == root, "the tree in the store is the tree in the header"
            write(session, lane, tree, number, words)


def drop(session: Session, lane: int, number: int) -> None:
    """Forget the nodes of this batch and of all after it: it was voided."""
    session.execute(
        text("DELETE FROM nodes WHERE lane = :lane AND number >= :number"), {"lane": lane, "number": number}
    )
