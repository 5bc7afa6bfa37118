"""Offers: where a provider serves a subject, as it signed it; and the encrypted credentials of its server."""

from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import CredentialRow
from ledger.store.network.tables import OfferRow
from ledger.store.session import upsert, value_of


@dataclass(frozen=True, slots=True)
class Stored:
    """An offer's canonical bytes with its signature, and the fields it is searched by. `expires_at` is an epoch."""

    subject: Digest
    party: Address
    body: bytes
    url: str
    tier: str
    capacity: int
    expires_at: int
    at: int


@dataclass(frozen=True, slots=True)
class Credential:
    """Header lines for a provider's server, encrypted."""

    provider: Address
    subject: Digest
    nonce: bytes
    encrypted: bytes


def put(session: Session, offer: Stored) -> None:
    """Store an offer in place of the party's earlier one for the subject."""
    upsert(session, OfferRow, asdict(offer))


def get(session: Session, subject: Digest, party: Address) -> Stored | None:
    row = session.get(OfferRow, (subject, party), populate_existing=True)
    return value_of(Stored, row) if row else None


def unexpired(session: Session, epoch: int) -> list[Stored]:
    """All offers that have not expired by an epoch, by subject and party."""
    query = select(OfferRow).where(col(OfferRow.expires_at) > epoch)
    return [value_of(Stored, row) for row in session.exec(query.order_by(col(OfferRow.subject), col(OfferRow.party)))]


def put_credential(session: Session, credential: Credential, now: int) -> None:
    """Store a provider's credential for a subject, in place of an earlier one."""
    upsert(session, CredentialRow, asdict(credential) | {"at": now})


def credentials(session: Session) -> list[Credential]:
    rows = session.exec(select(CredentialRow).execution_options(populate_existing=True))
    return [value_of(Credential, row) for row in rows]
