"""Payees and their places in every payout tree; stakes; session keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, to_hex
from ledger.store.chain.tables import PartyRow, PrivatePlaceRow, SessionKeyRow, StakeRow

PRIVATE = 0
"""The lane of a private grid. Lanes of a chain count from 1, and all have the Registry's places."""
_TABLES = {False: PartyRow.__tablename__, True: PrivatePlaceRow.__tablename__}


@dataclass(frozen=True, slots=True)
class Stake:
    """What a party has at stake, what is leaving, and from when it may leave (seconds)."""

    party: Address
    active: int
    unbonding: int = 0
    release_at: int = 0


def put(session: Session, address: Address, payee_index: int) -> None:
    """Mirror a payee's place. Another place for the same payee is a Conflict: places are forever."""
    row = {"address": address, "payee_index": payee_index}
    session.execute(insert(PartyRow).values(row).on_conflict_do_nothing())
    known = index_of(session, address)
    if known != payee_index:
        raise Conflict(f"payee {to_hex(address)} is at {known}, not at {payee_index}", payee=to_hex(address))


def index_of(session: Session, address: Address, lane: int | None = None) -> int | None:
    """A payee's place in a lane's payout trees, if it has one."""
    table = _TABLES[lane == PRIVATE]
    query = text(f"SELECT payee_index FROM {table} WHERE address = :address")
    return session.execute(query, {"address": address}).scalar()


def by_index(session: Session, lane: int | None = None) -> dict[int, Address]:
    """Every payee by its place in a lane's payout trees."""
    rows = session.execute(text(f"SELECT payee_index, address FROM {_TABLES[lane == PRIVATE]}"))
    return {place: Address(bytes(address)) for place, address in rows}


def assign(session: Session, addresses: Iterable[Address]) -> None:
    """Give payees without a place the next ones, in order of address: a private grid has no Registry to do it."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('parties', 7))"))
    known = by_index(session, PRIVATE)
    missing = sorted(set(addresses) - set(known.values()))
    for place, address in enumerate(missing, max(known, default=0) + 1):
        session.execute(insert(PrivatePlaceRow).values({"address": address, "payee_index": place}))


def put_stake(session: Session, stake: Stake) -> None:
    """Mirror a party's stake."""
    row = {"party": stake.party, "active": stake.active}
    row |= {"unbonding": stake.unbonding, "release_at": stake.release_at}
    upsert = insert(StakeRow).values(row).on_conflict_do_update(index_elements=[col(StakeRow.party)], set_=row)
    session.execute(upsert)


def stakes(session: Session) -> dict[Address, Stake]:
    """Every stake by party."""
    rows = session.exec(select(StakeRow).execution_options(populate_existing=True))
    return {Address(r.party): Stake(Address(r.party), r.active, r.unbonding, r.release_at) for r in rows}


def put_session_key(session: Session, account: Address, key: Address, active: bool) -> None:
    """Mirror whether `key` may sign for `account`."""
    row = {"account": account, "key": key, "active": active}
    keys = [col(SessionKeyRow.account), col(SessionKeyRow.key)]
    session.execute(insert(SessionKeyRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def signers_of(session: Session, account: Address) -> set[Address]:
    """The account itself and the session keys that may sign for it."""
    query = select(SessionKeyRow).where(col(SessionKeyRow.account) == account, col(SessionKeyRow.active))
    return {account} | {Address(row.key) for row in session.exec(query)}
