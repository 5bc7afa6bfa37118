"""Tunnels: at which gateway a node behind NAT is connected. The lane's other gateways forward its calls there.

Alone, because a tunnel lives as long as a connection and an offer until it expires.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import delete
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address
from ledger.store.network.tables import TunnelRow
from ledger.store.session import change, upsert, value_of


@dataclass(frozen=True, slots=True)
class Entrance:
    """A gateway that holds tunnels: where it is reached, and the key that forwards calls to it until `until` (ms)."""

    gateway: Address
    url: str
    key: bytes
    until: int


def hold(session: Session, entrance: Entrance, parties: Collection[Address]) -> None:
    """Record that these parties, and no others, have a tunnel at this gateway."""
    for party in sorted(parties):
        upsert(session, TunnelRow, asdict(entrance) | {"party": party})
    gone = col(TunnelRow.party).not_in(parties)
    change(session, delete(TunnelRow).where(col(TunnelRow.gateway) == entrance.gateway, gone))


def entrances(session: Session, party: Address, now: int) -> list[Entrance]:
    """The gateways of a party's tunnels, the latest first."""
    query = select(TunnelRow).where(col(TunnelRow.party) == party, col(TunnelRow.until) > now)
    rows = session.exec(query.order_by(col(TunnelRow.until).desc(), col(TunnelRow.gateway)))
    return [value_of(Entrance, row) for row in rows]
