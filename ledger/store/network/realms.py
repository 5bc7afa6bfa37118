"""Realms: the newest list of each realm's members, as its owner signed it.

Alone, because an offer is a provider's word and a list is the realm's owner's.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import any_, literal
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import String
from sqlmodel import Session, col, select

from ledger.store.network.tables import RealmRow
from ledger.store.session import change, value_of


@dataclass(frozen=True, slots=True)
class Stored:
    """A list's canonical bytes with its signature, and when it came (ms)."""

    name: str
    body: bytes
    nonce: int
    at: int


def put(session: Session, stored: Stored) -> bool:
    """Store a list in place of the realm's earlier one. False when that has as high a nonce."""
    row = asdict(stored)
    statement = insert(RealmRow).values(row)
    newer = col(RealmRow.nonce) < statement.excluded.nonce
    return change(session, statement.on_conflict_do_update(index_elements=["name"], set_=row, where=newer)) == 1


def get(session: Session, name: str) -> Stored | None:
    """The newest list of a realm."""
    return next(iter(of(session, [name])), None)


def of(session: Session, names: Collection[str]) -> list[Stored]:
    """The newest lists of these realms, of those that have one."""
    query = select(RealmRow).where(col(RealmRow.name) == any_(literal([*names], ARRAY(String))))
    rows = session.exec(query.execution_options(populate_existing=True))
    return [value_of(Stored, row) for row in rows]
