"""Chain transactions the ledger intends: purpose, nonce and signed bytes are stored before anything is broadcast."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, update
from sqlmodel import Session, col, select

from ledger.core.settlement.transactions import Attempt, Call, ChainTransaction, Mined, Status, may_try_again
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.session import change, insert_once, lock, value_of
from ledger.store.settlement.tables import AttemptRow
from ledger.store.settlement.tables import ChainTransactionRow as Row

MOST_TRIES = 8
"""Intentions of one purpose that are looked at for the one that was mined. More than one is rare."""


def lock_sender(session: Session, sender: Address) -> None:
    """Wait until no other transaction gives out nonces of this sender."""
    lock(session, f"sender:{sender.hex()}")


def next_nonce(session: Session, sender: Address, chain_nonce: int) -> int:
    """The first nonce that neither the chain nor an intention of ours has used. Call with the sender locked."""
    ours = session.exec(select(func.max(Row.nonce)).where(col(Row.sender) == sender)).one()
    return max(chain_nonce, 0 if ours is None else int(ours) + 1)


def get(session: Session, lane: Lane, purpose_id: Digest) -> ChainTransaction | None:
    row = session.get(Row, (lane, purpose_id), populate_existing=True)
    return _value(row) if row else None


def take(session: Session, lane: Lane, purpose_id: Digest) -> ChainTransaction | None:
    """Lock an intention until the transaction ends. None when there is none, or another worker holds it."""
    query = select(Row).where(col(Row.lane) == lane, col(Row.id) == purpose_id).with_for_update(skip_locked=True)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def intend(session: Session, lane: Lane, intended: ChainTransaction) -> bool:
    """Store an intention. False when it was intended before."""
    names = ("id", "purpose", "sender", "target", "data", "gas", "created_at")
    row = {name: getattr(intended, name) for name in names}
    return insert_once(session, Row, row | {"lane": lane, "status": Status.intended.value})


def may_intend(session: Session, lane: Lane, purpose: str, now: int) -> bool:
    """Whether `intend_again` would store an intention."""
    tries, last = latest(session, lane, purpose)
    return may_try_again(last, tries, now)


def intend_again(session: Session, lane: Lane, purpose: str, sender: Address, call: Call, now: int) -> Digest | None:
    """Store the first or, after a failed one, the next intention for a purpose; its id. None while one is under way."""
    tries, last = latest(session, lane, purpose)
    if not may_try_again(last, tries, now):
        return None
    name = f"{purpose} {tries}"
    made = ChainTransaction(keccak256(name.encode()), name, sender, *call, Status.intended, now)
    return made.id if intend(session, lane, made) else None


def count(session: Session, lane: Lane, purpose: str) -> int:
    """The number of intentions with a purpose that starts with these words."""
    return _count(session, lane, purpose)


def reverted(session: Session, lane: Lane, purpose: str) -> int:
    """How many of a purpose's intentions are in blocks, and failed there."""
    return _count(session, lane, purpose, col(Row.status) == Status.failed.value, col(Row.block).is_not(None))


def _count(session: Session, lane: Lane, purpose: str, *also: ColumnElement[bool]) -> int:
    name = col(Row.purpose)  # its index is in the order of bytes, in which "!" follows " "
    begins = and_(name.op("~>=~", is_comparison=True)(f"{purpose} "), name.op("~<~", is_comparison=True)(f"{purpose}!"))
    named = or_(name == purpose, begins)
    return session.exec(select(func.count()).select_from(Row).where(col(Row.lane) == lane, named, *also)).one()


def latest(session: Session, lane: Lane, purpose: str) -> tuple[int, ChainTransaction | None]:
    """The count of a purpose's intentions, and the last one. They are called `PURPOSE 0`, `PURPOSE 1`, ..."""
    tries = count(session, lane, purpose)
    return tries, get(session, lane, keccak256(f"{purpose} {tries - 1}".encode())) if tries else None


