"""Parties on the chain: payees with their indices in payout trees, models, stakes, session keys."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from ledger.core.catalog.lineage import Registration
from ledger.core.settlement.events import ModelRegistered
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.store.chain.tables import ModelOwnerRow, ModelRow, PartyRow, PrivatePayeeRow, SessionKeyRow, StakeRow
from ledger.store.session import insert_once, lock, upsert, value_of


@dataclass(frozen=True, slots=True)
class Stake:
    """A party's stake, the part that is leaving, and from when it may leave (seconds)."""

    party: Address
    active: int
    unbonding: int = 0
    release_at: int = 0


def put(session: Session, address: Address, payee_index: int) -> None:
    """Mirror a payee's index. Another index for the same payee is a Conflict: an index never changes."""
    insert_once(session, PartyRow, {"address": address, "payee_index": payee_index})
    known = index_of(session, address)
    if known != payee_index:
        raise Conflict(f"payee {to_hex(address)} is at {known}, not at {payee_index}", payee=to_hex(address))


def index_of(session: Session, address: Address, lane: Lane | None = None) -> int | None:
    """A payee's index in a lane's payout trees, if it has one. Without a lane: its index in the Registry."""
    if lane is not None and _is_private(session, lane):
        row = session.get(PrivatePayeeRow, (lane, address))
        return row.payee_index if row else None
    return session.exec(select(PartyRow.payee_index).where(col(PartyRow.address) == address)).first()


def by_index(session: Session, lane: Lane | None = None) -> dict[int, Address]:
    """Every payee by its index in a lane's payout trees. Without a lane: by its index in the Registry."""
    return (_own_payees(session, lane) if lane is not None else {}) or _registered(session)


def assign(session: Session, lane: Lane, addresses: Iterable[Address]) -> None:
    """Give payees without an index the next ones, by address: a private grid has no Registry to do it."""
    lock(session, f"parties:{to_hex(lane)}")
    known = _own_payees(session, lane)
    missing = sorted(set(addresses) - set(known.values()))
    for index, address in enumerate(missing, max(known, default=0) + 1):
        insert_once(session, PrivatePayeeRow, {"lane": lane, "address": address, "payee_index": index})


def put_model(session: Session, model: ModelRegistered, block: int) -> None:
    """Mirror a model's registration, the first or one that an earlier commitment made."""
    row = {"id": model.id, "registrant": model.owner, "lineage": model.lineage, "registered_from": model.from_epoch}
    upsert(session, ModelRow, row | {"block": block})
    change_owner(session, model.id, model.owner, model.from_epoch)


def change_owner(session: Session, model: Digest, owner: Address, from_epoch: int) -> None:
    """Mirror that a model is `owner`'s from an epoch on. Of two changes for one epoch the later counts."""
    upsert(session, ModelOwnerRow, {"model": model, "from_epoch": from_epoch, "owner": owner})


def model_owners(session: Session, epoch: int) -> dict[Digest, Address]:
    """The owner of every registered id in an epoch, also in a past one: whose change of owner entered last by then."""
    query = select(ModelOwnerRow.model, ModelOwnerRow.owner).where(col(ModelOwnerRow.from_epoch) <= epoch)
    rows = session.exec(query.order_by(col(ModelOwnerRow.from_epoch)))
    return {Digest(model): Address(owner) for model, owner in rows}


def owner_to_be(session: Session, subject: Digest) -> Address | None:
    """The owner of a registered id once every change so far counts; None if it is not registered."""
    query = select(ModelOwnerRow.owner).where(col(ModelOwnerRow.model) == subject)
    owner = session.exec(query.order_by(col(ModelOwnerRow.from_epoch).desc()).limit(1)).first()
    return Address(owner) if owner is not None else None


def registrations(session: Session) -> dict[Digest, Registration]:
    """How every registered id stands in the Registry."""
    rows = session.exec(select(ModelRow).execution_options(populate_existing=True))
    return {
        Digest(row.id): Registration(Address(row.registrant), Digest(row.lineage), row.registered_from) for row in rows
    }


def put_stake(session: Session, stake: Stake) -> None:
    upsert(session, StakeRow, asdict(stake))


def stakes(session: Session) -> dict[Address, Stake]:
    rows = session.exec(select(StakeRow).execution_options(populate_existing=True))
    return {Address(row.party): value_of(Stake, row) for row in rows}


def stake_of(session: Session, party: Address) -> Stake | None:
    """A party's stake; None for one that never had any."""
    row = session.get(StakeRow, party, populate_existing=True)
    return value_of(Stake, row) if row else None


def put_session_key(session: Session, account: Address, key: Address, counts_until: int | None = None) -> None:
    """Mirror that `key` signs vouchers of `account`, or that it was revoked and counts until a time (seconds)."""
    upsert(session, SessionKeyRow, {"account": account, "key": key, "counts_until": counts_until})


def signers_of(session: Session, account: Address) -> set[Address]:
    """The account itself and the session keys that may sign for it now."""
    query = select(SessionKeyRow).where(
        col(SessionKeyRow.account) == account, col(SessionKeyRow.counts_until).is_(None)
    )
    return {account} | {Address(row.key) for row in session.exec(query)}


def _is_private(session: Session, lane: Lane) -> bool:
    """Whether a lane gave its payees indices of its own. The Registry gives all lanes of a chain the same."""
    return (
        session.exec(select(PrivatePayeeRow.payee_index).where(col(PrivatePayeeRow.lane) == lane)).first() is not None
    )


def _own_payees(session: Session, lane: Lane) -> dict[int, Address]:
    query = select(PrivatePayeeRow.payee_index, PrivatePayeeRow.address).where(col(PrivatePayeeRow.lane) == lane)
    return {index: Address(address) for index, address in session.exec(query)}


def _registered(session: Session) -> dict[int, Address]:
    return {index: Address(address) for index, address in session.exec(select(PartyRow.payee_index, PartyRow.address))}
