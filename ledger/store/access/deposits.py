"""Deposits consumers asked to have relayed: stored when asked, sent by the worker, booked when the chain says so."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.store.access.tables import DepositRow


@dataclass(frozen=True, slots=True)
class DepositRequest:
    """An authorization to move `amount` of an account's tokens into its lane. Kind: authorization or inbox."""

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
    """Store a request. False if it was there; the same id with other content is a Conflict."""
    names = ("id", "lane", "account", "amount", "valid_after", "valid_before", "salt", "signature", "kind", "status")
    row = {name: getattr(deposit, name) for name in names} | {"requested_at": now}
    made = session.execute(insert(DepositRow).values(row).on_conflict_do_nothing().returning(col(DepositRow.id)))
    if made.first() is not None:
        return True
    known = get(session, deposit.id)
    if known is None or (known.account, known.amount, known.salt) != (deposit.account, deposit.amount, deposit.salt):
        raise Conflict(f"deposit {to_hex(deposit.id)} was requested with other content", deposit=to_hex(deposit.id))
    return False


def bind(session: Session, deposit_id: Digest, call: Digest) -> bool:
    """Let a payment pay for one call and no other. False when it was for another one."""
    statement = (
        "UPDATE deposits_requested SET call = :call WHERE id = :id AND (call IS NULL OR call = :call) RETURNING id"
    )
    return session.execute(text(statement), {"id": deposit_id, "call": call}).first() is not None


def get(session: Session, deposit_id: Digest) -> DepositRequest | None:
    """A request by its id."""
    row = session.get(DepositRow, deposit_id, populate_existing=True)
    return _value(row) if row else None


def requested(session: Session, limit: int = 100) -> list[DepositRequest]:
    """Requests nobody has sent yet, oldest first."""
    query = select(DepositRow).where(col(DepositRow.status) == "requested").order_by(col(DepositRow.requested_at))
    return [_value(row) for row in session.exec(query.limit(limit))]


def sent(session: Session) -> list[DepositRequest]:
    """Requests sent and not yet credited or failed."""
    query = select(DepositRow).where(col(DepositRow.status) == "sent").order_by(col(DepositRow.requested_at))
    return [_value(row) for row in session.exec(query)]


def set_status(session: Session, deposit_id: Digest, status: str, error: str | None = None) -> None:
    """How far a request has come: requested, sent, credited, failed."""
    values = {"id": deposit_id, "status": status, "error": error}
    session.execute(text("UPDATE deposits_requested SET status = :status, error = :error WHERE id = :id"), values)


def _value(row: DepositRow) -> DepositRequest:
    return DepositRequest(
        *(Digest(row.id), row.lane, Address(row.account), row.amount, row.valid_after, row.valid_before),
        *(Digest(row.salt), row.signature, row.kind, row.status, row.error),
    )
