"""How far each gateway's journal has been posted and batched. The row's lock is the worker's turn."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address
from ledger.store.receipts.tables import WatermarkRow


@dataclass(frozen=True, slots=True)
class Watermark:
    """Receipts up to `posted_seq` are posted, up to `batched_seq` they are in batches."""

    gateway: Address
    lane: int
    posted_seq: int
    batched_seq: int


def ensure(session: Session, gateway: Address, lane: int) -> None:
    """Make a gateway known to the lane's workers, starting before its first receipt."""
    row = {"gateway": gateway, "lane": lane, "posted_seq": 0, "batched_seq": 0}
    session.execute(insert(WatermarkRow).values(row).on_conflict_do_nothing())


def of_lane(session: Session, lane: int) -> list[Watermark]:
    """Every gateway of a lane, by address."""
    rows = session.exec(select(WatermarkRow).where(col(WatermarkRow.lane) == lane).order_by(col(WatermarkRow.gateway)))
    return [_value(row) for row in rows]


def take(session: Session, gateway: Address) -> Watermark | None:
    """Lock a gateway's watermark until the transaction ends; None when another worker holds it."""
    query = select(WatermarkRow).where(col(WatermarkRow.gateway) == gateway).with_for_update(skip_locked=True)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def advance_posted(session: Session, gateway: Address, seq: int) -> None:
    """Receipts up to `seq` are posted now."""
    session.execute(
        text("UPDATE watermarks SET posted_seq = :seq WHERE gateway = :gateway AND posted_seq < :seq"),
        {"gateway": gateway, "seq": seq},
    )


def set_batched(session: Session, gateway: Address, seq: int) -> None:
    """Receipts up to `seq` are in batches now; a void batch moves it back."""
    session.execute(
        text("UPDATE watermarks SET batched_seq = :seq WHERE gateway = :gateway"), {"gateway": gateway, "seq": seq}
    )


def _value(row: WatermarkRow) -> Watermark:
    return Watermark(Address(row.gateway), row.lane, row.posted_seq, row.batched_seq)
