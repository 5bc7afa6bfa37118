"""Model documents, capsules and their glue, by the digest their CID carries."""

from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.network.tables import DocumentRow


@dataclass(frozen=True, slots=True)
class Stored:
    """A document's canonical bytes, and what is looked up of it. Kind: model, capsule, glue."""

    id: Digest
    kind: str
    name: str
    party: Address
    body: bytes
    at: int


def put(session: Session, document: Stored) -> bool:
    """Store a document; False if it was there. The id is its content, so it can never differ."""
    row = {name: getattr(document, name) for name in ("id", "kind", "name", "party", "body", "at")}
    made = session.execute(insert(DocumentRow).values(row).on_conflict_do_nothing().returning(col(DocumentRow.id)))
    return made.first() is not None


def get(session: Session, document_id: Digest) -> Stored | None:
    """One document."""
    row = session.get(DocumentRow, document_id)
    return _value(row) if row else None


def everything(session: Session) -> list[Stored]:
    """All models and capsules, oldest first: of two with one name, the later one has it."""
    named = select(DocumentRow).where(col(DocumentRow.kind).in_(("model", "capsule")))
    rows = session.exec(named.order_by(col(DocumentRow.at), col(DocumentRow.id)))
    return [_value(row) for row in rows]


def _value(row: DocumentRow) -> Stored:
    return Stored(Digest(row.id), row.kind, row.name, Address(row.party), row.body, row.at)
