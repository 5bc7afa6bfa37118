"""Offers: where a provider serves a subject, as it signed it; and what its server wants to see, sealed."""

from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import CredentialRow
from ledger.store.network.tables import OfferRow


@dataclass(frozen=True, slots=True)
class Stored:
    """An offer's canonical bytes with its signature, and what is looked up of it. `expires_at` is an epoch."""

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


_FIELDS = ("subject", "party", "body", "url", "tier", "capacity", "expires_at", "at")


def put(session: Session, offer: Stored) -> None:
    """Store an offer in place of the party's earlier one for the subject."""
    row = {name: getattr(offer, name) for name in _FIELDS}
    keys = [col(OfferRow.subject), col(OfferRow.party)]
    session.execute(insert(OfferRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def get(session: Session, subject: Digest, party: Address) -> Stored | None:
    """A party's offer for a subject."""
    row = session.get(OfferRow, (subject, party), populate_existing=True)
    return _value(row) if row else None


def standing(session: Session, epoch: int) -> list[Stored]:
    """All offers that have not expired by an epoch, by subject and party."""
    query = select(OfferRow).where(col(OfferRow.expires_at) > epoch)
    return [_value(row) for row in session.exec(query.order_by(col(OfferRow.subject), col(OfferRow.party)))]


def put_credential(session: Session, credential: Credential, now: int) -> None:
    """Keep a provider's credential for a subject, in place of an earlier one."""
    row = {name: getattr(credential, name) for name in ("provider", "subject", "nonce", "encrypted")} | {"at": now}
    keys = [col(CredentialRow.provider), col(CredentialRow.subject)]
    session.execute(insert(CredentialRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def credentials(session: Session) -> list[Credential]:
    """All sealed credentials."""
    rows = session.exec(select(CredentialRow).execution_options(populate_existing=True))
    return [Credential(Address(row.provider), Digest(row.subject), row.nonce, row.encrypted) for row in rows]


def _value(row: OfferRow) -> Stored:
    place = row.body, row.url, row.tier, row.capacity, row.expires_at, row.at
    return Stored(Digest(row.subject), Address(row.party), *place)
