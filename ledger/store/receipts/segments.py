"""Segments: the group commits of a gateway's receipt log, dense and chained."""

from itertools import takewhile

from sqlalchemy import func, true
from sqlmodel import Session, col, select

from ledger.core.receipts.segments import Segment
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.receipts.tables import QuarantineRow, SegmentRow, WatermarkRow
from ledger.store.session import insert_once


def after(session: Session, lane: Lane, gateway: Address, seq: int, limit: int) -> list[Segment]:
    """The next segments after a receipt, in order: as many as hold `limit` receipts, and at least one."""
    ahead = select(SegmentRow).filter_by(lane=lane, gateway=gateway).where(col(SegmentRow.first) > seq)
    query = ahead.where(col(SegmentRow.first) <= seq + limit)
    segments = [_value(row) for row in session.exec(query.order_by(col(SegmentRow.first)))]
    return list(takewhile(lambda segment: segment.last <= seq + limit, segments)) or segments[:1]


def last_end(session: Session, lane: Lane, gateway: Address, after_seq: int, until_seq: int) -> int:
    """The last receipt of the last whole segment in (after_seq, until_seq]; of the first segment if none is whole."""
    of_gateway = (col(SegmentRow.lane) == lane, col(SegmentRow.gateway) == gateway)
    ahead = (*of_gateway, col(SegmentRow.first) > after_seq)
    whole = session.exec(select(func.max(SegmentRow.last)).where(*ahead, col(SegmentRow.last) <= until_seq)).one()
    if whole is not None:
        return int(whole)
    first = session.exec(select(SegmentRow.last).where(*ahead).order_by(col(SegmentRow.first)).limit(1)).first()
    return after_seq if first is None else first


def before(session: Session, lane: Lane, gateway: Address, first: int) -> Segment | None:
    """The segment that ends right before a receipt."""
    query = select(SegmentRow).filter_by(lane=lane, gateway=gateway).where(col(SegmentRow.first) < first)
    row = session.exec(query.order_by(col(SegmentRow.first).desc()).limit(1)).first()
    return _value(row) if row else None


def pending(session: Session, lane: Lane) -> list[tuple[Address, int]]:
    """Gateways of a lane with unposted, unquarantined receipts, and how many, most first."""
    gateway, posted = col(WatermarkRow.gateway), col(WatermarkRow.posted_seq)
    newest = (
        select(SegmentRow.last)
        .where(col(SegmentRow.lane) == lane, col(SegmentRow.gateway) == gateway)
        .order_by(col(SegmentRow.first).desc())
    )
    tail = newest.limit(1).correlate(WatermarkRow).lateral()
    next_one = (
        col(QuarantineRow.lane) == lane,
        col(QuarantineRow.gateway) == gateway,
        col(QuarantineRow.first) == posted + 1,
    )
    stopped = select(QuarantineRow.gateway).where(*next_one).correlate(WatermarkRow).exists()
    waiting = (tail.c.last - posted).label("waiting")
    query = select(gateway, waiting).select_from(WatermarkRow).join(tail, true())
    query = query.where(col(WatermarkRow.lane) == lane, tail.c.last > posted, ~stopped)
    return [(Address(name), int(count)) for name, count in session.exec(query.order_by(waiting.desc()))]


def add(session: Session, lane: Lane, segment: Segment) -> None:
    """Store a segment of receipts that are written back; a gateway's appender writes its own."""
    row = {
        name: getattr(segment, name) for name in ("gateway", "first", "last", "count", "total", "digest", "previous")
    }
    insert_once(session, SegmentRow, {"lane": lane, **row})


def quarantine(session: Session, lane: Lane, segment: Segment, reason: str, now: int) -> None:
    """Quarantine a segment: posting of its gateway stops before it."""
    row = {"lane": lane, "gateway": segment.gateway, "first": segment.first, "last": segment.last}
    row |= {"reason": reason, "at": now}
    insert_once(session, QuarantineRow, row)


def quarantined(session: Session, lane: Lane) -> list[tuple[Address, int, str]]:
    """Quarantined segments of a lane: gateway, first receipt, reason."""
    rows = session.exec(select(QuarantineRow).filter_by(lane=lane).order_by(col(QuarantineRow.at)))
    return [(Address(row.gateway), row.first, row.reason) for row in rows]


def _value(row: SegmentRow) -> Segment:
    return Segment(Address(row.gateway), row.first, row.last, row.total, Digest(row.digest), Digest(row.previous))
