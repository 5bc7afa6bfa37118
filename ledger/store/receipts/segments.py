"""Segments: the group commits of a gateway's journal, dense and chained."""

from itertools import takewhile

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.receipts.segments import Segment
from ledger.core.values.ids import Address, Digest
from ledger.store.receipts.tables import QuarantineRow, SegmentRow


def after(session: Session, gateway: Address, seq: int, limit: int) -> list[Segment]:
    """The next segments after a receipt, in order: as many as hold `limit` receipts, and at least one."""
    query = select(SegmentRow).where(
        col(SegmentRow.gateway) == gateway, col(SegmentRow.first) > seq, col(SegmentRow.first) <= seq + limit
    )
    found = [_value(row) for row in session.exec(query.order_by(col(SegmentRow.first)))]
    return list(takewhile(lambda segment: segment.last <= seq + limit, found)) or found[:1]


def last_end(session: Session, gateway: Address, after_seq: int, until_seq: int) -> int:
    """The last receipt of the last whole segment in (after_seq, until_seq]; of the first segment if none is whole."""
    query = text(
        "SELECT coalesce((SELECT max(last) FROM segments WHERE gateway = :gateway AND first > :low AND last <= :high), "
        "(SELECT last FROM segments WHERE gateway = :gateway AND first > :low ORDER BY first LIMIT 1), :low)"
    )
    return int(session.execute(query, {"gateway": gateway, "low": after_seq, "high": until_seq}).scalar_one())


def latest(session: Session, gateway: Address) -> Segment | None:
    """The last segment a gateway wrote."""
    query = select(SegmentRow).where(col(SegmentRow.gateway) == gateway).order_by(col(SegmentRow.first).desc())
    row = session.exec(query.limit(1)).first()
    return _value(row) if row else None


def before(session: Session, gateway: Address, first: int) -> Segment | None:
    """The segment that ends right before a receipt."""
    query = select(SegmentRow).where(col(SegmentRow.gateway) == gateway, col(SegmentRow.first) < first)
    row = session.exec(query.order_by(col(SegmentRow.first).desc()).limit(1)).first()
    return _value(row) if row else None


def pending(session: Session, lane: int) -> list[tuple[Address, int]]:
    """Gateways of a lane with unposted, unquarantined receipts, and how many, most first."""
    rows = session.execute(
        text(
            "SELECT w.gateway, s.last - w.posted_seq FROM watermarks w CROSS JOIN LATERAL (SELECT last FROM segments "
            "WHERE gateway = w.gateway ORDER BY first DESC LIMIT 1) s WHERE w.lane = :lane AND s.last > w.posted_seq "
            "AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.gateway = w.gateway AND q.first = w.posted_seq + 1) "
            "ORDER BY 2 DESC"
        ),
        {"lane": lane},
    )
    return [(Address(bytes(gateway)), int(count)) for gateway, count in rows]


def quarantine(session: Session, segment: Segment, reason: str, now: int) -> None:
    """Set a segment aside; posting of its gateway stops before it."""
    row = {"gateway": segment.gateway, "first": segment.first, "last": segment.last, "reason": reason, "at": now}
    session.execute(insert(QuarantineRow).values(row).on_conflict_do_nothing())


def quarantined(session: Session) -> list[tuple[Address, int, str]]:
    """Segments set aside: gateway, first receipt, reason."""
    rows = session.exec(select(QuarantineRow).order_by(col(QuarantineRow.at)))
    return [(Address(row.gateway), row.first, row.reason) for row in rows]


def release(session: Session, gateway: Address, first: int) -> None:
    """A person looked: posting tries the segment again."""
    session.execute(
        text("DELETE FROM quarantine WHERE gateway = :gateway AND first = :first"), {"gateway": gateway, "first": first}
    )


def _value(row: SegmentRow) -> Segment:
    digests = Digest(row.digest), Digest(row.previous)
    return Segment(Address(row.gateway), row.first, row.last, row.total, *digests)
