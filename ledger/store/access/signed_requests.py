"""Changes that accounts signed: each is taken once. Alone: one table, one file."""

from sqlalchemy import delete
from sqlmodel import Session, col

from ledger.core.values.ids import Digest, Lane
from ledger.store.access.tables import SignedRequestRow
from ledger.store.session import change, insert_once


def take(session: Session, lane: Lane, digest: Digest, until: int, now: int) -> bool:
    """Remember a signed request until (ms) its signature is fresh nowhere. False when it was taken before."""
    change(
        session, delete(SignedRequestRow).where(col(SignedRequestRow.lane) == lane, col(SignedRequestRow.until) < now)
    )
    return insert_once(session, SignedRequestRow, {"lane": lane, "digest": digest, "until": until})
