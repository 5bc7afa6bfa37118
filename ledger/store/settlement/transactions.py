"""Chain transactions the ledger intends: purpose, nonce and signed bytes are stored before anything is broadcast."""

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.settlement.transactions import Attempt, Call, Status, Transmission, may_try_again
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.store.settlement.tables import AttemptRow, TransmissionRow


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


def take(session: Session, purpose_id: Digest) -> Transmission | None:
    """Lock an intention until the transaction ends; None when another worker holds it, or it is none."""
    query = select(TransmissionRow).where(col(TransmissionRow.id) == purpose_id).with_for_update(skip_locked=True)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row else None


def intend(session: Session, transmission: Transmission) -> bool:
    """Store an intention. False when it was intended before."""
    names = ("id", "purpose", "sender", "target", "data", "created_at")
    row = {name: getattr(transmission, name) for name in names} | {"status": Status.intended.value}
    made = insert(TransmissionRow).values(row).on_conflict_do_nothing().returning(col(TransmissionRow.id))
    return session.execute(made).first() is not None


def count(session: Session, purpose: str) -> int:
    """How many intentions there were whose purpose starts with these words."""
    query = text("SELECT count(*) FROM transmissions WHERE purpose = :purpose OR starts_with(purpose, :purpose || ' ')")
    return int(session.execute(query, {"purpose": purpose}).scalar_one())


def latest(session: Session, purpose: str) -> tuple[int, Transmission | None]:
    """How often a purpose was intended, and the last intention. They are called `PURPOSE 0`, `PURPOSE 1`, ..."""
    tries = count(session, purpose)
    return tries, get(session, keccak256(f"{purpose} {tries - 1}".encode())) if tries else None


def intend_again(session: Session, purpose: str, sender: Address, call: Call, now: int) -> Digest | None:
    """Store the first or, after a failed one, the next intention for a purpose; its id. None while one is under way."""
    tries, last = latest(session, purpose)
    if not may_try_again(last, tries, now):
        return None
    name = f"{purpose} {tries}"
    transmission = Transmission(keccak256(name.encode()), name, sender, *call, Status.intended, now)
    return transmission.id if intend(session, transmission) else None


def set_signed(session: Session, purpose_id: Digest, nonce: int, gas: int, attempt: Attempt) -> None:
    """Give an intention its nonce and its first signed bytes, together."""
    what = "status = 'signed', nonce = :nonce, gas = :gas"
    _update(session, purpose_id, what, nonce=nonce, gas=gas)
    add_attempt(session, attempt)


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


def intended(session: Session) -> list[Transmission]:
    """Intentions without a nonce, in the order they were made."""
    query = select(TransmissionRow).where(col(TransmissionRow.status) == Status.intended.value)
    rows = session.exec(query.order_by(col(TransmissionRow.created_at), col(TransmissionRow.id)))
    return [_value(row) for row in rows]


def under_way(session: Session) -> list[Transmission]:
    """Signed intentions the chain has not confirmed, in the order in which they can be mined."""
    query = select(TransmissionRow).where(col(TransmissionRow.status).in_((Status.signed.value, Status.mined.value)))
    rows = session.exec(query.order_by(col(TransmissionRow.sender), col(TransmissionRow.nonce)))
    return [_value(row) for row in rows]


def reopen(session: Session, block: int) -> None:
    """Blocks above this one are gone: what was mined there is under way again."""
    statement = "UPDATE transmissions SET status = 'signed', mined_hash = NULL, block = NULL WHERE block > :block"
    session.execute(text(statement), {"block": block})


def nonces_from(session: Session, sender: Address, first: int) -> dict[int, tuple[Digest, Status]]:
    """Which of a sender's intentions have which nonces from `first` on."""
    query = select(TransmissionRow.id, TransmissionRow.nonce, TransmissionRow.status)
    rows = session.exec(query.where(col(TransmissionRow.sender) == sender, col(TransmissionRow.nonce) >= first))
    return {nonce: (Digest(name), Status(status)) for name, nonce, status in rows if nonce is not None}


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
        id=Digest(row.id),
        purpose=row.purpose,
        sender=Address(row.sender),
        target=Address(row.target),
        data=row.data,
        status=Status(row.status),
        created_at=row.created_at,
        nonce=row.nonce,
        gas=row.gas,
        sent_at=row.sent_at,
        mined_hash=Digest(row.mined_hash) if row.mined_hash else None,
        block=row.block,
        error=row.error,
    )
