"""Indexed logs: which ones stand, and what money they moved, so that a reorganisation can be undone."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.events import Log
from ledger.core.ids import Digest
from ledger.store.tables import EventRow

MIRRORS = ("parties", "stakes", "bids", "models", "consumers", "lanes", "session_keys", "claims")
"""Tables that hold nothing but what logs said."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A log on record. `generation` counts how often it came back after having been undone."""

    transaction: Digest
    index: int
    block: int
    generation: int
    standing: bool
    booked: Digest | None


def get(session: Session, transaction: Digest, index: int) -> Indexed | None:
    """The record of a log."""
    row = session.get(EventRow, (transaction, index), populate_existing=True)
    return _value(row) if row else None


def record(session: Session, log: Log, generation: int, booked: Digest | None) -> None:
    """A log stands, at its block, and booked this transaction (or none)."""
    row = {"transaction": log.transaction, "place": log.index, "block": log.block, "generation": generation}
    row |= {"kind": type(log.event).__name__, "standing": True, "booked": booked}
    keys = [col(EventRow.transaction), col(EventRow.place)]
    session.execute(insert(EventRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def standing_from(session: Session, block: int) -> list[Indexed]:
    """Standing logs at or after a block, newest first."""
    query = select(EventRow).where(col(EventRow.block) >= block, col(EventRow.standing))
    rows = session.exec(query.order_by(col(EventRow.block).desc(), col(EventRow.place).desc()))
    return [_value(row) for row in rows]


def undo(session: Session, indexed: Indexed) -> None:
    """The chain no longer has this log."""
    session.execute(
        text("UPDATE events SET standing = false WHERE transaction = :transaction AND place = :place"),
        {"transaction": indexed.transaction, "place": indexed.index},
    )


def clear_mirrors(session: Session) -> None:
    """Forget all that only mirrors the chain; the indexer reads it again."""
    for table in MIRRORS:
        session.execute(text(f"DELETE FROM {table}"))


def _value(row: EventRow) -> Indexed:
    booked = Digest(row.booked) if row.booked else None
    return Indexed(Digest(row.transaction), row.place, row.block, row.generation, row.standing, booked)
