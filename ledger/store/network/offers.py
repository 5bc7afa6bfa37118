"""Offers: where a provider serves a subject, as it signed it; and the encrypted credentials of its server."""

import json
from dataclasses import asdict, dataclass

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import CredentialRow
from ledger.store.network.tables import OfferRow
from ledger.store.session import change, upsert, value_of


@dataclass(frozen=True, slots=True)
class Stored:
    """An offer's canonical bytes with its signature, and the fields it is searched by. `expires_at` is an epoch, 0 when
    it is withdrawn. It was taken at `at`; `since` then the party has offered this without a break (ms). It `sponsors`
    if it is an order to curators or for slots, else it serves, or bids.
    """

    subject: Digest
    party: Address
    role: Role
    body: bytes
    nonce: int
    url: str
    tier: str
    capacity: int
    expires_at: int
    at: int
    since: int
    sponsors: bool = False

    @property
    def realm(self) -> str:
        """The realm that it serves in, or ""."""
        if b'"realm"' not in self.body:
            return ""
        realm: str = (json.loads(self.body).get("serve") or {}).get("realm", "")
        return realm


@dataclass(frozen=True, slots=True)
class Credential:
    """Header lines for a provider's server, encrypted."""

    provider: Address
    subject: Digest
    nonce: bytes
    encrypted: bytes


def put(session: Session, offer: Stored) -> bool:
    """Store an offer in place of the party's earlier one of its kind, in the role for the subject. False when that has
    as high a nonce.
    """
    row = asdict(offer)
    keys = ["subject", "party", "role", "sponsors"]
    statement = insert(OfferRow).values(row)
    newer = col(OfferRow.nonce) < statement.excluded.nonce
    return change(session, statement.on_conflict_do_update(index_elements=keys, set_=row, where=newer)) == 1


def get(session: Session, subject: Digest, party: Address, role: Role, *, sponsors: bool = False) -> Stored | None:
    row = session.get(OfferRow, (subject, party, role, sponsors), populate_existing=True)
    return _value(row) if row else None


def unexpired(session: Session, epoch: int) -> list[Stored]:
    """All offers that have not expired by an epoch, by subject and party."""
    query = select(OfferRow).where(col(OfferRow.expires_at) > epoch)
    return [_value(row) for row in session.exec(query.order_by(col(OfferRow.subject), col(OfferRow.party)))]


def put_credential(
    session: Session, subject: Digest, provider: Address, credential: Credential | None, now: int
) -> None:
    """Store a provider's credential for a subject in place of an earlier one, or, with None, remove that."""
    if credential is not None:
        upsert(session, CredentialRow, asdict(credential) | {"at": now})
        return
    theirs = (col(CredentialRow.provider) == provider, col(CredentialRow.subject) == subject)
    change(session, delete(CredentialRow).where(*theirs))


def renew_credential(session: Session, old: Credential, new: Credential, now: int) -> None:
    """Store a credential that is encrypted anew, unless its provider has given another one meanwhile."""
    this = (col(CredentialRow.provider) == old.provider, col(CredentialRow.subject) == old.subject)
    same = update(CredentialRow).where(*this, col(CredentialRow.nonce) == old.nonce)
    change(session, same.values(nonce=new.nonce, encrypted=new.encrypted, at=now))


def _value(row: OfferRow) -> Stored:
    return value_of(Stored, row, role=Role(row.role))


def credentials(session: Session) -> list[Credential]:
    rows = session.exec(select(CredentialRow).execution_options(populate_existing=True))
    return [value_of(Credential, row) for row in rows]
