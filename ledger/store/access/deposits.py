"""Deposits that consumers asked to have relayed: stored when asked for, sent by the worker, booked by the indexer."""

from dataclasses import dataclass

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.store.access.tables import DepositRow
from ledger.store.session import change, insert_once


@dataclass(frozen=True, slots=True)
class DepositRequest:
    """An authorization to move `amount` of an account's tokens into its lane. Kind: authorization, inbox or credit."""

    id: Digest
    lane: int
    account: Address
    amount: int
    valid_after: int
    valid_before: int
    salt: Digest
    signature: bytes
    kind: str = "authorization"
    status: str = "requested"
    error: str | None = None


def request(session: Session, deposit: DepositRequest, now: int) -> bool:
    """Store a request. False if it was stored before; the same id with other content is a Conflict."""
    names = ("id", "lane", "account", "amount", "valid_after", "valid_before", "salt", "signature", "kind", "status")
    if insert_once(session, DepositRow, {name: getattr(deposit, name) for name in names} | {"requested_at": now}):
        return True
    known = get(session, deposit.id)
    if known is None or (known.account, known.amount, known.salt) != (deposit.account, deposit.amount, deposit.salt):
        raise Conflict(f"deposit {to_hex(deposit.id)} was requested with other content", deposit=to_hex(deposit.id))
    return False


def bind(session: Session, deposit_id: Digest, call: Digest) -> bool:
    """Let a payment pay for one call and no other. False when it already pays for another."""
    free = or_(col(DepositRow.call).is_(None), col(DepositRow.call) == call)
    return change(session, update(DepositRow).where(col(DepositRow.id) == deposit_id, free).values(call=call)) == 1


def get(session: Session, deposit_id: Digest) -> DepositRequest | None:
    """A request by its id."""
    row = session.get(DepositRow, deposit_id, populate_existing=True)
    return _value(row) if row else None


def requested(session: Session, limit: int = 100) -> list[DepositRequest]:
    """Requests that are not sent yet, oldest first."""
    return _with_status(session, "requested", limit)


def sent(session: Session) -> list[DepositRequest]:
    """Requests sent and not yet credited or failed, oldest first."""
    return _with_status(session, "sent")


def set_status(session: Session, deposit_id: Digest, status: str, error: str | None = None) -> None:
    """Record how far a request has come: requested, sent, credited, failed."""
    change(session, update(DepositRow).where(col(DepositRow.id) == deposit_id).values(status=status, error=error))


def _with_status(session: Session, status: str, limit: int | None = None) -> list[DepositRequest]:
    query = select(DepositRow).where(col(DepositRow.status) == status).order_by(col(DepositRow.requested_at))
    return [_value(row) for row in session.exec(query.limit(limit))]


def _value(row: DepositRow) -> DepositRequest:
    return DepositRequest(
        id=Digest(row.id),
        lane=row.lane,
        account=Address(row.account),
        amount=row.amount,
        valid_after=row.valid_after,
        valid_before=row.valid_before,
        salt=Digest(row.salt),
        signature=row.signature,
        kind=row.kind,
        status=row.status,
        error=row.error,
    )
