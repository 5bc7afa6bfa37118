"""The posted and batched end of each gateway's receipt log. A worker holds the row's lock while it posts."""

from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Lane
from ledger.store.receipts.tables import WatermarkRow
from ledger.store.session import change, insert_once, value_of


@dataclass(frozen=True, slots=True)
class Watermark:
    """Receipts up to `posted_seq` are posted, up to `batched_seq` they are in batches."""

    lane: Lane
    gateway: Address
    posted_seq: int
    batched_seq: int


def ensure(session: Session, lane: Lane, gateway: Address) -> None:
    """Start a gateway's watermark before its first receipt, unless it has one."""
    insert_once(session, WatermarkRow, {"gateway": gateway, "lane": lane, "posted_seq": 0, "batched_seq": 0})


def of_lane(session: Session, lane: Lane) -> list[Watermark]:
    """Every gateway of a lane, by address."""
    rows = session.exec(select(WatermarkRow).filter_by(lane=lane).order_by(col(WatermarkRow.gateway)))
    return [value_of(Watermark, row) for row in rows]


def take(session: Session, lane: Lane, gateway: Address) -> Watermark | None:
    """Lock a gateway's watermark until the transaction ends; None when another worker holds it."""
    query = select(WatermarkRow).filter_by(lane=lane, gateway=gateway).with_for_update(skip_locked=True)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return value_of(Watermark, row) if row else None


def advance_posted(session: Session, lane: Lane, gateway: Address, seq: int) -> None:
    """Record that receipts up to `seq` are posted. It never moves back."""
    behind = update(WatermarkRow).filter_by(lane=lane, gateway=gateway).where(col(WatermarkRow.posted_seq) < seq)
    change(session, behind.values(posted_seq=seq))


def set_batched(session: Session, lane: Lane, gateway: Address, seq: int) -> None:
    """Record that receipts up to `seq` are in batches; a void batch moves it back."""
    change(session, update(WatermarkRow).filter_by(lane=lane, gateway=gateway).values(batched_seq=seq))
