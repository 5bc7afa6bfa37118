"""Organisations of the Registry, who speaks for them, and the names they published."""

from sqlalchemy import update
from sqlmodel import Session, col, select

from ledger.core.catalog import names
from ledger.core.catalog.names import Name, Published
from ledger.core.settlement.events import Log, NamePublished, OrganisationChanged, OrganisationKeySet
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.store.chain.tables import NameRow, OrganisationKeyRow, OrganisationRow
from ledger.store.session import change, insert_once, upsert


def change_owner(session: Session, event: OrganisationChanged, log: Log) -> None:
    """Mirror that an organisation has another owner, or none: all its keys end."""
    upsert(session, OrganisationRow, {"name": event.name, "owner": event.owner, "block": log.block})
    of_it = col(OrganisationKeyRow.organisation) == event.name
    change(session, update(OrganisationKeyRow).where(of_it).values(valid=False, block=log.block))


def set_key(session: Session, event: OrganisationKeySet, log: Log) -> None:
    """Mirror that a key speaks for an organisation, or no longer does."""
    row = {"organisation": event.name, "key": event.key, "valid": event.valid, "block": log.block}
    upsert(session, OrganisationKeyRow, row)


def put(session: Session, event: NamePublished, log: Log) -> None:
    """Mirror a name. The Registry publishes none twice."""
    row = {"organisation": event.organisation, "name": event.name, "model": event.model}
    insert_once(session, NameRow, {**row, "block": log.block, "log_index": log.index})


def meaning(session: Session, name: Name) -> Digest | None:
    """The id that a name is for ever; None if it is not published."""
    row = session.get(NameRow, (names.label(name.organisation), name.versioned), populate_existing=True)
    return Digest(row.model) if row else None


def speakers(session: Session) -> dict[str, set[Address]]:
    """The owner and the keys of each organisation that has an owner."""
    query = select(OrganisationRow.name, OrganisationRow.owner).where(col(OrganisationRow.owner) != ZERO_ADDRESS)
    found = {bytes(name): {Address(owner)} for name, owner in session.exec(query)}
    valid = col(OrganisationKeyRow.valid)
    for name, key in session.exec(select(OrganisationKeyRow.organisation, OrganisationKeyRow.key).where(valid)):
        if bytes(name) in found:
            found[bytes(name)].add(Address(key))
    return {name.rstrip(b"\0").decode("ascii"): parties for name, parties in found.items()}


def everything(session: Session) -> list[Published]:
    """Every name with a version, in the order in which they were published."""
    rows = session.exec(select(NameRow).order_by(col(NameRow.block), col(NameRow.log_index)))
    read = ((names.on_chain(row.organisation, row.name), Digest(row.model)) for row in rows)
    return [Published(name, model) for name, model in read if name is not None]
