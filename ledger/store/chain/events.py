"""Indexed logs: which ones stand, and what money they moved, so that a reorganisation can be undone."""

from dataclasses import dataclass, fields

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Digest
from ledger.store.chain.tables import EventRow

MIRRORS = ("parties", "stakes", "bids", "models", "consumers", "lanes", "session_keys", "claims", "challenges")
"""Tables that hold nothing but what logs said."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A log on record: its place among its transaction's logs, the kind of its event, what it booked, which batch of
    our lane it is about. `generation` counts how often it came back after having been undone.
    """

    transaction: Digest
    place: int
    block: int
    kind: str
    generation: int
    standing: bool
    booked: Digest | None
    batch: int | None = None


def get(session: Session, transaction: Digest, place: int) -> Indexed | None:
    """The record of a log."""
    row = session.get(EventRow, (transaction, place), populate_existing=True)
    return _value(row) if row else None


def record(session: Session, log: Indexed) -> None:
    """Record a log, or what changed about it."""
    row = {field.name: getattr(log, field.name) for field in fields(Indexed)}
    keys = [col(EventRow.transaction), col(EventRow.place)]
    session.execute(insert(EventRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def standing_from(session: Session, block: int) -> list[Indexed]:
    """Standing logs at or after a block, newest first."""
    query = select(EventRow).where(col(EventRow.block) >= block, col(EventRow.standing))
    rows = session.exec(query.order_by(col(EventRow.block).desc(), col(EventRow.place).desc()))
    return [_value(row) for row in rows]


def undo(session: Session, log: Indexed) -> None:
    """The chain no longer has this log."""
    session.execute(
        text("UPDATE events SET standing = false WHERE transaction = :transaction AND place = :place"),
        {"transaction": log.transaction, "place": log.place},
    )


def clear_mirrors(session: Session) -> None:
    """Forget all that only mirrors the chain; the indexer reads it again."""
    for table in MIRRORS:
        session.execute(text(f"DELETE FROM {table}"))


def _value(row: EventRow) -> Indexed:
    booked = Digest(row.booked) if row.booked else None
    place = (Digest(row.transaction), row.place, row.block, row.kind)
    return Indexed(*place, row.generation, row.standing, booked, row.batch)
