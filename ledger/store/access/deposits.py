"""Deposits that consumers asked to have relayed: stored when asked for, sent by the worker, booked by the indexer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Update, func, or_, update
from sqlmodel import Session, col, select

from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.store.access.tables import DepositRow
from ledger.store.session import change, insert_once, value_of


@dataclass(frozen=True, slots=True)
class DepositRequest:
    """An authorization to move `amount` of an account's tokens into its lane. Kind: authorization, inbox or credit."""

    id: Digest
    lane: Lane
    account: Address
    amount: int
    valid_after: int
    valid_before: int
    salt: Digest
    signature: bytes
    kind: str = "authorization"
    status: str = "requested"
    error: str | None = None

    @property
    def purpose(self) -> str:
        """What the transaction that relays it is for."""
        return f"deposit {to_hex(self.id)}"


def request(session: Session, deposit: DepositRequest, now: int) -> bool:
    """Store a request. False if it was stored before; the same id with other content is a Conflict."""
    if insert_once(session, DepositRow, asdict(deposit) | {"requested_at": now}):
        return True
    known = get(session, deposit.lane, deposit.id)
    if known is None or (known.account, known.amount, known.salt) != (deposit.account, deposit.amount, deposit.salt):
        raise Conflict(f"deposit {to_hex(deposit.id)} was requested with other content", deposit=to_hex(deposit.id))
    return False


def bind(session: Session, lane: Lane, deposit_id: Digest, request: Digest) -> bool:
    """Let a payment pay for one request and no other: a call and its body. False when it already pays for another."""
    free = or_(col(DepositRow.call).is_(None), col(DepositRow.call) == request)
    return change(session, update(DepositRow).filter_by(lane=lane, id=deposit_id).where(free).values(call=request)) == 1


def get(session: Session, lane: Lane, deposit_id: Digest) -> DepositRequest | None:
    row = session.get(DepositRow, (lane, deposit_id), populate_existing=True)
    return value_of(DepositRequest, row) if row else None


def requested(session: Session, lane: Lane, limit: int = 100) -> list[DepositRequest]:
    """Requests that are not sent yet, oldest first."""
    return _with_status(session, lane, "requested", limit)


def sent(session: Session, lane: Lane) -> list[DepositRequest]:
    """Requests sent and not yet credited or failed, oldest first."""
    return _with_status(session, lane, "sent")


def oldest_waiting(session: Session, lane: Lane) -> int | None:
    """When the oldest request was stored that is neither credited nor failed, in ms; None without one."""
    waiting = col(DepositRow.status).in_(("requested", "sent"))
    return session.exec(select(func.min(DepositRow.requested_at)).where(col(DepositRow.lane) == lane, waiting)).one()


def ended(session: Session, lane: Lane, ids: Sequence[Digest]) -> dict[Digest, DepositRequest]:
    """Those of these requests that are credited or have failed, by id."""
    ours = (col(DepositRow.lane) == lane, col(DepositRow.id).in_(ids))
    query = select(DepositRow).where(*ours, col(DepositRow.status).in_(("credited", "failed")))
    return {Digest(row.id): value_of(DepositRequest, row) for row in session.exec(query)}


def set_status(session: Session, deposit: DepositRequest, status: str, error: str | None = None) -> None:
    """Record how far a request has come: requested, sent, failed."""
    change(session, _this(deposit).values(status=status, error=error))


def set_credited(session: Session, deposit: DepositRequest, block: int | None = None) -> None:
    """Record that it is booked, and in which block of the chain."""
    change(session, _this(deposit).values(status="credited", error=None, block=block))


def paid_in(session: Session, lane: Lane, account: Address, after_block: int | None) -> int:
    """What an account paid by x402 and was booked after a block, or ever, in atoms."""
    ours = [col(DepositRow.lane) == lane, col(DepositRow.account) == account]
    ours += [col(DepositRow.kind) == "inbox", col(DepositRow.status) == "credited"]
    if after_block is not None:
        ours.append(col(DepositRow.block) > after_block)
    return int(session.exec(select(func.coalesce(func.sum(DepositRow.amount), 0)).where(*ours)).one())


def _this(deposit: DepositRequest) -> Update:
    return update(DepositRow).filter_by(lane=deposit.lane, id=deposit.id)


def _with_status(session: Session, lane: Lane, status: str, limit: int | None = None) -> list[DepositRequest]:
    query = select(DepositRow).filter_by(lane=lane, status=status).order_by(col(DepositRow.requested_at))
    return [value_of(DepositRequest, row) for row in session.exec(query.limit(limit))]
