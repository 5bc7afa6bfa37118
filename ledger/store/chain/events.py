"""Indexed logs: which of them the chain still has, and what each booked, so that a reorganisation can be undone."""

from dataclasses import asdict, dataclass

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from ledger.core.values.ids import Digest
from ledger.store.chain.tables import (
    BidRow,
    ClaimRow,
    ConsumerRow,
    EventRow,
    GatewayRow,
    LaneRow,
    ModelOwnerRow,
    ModelRow,
    NameRow,
    OrganisationKeyRow,
    OrganisationRow,
    PartyRow,
    SessionKeyRow,
    StakeRow,
)
from ledger.store.session import change, upsert, value_of
from ledger.store.settlement.tables import ChallengeRow

MIRRORS = (
    PartyRow,
    StakeRow,
    BidRow,
    ModelRow,
    ModelOwnerRow,
    OrganisationRow,
    OrganisationKeyRow,
    NameRow,
    ConsumerRow,
    LaneRow,
    GatewayRow,
    SessionKeyRow,
    ClaimRow,
    ChallengeRow,
)
"""Tables that hold nothing but what logs say."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """The record of a log. `ordinal` is its position among its transaction's logs, `booked` the transaction it booked.

    `generation` counts how often it came back after it was undone. `batch` is the id on chain of the batch of our lane
    that the log is about. `canonical` is False once the chain no longer has the log.
    """

    transaction: Digest
    ordinal: int
    block: int
    kind: str
    generation: int
    canonical: bool
    booked: Digest | None
    batch: int | None = None


def get(session: Session, transaction: Digest, ordinal: int) -> Indexed | None:
    row = session.get(EventRow, (transaction, ordinal), populate_existing=True)
    return value_of(Indexed, row) if row else None


def record(session: Session, log: Indexed) -> None:
    """Record a log, or what changed about it."""
    upsert(session, EventRow, asdict(log))


def canonical_from(session: Session, block: int) -> list[Indexed]:
    """Logs at or after a block that are not undone, newest first."""
    query = select(EventRow).where(col(EventRow.block) >= block, col(EventRow.canonical))
    rows = session.exec(query.order_by(col(EventRow.block).desc(), col(EventRow.ordinal).desc()))
    return [value_of(Indexed, row) for row in rows]


def undo(session: Session, log: Indexed) -> None:
    """Record that the chain no longer has this log."""
    this = (col(EventRow.transaction) == log.transaction, col(EventRow.ordinal) == log.ordinal)
    change(session, update(EventRow).where(*this).values(canonical=False))


def clear_mirrors(session: Session) -> None:
    """Delete all that only mirrors the chain; the indexer reads it again."""
    for table in MIRRORS:
        change(session, delete(table))
