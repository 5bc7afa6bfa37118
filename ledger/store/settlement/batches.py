"""Batches: built, signed, posted, final, or void; what each pays, covers and is made of."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, update
from sqlmodel import Session, col, select

from ledger.core.accounts import movements
from ledger.core.catalog.bids import Role
from ledger.core.settlement.batches import BEFORE, PUBLIC, Status
from ledger.core.settlement.header import Header, HeaderId, Heights, Range
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.core.values.typed_data import Mandate
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import change, try_lock, value_of
from ledger.store.settlement import tree_nodes
from ledger.store.settlement.tables import BatchMandateRow, BatchRangeRow, BatchRow, BatchShareRow

_PLACE = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of a lane. `number` counts batches built; `onchain_id` is Settlement's id, which a void batch frees.

    `total` is what its receipts charge, `cumulative` the sum of all batches up to it. `epoch` and `book_root` are of
    the book in force when it was closed; `barred` are the places it leaves empty. `until` is the end of its window.
    Times are ms.
    """

    lane: Lane
    number: int
    status: Status
    header: Header
    total: int
    cumulative: int
    built_at: int
    epoch: int
    book_root: Digest
    barred: tuple[int, ...] = ()
    onchain_id: int | None = None
    posted_at: int | None = None
    until: int | None = None
    final_at: int | None = None
    chain_transaction: Digest | None = None
    settled: Digest | None = None


def take(session: Session, lane: Lane) -> bool:
    """Become the only one that works on a lane's batches until the transaction ends. False when there is another."""
    return try_lock(session, f"batches:{to_hex(lane)}")


def store(session: Session, batch: Batch, ranges: Iterable[Range], earned: Mapping[tuple[Address, Role], int]) -> None:
    """Store a new batch with the receipts it covers and what it pays."""
    header = batch.header
    row = {field.name: getattr(header, field.name) for field in fields(header)} | {"heights": header.heights.packed}
    row |= {"epoch": batch.epoch, "book_root": batch.book_root, "barred": b"".join(map(_PLACE.pack, batch.barred))}
    row |= {"lane": batch.lane, "number": batch.number, "status": batch.status.value, "total": batch.total}
    row |= {"header_id": header.id, "cumulative": batch.cumulative, "built_at": batch.built_at}
    session.execute(insert(BatchRow).values(row))
    key = {"lane": batch.lane, "number": batch.number}
    covered = [
        {**key, "gateway": r.gateway, "gateway_number": r.number, "first": r.first, "count": r.count} for r in ranges
    ]
    paid = [{**key, "payee": who, "role": int(role), "amount": n} for (who, role), n in earned.items() if n]
    if covered:
        session.execute(insert(BatchRangeRow), covered)
    if paid:
        session.execute(insert(BatchShareRow), paid)


def get(session: Session, lane: Lane, number: int) -> Batch | None:
    row = session.get(BatchRow, (lane, number), populate_existing=True)
    return _value(row) if row else None


def latest(session: Session, lane: Lane) -> Batch | None:
    """The last batch that is not void: the one the next follows."""
    return next(iter(_active(session, lane, limit=1)), None)


def with_status(session: Session, lane: Lane, *statuses: Status) -> list[Batch]:
    """Batches of a lane in one of these states, oldest first."""
    wanted = [status.value for status in statuses]
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status).in_(wanted))
    rows = session.exec(query.order_by(col(BatchRow.number)).execution_options(populate_existing=True))
    return [_value(row) for row in rows]


def newest(session: Session, lane: Lane, before: int | None, limit: int) -> list[Batch]:
    """A page of a lane's batches, void ones included, newest first: those numbered below `before`."""
    query = select(BatchRow).where(col(BatchRow.lane) == lane)
    if before is not None:
        query = query.where(col(BatchRow.number) < before)
    query = query.order_by(col(BatchRow.number).desc()).limit(limit)
    return [_value(row) for row in session.exec(query.execution_options(populate_existing=True))]


