"""Permits of x402's `upto`: stored before their calls are made, settled by the worker from what those were charged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, literal_column, or_, update
from sqlmodel import Session, col, select

from ledger.core.accounts.permits import UNCHARGED, Permit, Status, before
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.store.access.tables import DepositRow, PermitRow
from ledger.store.receipts.tables import ReceiptRow
from ledger.store.session import change, insert_once, value_of

REFUSED_MS = 60_000
"""How long a refused permit is kept, for its gateway to read why."""
RELEASED_MS = 600_000
"""How long a released one is kept: a receipt that was on its way when its call was cut off has come long before."""


@dataclass(frozen=True, slots=True)
class StoredPermit:
    """A permit that pays for one `call`, whose `request` is the digest of it and its body, advanced by an `account`.

    A charge below `least` (atoms) is not settled: that would cost the operator more. `charged` (atoms) is what the
    call's receipt says, `error` why it was refused or not settled.
    """

    lane: Lane
    permit: Permit
    signature: bytes
    account: Address
    call: Digest
    request: Digest
    least: int = 1
    status: Status = Status.requested
    charged: int | None = None
    error: str | None = None

    @property
    def id(self) -> Digest:
        return self.permit.id

    @property
    def purpose(self) -> str:
        """What the transaction that settles it is for."""
        return f"permit {to_hex(self.id)}"


def request(session: Session, asked: StoredPermit, now: int) -> bool:
    """Store a permit for the worker to look at, or have it look again. False when the permit was sent with another
    request, or was charged; or when another permit pays for its call. One that is done with makes way for it.
    """
    done = col(PermitRow.status).in_((Status.refused, Status.released))
    same = (col(PermitRow.call) == asked.call, col(PermitRow.id) != asked.id)
    change(session, delete(PermitRow).filter_by(lane=asked.lane).where(*same, done))
    row = {"lane": asked.lane, "id": asked.id, **asdict(asked.permit), "signature": asked.signature}
    row |= {"account": asked.account, "call": asked.call, "request": asked.request, "status": asked.status}
    row |= {"least": asked.least}
    if insert_once(session, PermitRow, row | {"requested_at": now, "checked_at": 0}):
        return True
    signed = {**asdict(asked.permit), "call": asked.call, "request": asked.request}
    again = update(PermitRow).filter_by(lane=asked.lane, id=asked.id, **signed)
    known = col(PermitRow.status).in_(UNCHARGED)
    values = {"status": Status.requested, "account": asked.account, "error": None, "checked_at": 0}
    return change(session, again.where(known).values(**values)) == 1


def get(session: Session, lane: Lane, permit_id: Digest) -> StoredPermit | None:
    row = session.get(PermitRow, (lane, permit_id), populate_existing=True)
    return _value(row) if row else None


def is_elsewhere(session: Session, lane: Lane, permit_id: Digest) -> bool:
    """Whether another lane of this database has the same permit: its nonce pays once."""
    query = select(PermitRow.id).where(col(PermitRow.id) == permit_id, col(PermitRow.lane) != lane)
    return session.exec(query.limit(1)).first() is not None


def wanting(session: Session, lane: Lane, limit: int) -> list[StoredPermit]:
    """Permits that the worker has to look at: those that were not looked at yet, then those that wait longest."""
    order = (col(PermitRow.checked_at), col(PermitRow.requested_at))
    return _read(session, lane, Status.requested, *order, limit=limit)


def decided(session: Session, lane: Lane, ids: Sequence[Digest]) -> dict[Digest, StoredPermit]:
    """Those of these permits that the worker has looked at, by id."""
    known = col(PermitRow.status) != Status.requested
    query = select(PermitRow).where(col(PermitRow.lane) == lane, col(PermitRow.id).in_(ids), known)
    return {Digest(row.id): _value(row) for row in session.exec(query)}


def promised(session: Session, payer: Address, but: Digest) -> int:
    """What a payer's other permits may still take of its tokens, and its payments by `exact` on their way: in every
    lane, in atoms.
    """
    held = func.coalesce(col(PermitRow.charged), col(PermitRow.amount))
    live = col(PermitRow.status).in_((Status.good, Status.owed, Status.sent))
    others = (col(PermitRow.payer) == payer, col(PermitRow.id) != but, live)
    permitted = session.exec(select(func.coalesce(func.sum(held), 0)).where(*others)).one()
    ours = (col(DepositRow.account) == payer, col(DepositRow.status).in_(("requested", "sent")))
    paid = session.exec(select(func.coalesce(func.sum(DepositRow.amount), 0)).where(*ours)).one()
    return int(permitted or 0) + int(paid or 0)


def debt(session: Session, payer: Address) -> int:
    """What a payer's calls were charged and could not be settled, in every lane, in atoms."""
    query = select(func.coalesce(func.sum(PermitRow.charged), 0)).where(col(PermitRow.payer) == payer, _in_debt())
    return int(session.exec(query).one() or 0)


def in_debt(session: Session, lane: Lane) -> list[StoredPermit]:
    """Permits whose settlement failed, oldest first."""
    query = select(PermitRow).where(col(PermitRow.lane) == lane, _in_debt())
    return [_value(row) for row in session.exec(query.order_by(col(PermitRow.requested_at)))]