def mined(session: Session, lane: Lane, purpose: str) -> Digest | None:
    """The hash of the attempt that is in a block and did what a purpose wants; None while there is none."""
    for tries in range(MOST_TRIES):
        one = get(session, lane, keccak256(f"{purpose} {tries}".encode()))
        if one is None:
            break
        if one.status in (Status.mined, Status.confirmed):
            return one.mined_hash
    return None


def latest_naming(session: Session, lane: Lane, cause: str) -> tuple[int, ChainTransaction | None]:
    """The count of intentions whose purpose names a cause, among others perhaps, and the last one."""
    query = select(Row).where(col(Row.lane) == lane, func.strpos(Row.purpose, cause) > 0)
    rows = session.exec(query.order_by(col(Row.created_at))).all()
    return len(rows), _value(rows[-1]) if rows else None


def set_signed(session: Session, lane: Lane, signed: ChainTransaction, attempt: Attempt) -> None:
    """Give an intention its sender, its nonce and its first signed bytes, together."""
    values = {"sender": signed.sender, "nonce": signed.nonce, "gas": signed.gas}
    _update(session, lane, signed.id, status=Status.signed.value, **values)
    add_attempt(session, lane, attempt)


def add_attempt(session: Session, lane: Lane, attempt: Attempt) -> None:
    """Store signed bytes; the same bytes again change nothing."""
    insert_once(session, AttemptRow, asdict(attempt) | {"lane": lane})


def attempts(session: Session, lane: Lane, purpose_id: Digest) -> list[Attempt]:
    """All signed bytes of an intention, oldest first; any of them may have been mined."""
    of_it = (col(AttemptRow.lane) == lane, col(AttemptRow.chain_transaction) == purpose_id)
    rows = session.exec(select(AttemptRow).where(*of_it).order_by(col(AttemptRow.ordinal)))
    return [value_of(Attempt, row) for row in rows]


def intended(session: Session, lane: Lane) -> list[ChainTransaction]:
    """Intentions without a nonce, in the order they were made."""
    query = select(Row).where(col(Row.lane) == lane, col(Row.status) == Status.intended.value)
    return [_value(row) for row in session.exec(query.order_by(col(Row.created_at), col(Row.id)))]


def under_way(session: Session, lane: Lane) -> list[ChainTransaction]:
    """Signed intentions the chain has not confirmed, in the order in which they can be mined."""
    waiting = col(Row.status).in_((Status.signed.value, Status.mined.value))
    query = select(Row).where(col(Row.lane) == lane, waiting)
    return [_value(row) for row in session.exec(query.order_by(col(Row.sender), col(Row.nonce)))]


def reopen(session: Session, block: int) -> None:
    """Put what was mined above this block under way again: those blocks are gone."""
    gone = update(Row).where(col(Row.block) > block)
    change(session, gone.values(status=Status.signed.value, mined_hash=None, block=None))


def nonces_from(session: Session, sender: Address, first: int) -> dict[int, tuple[Lane, Digest, Status]]:
    """Which of a sender's intentions, of any lane, have which nonces from `first` on."""
    query = select(Row.lane, Row.id, Row.nonce, Row.status).where(col(Row.sender) == sender, col(Row.nonce) >= first)
    return {
        nonce: (Lane(lane), Digest(name), Status(status))
        for lane, name, nonce, status in session.exec(query)
        if nonce is not None
    }


def set_sent(session: Session, lane: Lane, purpose_id: Digest, now: int) -> None:
    _update(session, lane, purpose_id, sent_at=now)


def set_status(
    session: Session,
    lane: Lane,
    purpose_id: Digest,
    status: Status,
    mined: Mined | None = None,
    error: str | None = None,
) -> None:
    """Record what the chain says of it now."""
    hashed, block = (mined.hash, mined.block) if mined else (None, None)
    _update(session, lane, purpose_id, status=status.value, mined_hash=hashed, block=block, error=error)


def _update(session: Session, lane: Lane, purpose_id: Digest, **values: Any) -> None:
    change(session, update(Row).where(col(Row.lane) == lane, col(Row.id) == purpose_id).values(**values))


def _value(row: Row) -> ChainTransaction:
    return value_of(ChainTransaction, row, status=Status(row.status), value=0)