def last_final(session: Session, lane: Lane) -> Batch | None:
    """The newest final batch: Settlement pays by its trees."""
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status) == Status.final.value)
    query = query.order_by(col(BatchRow.number).desc()).limit(1)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def by_header(session: Session, lane: Lane, header_id: HeaderId) -> Batch | None:
    """The batch with this header, the newest if a void one had the same."""
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.header_id) == header_id)
    row = session.exec(query.order_by(col(BatchRow.number).desc()).execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def by_onchain_id(session: Session, lane: Lane, onchain_id: int) -> Batch | None:
    """The batch, not void, that Settlement knows by this id."""
    return next((b for b in _active(session, lane) if b.onchain_id == onchain_id), None)


def final_at(session: Session, lane: Lane, at: int) -> Batch | None:
    """The batch whose trees were the final ones at a time (ms)."""
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status) == Status.final.value)
    query = query.where(col(BatchRow.final_at) <= at).order_by(col(BatchRow.number).desc()).limit(1)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def after(session: Session, lane: Lane, number: int) -> list[Batch]:
    """Batches that are not void and were built after this one, newest first."""
    return [batch for batch in _active(session, lane) if batch.number > number]


def newest_number(session: Session, lane: Lane) -> int:
    """The highest number ever given, void ones included; 0 before the first."""
    return session.exec(select(func.max(BatchRow.number)).where(col(BatchRow.lane) == lane)).one() or 0


def ranges(session: Session, lane: Lane, number: int) -> list[Range]:
    """The receipts a batch covers, by gateway."""
    query = select(BatchRangeRow).where(col(BatchRangeRow.lane) == lane, col(BatchRangeRow.number) == number)
    rows = session.exec(query.order_by(col(BatchRangeRow.gateway_number)))
    return [Range(row.gateway_number, Address(row.gateway), row.first, row.count) for row in rows]


def earned(session: Session, lane: Lane, number: int) -> dict[tuple[Address, Role], int]:
    """A batch's payments, by payee and role."""
    query = select(BatchShareRow).where(col(BatchShareRow.lane) == lane, col(BatchShareRow.number) == number)
    rows = session.exec(query.order_by(col(BatchShareRow.payee), col(BatchShareRow.role)))
    return {(Address(row.payee), Role(row.role)): row.amount for row in rows}


@dataclass(frozen=True, slots=True)
class BatchSums:
    """What public batches have together: how many they are, their calls, and the atoms that those were charged."""

    batches: int
    calls: int
    total: int


def published_since(session: Session, lane: Lane, closed_at: int) -> BatchSums:
    """The sums of the public batches closed at a time (seconds of the chain's clock) or later."""
    count, total = session.exec(select(func.count(), func.sum(BatchRow.total)).where(*_public(lane, closed_at))).one()
    held = select(func.sum(BatchRangeRow.count)).join(BatchRow, _same_batch(BatchRangeRow))
    calls = session.exec(held.where(*_public(lane, closed_at))).one()
    return BatchSums(count, int(calls or 0), int(total or 0))


def paid_since(session: Session, lane: Lane, closed_at: int, limit: int) -> dict[tuple[Address, Role], int]:
    """What the public batches closed at a time (seconds) or later pay together, by payee and role: the `limit` largest
    of these sums.
    """
    paid = func.sum(BatchShareRow.amount)
    query = select(BatchShareRow.payee, BatchShareRow.role, paid).join(BatchRow, _same_batch(BatchShareRow))
    query = query.where(*_public(lane, closed_at)).group_by(col(BatchShareRow.payee), col(BatchShareRow.role))
    rows = session.exec(query.order_by(paid.desc(), col(BatchShareRow.payee), col(BatchShareRow.role)).limit(limit))
    return {(Address(payee), Role(role)): int(amount) for payee, role, amount in rows}


def _same_batch(table: type[BatchRangeRow] | type[BatchShareRow]) -> ColumnElement[bool]:
    return and_(col(table.lane) == col(BatchRow.lane), col(table.number) == col(BatchRow.number))


