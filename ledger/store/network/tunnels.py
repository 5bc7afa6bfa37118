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
    """A gateway that holds tunnels of a party: where it is reached, the key that forwards calls to it until `until`
    (ms), and its round trip to the party's node.
    """

    party: Address
    gateway: Address
    url: str
    key: bytes
    round_trip_ms: int
    until: int


def hold(session: Session, gateway: Address, entrances: Collection[Entrance]) -> None:
    """Record these as the entrances of a gateway, and no others."""
    for entrance in sorted(entrances, key=lambda one: one.party):
        upsert(session, TunnelRow, asdict(entrance))
    gone = col(TunnelRow.party).not_in([one.party for one in entrances])
    change(session, delete(TunnelRow).where(col(TunnelRow.gateway) == gateway, gone))


def entrances(session: Session, but: Address, now: int) -> list[Entrance]:
    """The entrances of all gateways but one, each party's latest first."""
    query = select(*TunnelRow.__table__.columns).where(col(TunnelRow.gateway) != but, col(TunnelRow.until) > now)  # type: ignore[attr-defined]
    rows = session.execute(query.order_by(col(TunnelRow.party), col(TunnelRow.until).desc(), col(TunnelRow.gateway)))
    return [value_of(Entrance, row) for row in rows]
