"""Chain transactions the ledger intends: purpose, nonce and signed bytes are stored before anything is broadcast."""

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.ids import Address, Digest
from ledger.store.tables import AttemptRow, TransmissionRow


class Status(Enum):
    """Signed, then mined, then confirmed; or mined and failed. A reorganisation takes mined back to signed."""

    signed = "signed"
    mined = "mined"
    confirmed = "confirmed"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Transmission:
    """One intended transaction; `id` comes from its purpose, so an intention exists once."""

    id: Digest
    purpose: str
    sender: Address
    nonce: int
    target: Address
    data: bytes
    gas: int
    status: Status
    created_at: int
    sent_at: int | None = None
    mined_hash: Digest | None = None
    block: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """The signed bytes of a transmission at one fee (wei per gas)."""

    transmission: Digest
    ordinal: int
    raw: bytes
    hash: Digest
    fee: int
    signed_at: int


def lock_sender(session: Session, sender: Address) -> None:
    """Nonces of a sender are given out one transaction at a time."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 7))"), {"key": f"sender:{sender.hex()}"})


def next_nonce(session: Session, sender: Address, chain_nonce: int) -> int:
    """The first nonce neither the chain nor an intention of ours has used. Call with the sender locked."""
    query = text("SELECT max(nonce) + 1 FROM transmissions WHERE sender = :sender")
    ours = session.execute(query, {"sender": sender}).scalar_one()
    return max(chain_nonce, int(ours or 0))


def get(session: Session, purpose_id: Digest) -> Transmission | None:
    """An intention by its id."""
    row = session.get(TransmissionRow, purpose_id, populate_existing=True)
    return _value(row) if row else None


def store(session: Session, transmission: Transmission, attempt: Attempt) -> bool:
    """Store an intention with its first signed bytes. False when it was already intended."""
    made = session.execute(
        insert(TransmissionRow)
        .values(
            **{name: getattr(transmission, name) for name in ("id", "purpose", "sender", "nonce", "target", "data")},
            gas=transmission.gas,
            status=transmission.status.value,
            created_at=transmission.created_at,
        )
        .on_conflict_do_nothing()
        .returning(col(TransmissionRow.id))
    ).first()
    if made is not None:
        add_attempt(session, attempt)
    return made is not None


def add_attempt(session: Session, attempt: Attempt) -> None:
    """Store signed bytes; the same bytes again change nothing."""
    values = {name: getattr(attempt, name) for name in ("transmission", "ordinal", "raw", "hash", "fee", "signed_at")}
    session.execute(insert(AttemptRow).values(values).on_conflict_do_nothing())


def attempts(session: Session, purpose_id: Digest) -> list[Attempt]:
    """All signed bytes of an intention, oldest first; any of them may have been mined."""
    query = select(AttemptRow).where(col(AttemptRow.transmission) == purpose_id).order_by(col(AttemptRow.ordinal))
    return [
        Attempt(Digest(row.transmission), row.ordinal, row.raw, Digest(row.hash), row.fee, row.signed_at)
        for row in session.exec(query)
    ]


def open_ones(session: Session) -> list[Transmission]:
    """Intentions the chain has not confirmed, by sender and nonce: the order in which they can be mined."""
    query = select(TransmissionRow).where(col(TransmissionRow.status).in_(("signed", "mined")))
    rows = session.exec(query.order_by(col(TransmissionRow.sender), col(TransmissionRow.nonce)))
    return [_value(row) for row in rows]


def confirmed_since(session: Session, block: int) -> list[Transmission]:
    """Confirmed intentions mined at or after a block: the ones a deep reorganisation could undo."""
    query = select(TransmissionRow).where(
        col(TransmissionRow.status).in_(("confirmed", "failed")), col(TransmissionRow.block) >= block
    )
    return [_value(row) for row in session.exec(query.order_by(col(TransmissionRow.nonce)))]


def set_sent(session: Session, purpose_id: Digest, now: int) -> None:
    """It was broadcast (perhaps again)."""
    _update(session, purpose_id, "sent_at = :sent_at", sent_at=now)


def set_status(
    session: Session,
    purpose_id: Digest,
    status: Status,
    mined_hash: Digest | None = None,
    block: int | None = None,
    error: str | None = None,
) -> None:
    """What the chain says of it now."""
    values = {"status": status.value, "mined_hash": mined_hash, "block": block, "error": error}
    _update(session, purpose_id, "status = :status, mined_hash = :mined_hash, block = :block, error = :error", **values)


def _update(session: Session, purpose_id: Digest, what: str, **values: object) -> None:
    session.execute(text(f"UPDATE transmissions SET {what} WHERE id = :id"), {"id": purpose_id, **values})


def _value(row: TransmissionRow) -> Transmission:
    return Transmission(
        *(Digest(row.id), row.purpose, Address(row.sender), row.nonce, Address(row.target), row.data, row.gas),
        *(Status(row.status), row.created_at, row.sent_at),
        *(Digest(row.mined_hash) if row.mined_hash else None, row.block, row.error),
    )