def _public(lane: Lane, closed_at: int) -> tuple[ColumnElement[bool], ...]:
    public = [status.value for status in PUBLIC]
    return col(BatchRow.lane) == lane, col(BatchRow.status).in_(public), col(BatchRow.closed_at) >= closed_at


def store_mandates(session: Session, lane: Lane, number: int, mandates: Iterable[Mandate]) -> None:
    """Store the vouchers that a new batch's debits rest on."""
    accounts, key = lanes.by_index(session, lane), {"lane": lane, "number": number}
    rows = [{"account": accounts[one.consumer], "cum_max": one.cum_max, "signature": one.signature} for one in mandates]
    if rows:
        session.execute(insert(BatchMandateRow), [key | row for row in rows])


def mandates(session: Session, lane: Lane, number: int) -> dict[Address, tuple[int, bytes]]:
    """The vouchers that a batch's debits rest on: the most to debit, and the signature."""
    query = select(BatchMandateRow).where(col(BatchMandateRow.lane) == lane, col(BatchMandateRow.number) == number)
    return {Address(row.account): (row.cum_max, row.signature) for row in session.exec(query)}


def holding(session: Session, lane: Lane, gateway: Address, seq: int) -> Batch | None:
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


def set_posted(session: Session, batch: Batch, onchain_id: int, window: tuple[int, int], settled: Digest) -> None:
    """Record its id on chain and its window, [posted, until) in ms; the transaction `settled` books what it pays."""
    posted_at, until = window
    _set(session, batch, Status.posted, onchain_id=onchain_id, posted_at=posted_at, until=until, settled=settled)


def set_unposted(session: Session, batch: Batch) -> None:
    """Record that the chain lost it: its commit, if one was signed, is under way again."""
    status = Status.signed if batch.chain_transaction else Status.built
    _set(session, batch, status, onchain_id=None, posted_at=None, until=None, final_at=None, settled=None)


def set_unfinal(session: Session, batch: Batch) -> None:
    """Record that the chain lost its finalizing."""
    _set(session, batch, Status.posted, final_at=None)


def set_final(session: Session, batch: Batch, at: int) -> None:
    _set(session, batch, Status.final, final_at=at)


def set_void(session: Session, batch: Batch) -> None:
    """Record that it, or one before it, was proven wrong."""
    _set(session, batch, Status.void)


def drop(session: Session, batch: Batch, now: int) -> None:
    """Make the newest batch void: its receipts wait for the next, and what it paid is accrued again."""
    for row in ranges(session, batch.lane, batch.number):
        watermarks.set_batched(session, batch.lane, row.gateway, row.first - 1)
    done = postings.get(session, batch.lane, batch.settled) if batch.settled is not None else None
    if done is not None:
        postings.book(session, movements.correct(done, now))
    set_void(session, batch)
    tree_nodes.drop(session, batch.lane, batch.number)


def _set(session: Session, batch: Batch, status: Status, **values: Any) -> None:
    """Raises Conflict when the batch, as it is stored now, cannot come into this state."""
    this = update(BatchRow).where(col(BatchRow.lane) == batch.lane, col(BatchRow.number) == batch.number)
    this = this.where(col(BatchRow.status).in_([before.value for before in BEFORE[status]]))
    if not change(session, this.values(status=status.value, **values)):
        raise Conflict(f"batch {batch.number} of lane {to_hex(batch.lane)} cannot become {status.value} now")


def _active(session: Session, lane: Lane, limit: int | None = None) -> list[Batch]:
    query = select(BatchRow).where(col(BatchRow.lane) == lane, col(BatchRow.status) != Status.void.value)
    newest = query.order_by(col(BatchRow.number).desc()).limit(limit)
    return [_value(row) for row in session.exec(newest.execution_options(populate_existing=True))]


def _value(row: BatchRow) -> Batch:
    header = value_of(Header, row, heights=Heights.unpack(row.heights))
    barred = tuple(place for (place,) in _PLACE.iter_unpack(row.barred))
    return value_of(Batch, row, status=Status(row.status), header=header, barred=barred)
