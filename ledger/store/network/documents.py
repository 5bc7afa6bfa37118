"""Model documents, capsules and their glue, by the digest their CID carries."""

from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.network.tables import DocumentRow
from ledger.store.session import insert_once


@dataclass(frozen=True, slots=True)
class Stored:
    """A document's canonical bytes, and the fields it is searched by. Kind: model, capsule, glue."""

    id: Digest
    kind: str
    name: str
    party: Address
    body: bytes
    at: int


def put(session: Session, document: Stored) -> bool:
    """Store a document; False if it is stored already. Its id is the hash of its content."""
    return insert_once(session, DocumentRow, asdict(document))


def get(session: Session, document_id: Digest) -> Stored | None:
    """One document."""
    row = session.get(DocumentRow, document_id)
    return _value(row) if row else None


def everything(session: Session) -> list[Stored]:
    """All models and capsules, oldest first: of two with one name, the later one counts."""
    named = select(DocumentRow).where(col(DocumentRow.kind).in_(("model", "capsule")))
    rows = session.exec(named.order_by(col(DocumentRow.at), col(DocumentRow.id)))
    return [_value(row) for row in rows]


def _value(row: DocumentRow) -> Stored:
    return Stored(Digest(row.id), row.kind, row.name, Address(row.party), row.body, row.at)