def totals(session: Session, lane: Lane) -> dict[Status, tuple[int, int]]:
    """How many permits are where, and of how many atoms: what was charged, or else was permitted."""
    atoms = func.sum(func.coalesce(col(PermitRow.charged), col(PermitRow.amount)))
    query = select(PermitRow.status, func.count(), atoms).where(col(PermitRow.lane) == lane)
    return {Status(one): (count, int(held or 0)) for one, count, held in session.exec(query.group_by(PermitRow.status))}


def charged(session: Session, lane: Lane) -> list[tuple[StoredPermit, int]]:
    """Permits whose call has a receipt that their account advanced, which is not noted yet; and its charge, in atoms.

    A receipt of the same call that somebody else paid for is none of the permit's.
    """
    is_its = and_(
        col(ReceiptRow.lane) == col(PermitRow.lane),
        col(ReceiptRow.call_id) == col(PermitRow.call),
        col(ReceiptRow.consumer) == col(PermitRow.account),
    )
    query = select(PermitRow, ReceiptRow.charge).join(ReceiptRow, is_its)
    waiting = (col(PermitRow.lane) == lane, col(PermitRow.status).in_(UNCHARGED))
    return [(_value(row), charge) for row, charge in session.exec(query.where(*waiting))]


def owed(session: Session, lane: Lane) -> list[StoredPermit]:
    """Permits to settle, those first whose deadline is next. Then those that failed, which were looked at long ago
    first.
    """
    failed = col(PermitRow.error).is_not(None)
    looked_at = case((failed, col(PermitRow.checked_at)), else_=0)
    return _read(session, lane, Status.owed, failed, looked_at, col(PermitRow.deadline))


def sent(session: Session, lane: Lane) -> list[StoredPermit]:
    """Permits with a transaction on its way."""
    return _read(session, lane, Status.sent, col(PermitRow.requested_at))


def set_status(session: Session, stored: StoredPermit, status: Status, **more: Any) -> bool:
    """Record how far a permit has come, and what else is known. False when something else happened to it meanwhile."""
    possible = col(PermitRow.status).in_(before(status))
    this = update(PermitRow).filter_by(lane=stored.lane, id=stored.id).where(possible)
    return change(session, this.values(status=status, **more)) == 1


def set_checked(session: Session, stored: StoredPermit, now: int, **more: Any) -> None:
    """Record that a permit was looked at, and has to wait, and what else is known."""
    change(session, update(PermitRow).filter_by(lane=stored.lane, id=stored.id).values(checked_at=now, **more))


def reopen(session: Session, block: int) -> None:
    """Put what was settled, or reverted, above this block on its way again: those blocks are gone."""
    ended = col(PermitRow.status).in_((Status.settled, Status.failed))
    gone = update(PermitRow).where(col(PermitRow.block) > block, ended)
    change(session, gone.values(status=Status.sent, block=None))


def release(session: Session, stored: StoredPermit, now: int) -> None:
    """Note that the call of a permit was not charged. One that the worker has not looked at is deleted: its call was
    not made. A receipt of the others may be on its way still, where the call was cut off.
    """
    this = {"lane": stored.lane, "id": stored.id}
    change(session, delete(PermitRow).filter_by(**this, status=Status.requested))
    set_status(session, stored, Status.released, checked_at=now)


def forget(session: Session, lane: Lane, time: int, now: int) -> int:
    """Delete permits whose calls were not charged, and that have expired (`time` in seconds), or were refused or
    released some time ago: who signs costs nothing. How many.
    """
    checked = col(PermitRow.checked_at)
    over = or_(
        and_(col(PermitRow.status).in_(UNCHARGED), col(PermitRow.deadline) < time),
        and_(col(PermitRow.status) == Status.refused, checked < now - REFUSED_MS),
        and_(col(PermitRow.status) == Status.released, checked < now - RELEASED_MS),
    )
    return change(session, delete(PermitRow).filter_by(lane=lane).where(over))


def is_due(session: Session, lane: Lane) -> bool:
    """Whether the worker has to look at any permit."""
    # In words, and not as parameters: so they are what the index is of.
    ended: list[ColumnElement[str]] = [literal_column(f"'{one}'") for one in (Status.settled, Status.failed)]
    query = select(PermitRow.id).where(col(PermitRow.lane) == lane, col(PermitRow.status).not_in(ended))
    return session.exec(query.limit(1)).first() is not None


def _in_debt() -> ColumnElement[bool]:
    failing = and_(col(PermitRow.status).in_((Status.owed, Status.sent)), col(PermitRow.error).is_not(None))
    return or_(col(PermitRow.status) == Status.failed, failing)


def _read(session: Session, lane: Lane, status: Status, *order: Any, limit: int | None = None) -> list[StoredPermit]:
    query = select(PermitRow).filter_by(lane=lane, status=status).order_by(*order)
    return [_value(row) for row in session.exec(query.limit(limit))]


def _value(row: PermitRow) -> StoredPermit:
    return value_of(StoredPermit, row, permit=value_of(Permit, row), status=Status(row.status))
