"""Batches: built, signed, posted, final, or void; what each pays, covers and is made of."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import and_, func, insert, update
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import Role
from ledger.core.settlement.batches import BEFORE, Status
from ledger.core.settlement.header import Header, Range
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest
from ledger.store.session import change, try_lock, value_of
from ledger.store.settlement.tables import BatchRangeRow, BatchRow, BatchShareRow


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of a lane. `number` counts batches built; `onchain_id` is Settlement's id, which a void batch frees.

    `total` is what its receipts charge, `cumulative` the sum of all batches up to it. Times are ms.
    """

    lane: int
    number: int
    status: Status
    header: Header
    total: int
    cumulative: int
    built_at: int
    onchain_id: int | None = None
    posted_at: int | None = None
    final_at: int | None = None
    chain_transaction: Digest | None = None
    settled: Digest | None = None


def take(session: Session, lane: int) -> bool:
    """Become the only one that works on a lane's batches until the transaction ends. False when there is another."""
    return try_lock(session, f"batches:{lane}")


def store(session: Session, batch: Batch, ranges: Iterable[Range], earned: Mapping[tuple[Address, Role], int]) -> None:
    """Store a new batch with the receipts it covers and what it pays."""
    row = asdict(batch.header)
    row |= {"lane": batch.lane, "number": batch.number, "status": batch.status.value, "total": batch.total}
    row |= {"header_hash": batch.header.hash, "cumulative": batch.cumulative, "built_at": batch.built_at}
    session.execute(insert(BatchRow).values(row))
    key = {"lane": batch.lane, "number": batch.number}
    covered = [{**key, "gateway": r.gateway, "first": r.first, "count": r.count} for r in ranges]
    paid = [{**key, "payee": who, "role": int(role), "amount": n} for (who, role), n in earned.items() if n]
    if covered:
        session.execute(insert(BatchRangeRow), covered)
    if paid:
        session.execute(insert(BatchShareRow), paid)


def get(session: Session, lane: int, number: int) -> Batch | None:
    row = session.get(BatchRow, (lane, number), populate_existing=True)
    return _value(row) if row else None


def latest(session: Session, lane: int) -> Batch | None:
    """The last batch that is not void: the one the next follows."""
    return next(iter(_active(session, lane, limit=1)), None)


def with_status(session: Session, lane: int, *statuses: Status) -> list[Batch]:
    """Batches of a lane in one of these states, oldest first."""
    wanted = [status.value for status in statuses]
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status).in_(wanted))
    rows = session.exec(query.order_by(col(BatchRow.number)).execution_options(populate_existing=True))
    return [_value(row) for row in rows]


def by_hash(session: Session, lane: int, header_hash: Digest) -> Batch | None:
    """The batch with this header hash, the newest if a void one had the same."""
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.header_hash) == header_hash)
    row = session.exec(query.order_by(col(BatchRow.number).desc()).execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def by_onchain_id(session: Session, lane: int, onchain_id: int) -> Batch | None:
    """The batch, not void, that Settlement knows by this id."""
    return next((b for b in _active(session, lane) if b.onchain_id == onchain_id), None)


def after(session: Session, lane: int, number: int) -> list[Batch]:
    """Batches that are not void and were built after this one, newest first."""
    return [batch for batch in _active(session, lane) if batch.number > number]


def newest_number(session: Session, lane: int) -> int:
    """The highest number ever given, void ones included; 0 before the first."""
    return session.exec(select(func.max(BatchRow.number)).where(col(BatchRow.lane) == lane)).one() or 0


def ranges(session: Session, lane: int, number: int) -> list[Range]:
    """The receipts a batch covers, by gateway."""
    query = select(BatchRangeRow).where(col(BatchRangeRow.lane) == lane, col(BatchRangeRow.number) == number)
    rows = session.exec(query.order_by(col(BatchRangeRow.gateway)))
    return [Range(Address(row.gateway), row.first, row.count) for row in rows]


def earned(session: Session, lane: int, number: int) -> dict[tuple[Address, Role], int]:
    """A batch's payments, by payee and role."""
    query = select(BatchShareRow).where(col(BatchShareRow.lane) == lane, col(BatchShareRow.number) == number)
    rows = session.exec(query.order_by(col(BatchShareRow.payee), col(BatchShareRow.role)))
    return {(Address(row.payee), Role(row.role)): row.amount for row in rows}


def holding(session: Session, lane: int, gateway: Address, seq: int) -> Batch | None:
    """The batch, not void, that holds a receipt; None while none does."""
    covers = (col(BatchRangeRow.lane) == lane, col(BatchRangeRow.number) == col(BatchRow.number))
    holds = (col(BatchRangeRow.first) <= seq, col(BatchRangeRow.first) + BatchRangeRow.count > seq)
    query = select(BatchRow).join(BatchRangeRow, and_(*covers, col(BatchRangeRow.gateway) == gateway, *holds))
    query = query.where(col(BatchRow.lane) == lane, col(BatchRow.status) != Status.void.value)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def set_signed(session: Session, batch: Batch, chain_transaction: Digest) -> None:
    """Record that its commit is intended."""
    _set(session, batch, Status.signed, chain_transaction=chain_transaction)


def set_built(session: Session, batch: Batch) -> None:
    """Record that its commit failed: it waits for another."""
    _set(session, batch, Status.built, chain_transaction=None)


def set_posted(session: Session, batch: Batch, onchain_id: int, at: int, settled: Digest) -> None:
    """Record its id on chain and since when it has it; the transaction `settled` books what it pays."""
    _set(session, batch, Status.posted, onchain_id=onchain_id, posted_at=at, settled=settled)


def set_unposted(session: Session, batch: Batch) -> None:
    """Record that the chain lost it: its commit, if one was signed, is under way again."""
    status = Status.signed if batch.chain_transaction else Status.built
    _set(session, batch, status, onchain_id=None, posted_at=None, final_at=None, settled=None)


def set_unfinal(session: Session, batch: Batch) -> None:
    """Record that the chain lost its finalizing."""
    _set(session, batch, Status.posted, final_at=None)


def set_final(session: Session, batch: Batch, at: int) -> None:
    _set(session, batch, Status.final, final_at=at)


def set_void(session: Session, batch: Batch) -> None:
    """Record that it, or one before it, was proven wrong."""
    _set(session, batch, Status.void)


def _set(session: Session, batch: Batch, status: Status, **values: Any) -> None:
    """Raises Conflict when the batch, as it is stored now, cannot come into this state."""
    this = update(BatchRow).where(col(BatchRow.lane) == batch.lane, col(BatchRow.number) == batch.number)
    this = this.where(col(BatchRow.status).in_([before.value for before in BEFORE[status]]))
    if not change(session, this.values(status=status.value, **values)):
        raise Conflict(f"batch {batch.number} of lane {batch.lane} cannot become {status.value} now")


def _active(session: Session, lane: int, limit: int | None = None) -> list[Batch]:
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status) != Status.void.value)
    newest = query.order_by(col(BatchRow.number).desc()).limit(limit)
    return [_value(row) for row in session.exec(newest.execution_options(populate_existing=True))]


def _value(row: BatchRow) -> Batch:
    return value_of(Batch, row, status=Status(row.status), header=value_of(Header, row))
