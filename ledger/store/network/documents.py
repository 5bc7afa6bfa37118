"""Model documents, capsules and their glue, by the digest their CID carries."""

from dataclasses import asdict, dataclass

from sqlalchemy import ScalarSelect, func
from sqlalchemy import select as select_many
from sqlmodel import Session, SQLModel, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import CredentialRow
from ledger.store.chain.tables import BidRow, ModelRow, NameRow, OrganisationKeyRow, OrganisationRow, StakeRow
from ledger.store.network.tables import BookRow, DocumentRow, OfferRow, RealmRow
from ledger.store.session import insert_once, value_of

_CHANGED_IN = (ModelRow.block, OrganisationRow.block, OrganisationKeyRow.block)
_SUMMED = (StakeRow.active, RealmRow.nonce, OfferRow.nonce)
"""A later list or offer has a higher nonce, whatever the clock of the gateway that took it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document's canonical bytes, its owner's signature, and the fields it is searched by."""

    id: Digest
    kind: str
    """model, capsule or glue."""
    name: str
    party: Address
    body: bytes
    at: int
    signature: bytes | None = None


def put(session: Session, document: Stored) -> bool:
    """Store a document; False if it is stored already. Its id is the hash of its content."""
    return insert_once(session, DocumentRow, asdict(document))


def get(session: Session, document_id: Digest) -> Stored | None:
    row = session.get(DocumentRow, document_id)
    return value_of(Stored, row) if row else None


def everything(session: Session) -> list[Stored]:
    """All models and capsules, oldest first: of two with one name, the later one counts."""
    named = select(DocumentRow).where(col(DocumentRow.kind).in_(("model", "capsule")))
    rows = session.exec(named.order_by(col(DocumentRow.at), col(DocumentRow.id)))
    return [value_of(Stored, row) for row in rows]


def of_organisation(session: Session, organisation: str) -> list[Stored]:
    """All models and capsules that name this organisation, oldest first."""
    named = select(DocumentRow).where(col(DocumentRow.name).startswith(f"@{organisation}/", autoescape=True))
    rows = session.exec(named.order_by(col(DocumentRow.at), col(DocumentRow.id)))
    return [value_of(Stored, row) for row in rows]


def fingerprint(session: Session) -> tuple[int | None, ...]:
    """Changes whenever something that a catalog is made of has changed."""

    def count(table: type[SQLModel]) -> ScalarSelect[int]:
        return select(func.count()).select_from(table).scalar_subquery()

    return tuple(
        session.execute(
            select_many(
                *(count(table) for table in (DocumentRow, OfferRow, RealmRow, BidRow, ModelRow, BookRow, NameRow)),
                *(select(func.max(at)).scalar_subquery() for at in (CredentialRow.at, *_CHANGED_IN)),
                *(
                    select(func.sum(each)).scalar_subquery()
                    for each in (StakeRow.active, RealmRow.nonce, OfferRow.nonce)
                ),
            )
        ).one()
    )
