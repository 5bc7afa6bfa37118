"""At which gateway a node behind NAT has knocked: where the others of the lane hand its calls to."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address
from ledger.store.network.tables import TunnelRow


@dataclass(frozen=True, slots=True)
class Entrance:
    """A gateway that holds a tunnel of a party: where it is reached, and the key that opens it until `until` (ms)."""

    gateway: Address
    url: str
    key: bytes
    until: int


def hold(session: Session, entrance: Entrance, parties: Collection[Address]) -> None:
    """These parties, and no others, have a tunnel at this gateway."""
    for party in sorted(parties):
        row = {
            "party": party,
            "gateway": entrance.gateway,
            "url": entrance.url,
            "key": entrance.key,
            "until": entrance.until,
        }
        keys = [col(TunnelRow.party), col(TunnelRow.gateway)]
        session.execute(insert(TunnelRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))
    gone = col(TunnelRow.party).not_in(parties)
    session.execute(delete(TunnelRow).where(col(TunnelRow.gateway) == entrance.gateway, gone))


def entrances(session: Session, party: Address, now: int) -> list[Entrance]:
    """Where a party has tunnels now, the one told of last first."""
    query = select(TunnelRow).where(col(TunnelRow.party) == party, col(TunnelRow.until) > now)
    rows = session.exec(query.order_by(col(TunnelRow.until).desc(), col(TunnelRow.gateway)))
    return [Entrance(Address(row.gateway), row.url, row.key, row.until) for row in rows]
