"""Leases: slices of a consumer's deposit handed to gateways. What was not spent returns when a lease closes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text, update
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import LeaseRow

OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True, slots=True)
class Lease:
    """`amount` atoms of a consumer for one gateway; `spent` counts once it is closed."""

    id: Digest
    lane: int
    consumer: Address
    gateway: Address
    amount: int
    expires_at: int
    spent: int = 0
    state: str = OPEN


def add(session: Session, lease: Lease) -> None:
    """Record a new lease."""
    session.add(
        LeaseRow(
            id=lease.id,
            lane=lease.lane,
            consumer=lease.consumer,
            gateway=lease.gateway,
            amount=lease.amount,
            spent=0,
            expires_at=lease.expires_at,
            state=OPEN,
        )
    )
    session.flush()


def committed(session: Session, lane: int, consumer: Address) -> int:
    """All of a consumer's money that was ever handed to gateways of a lane and has not come back unspent."""
    total = session.execute(
        text(
            "SELECT coalesce(sum(CASE state WHEN 'open' THEN amount ELSE spent END), 0)::bigint FROM leases"
            " WHERE lane = :lane AND consumer = :consumer"
        ),
        {"lane": lane, "consumer": consumer},
    )
    return int(total.scalar_one())


def count(session: Session, consumer: Address) -> int:
    """How many leases a consumer's deposit has ever had."""
    total = session.execute(text("SELECT count(*) FROM leases WHERE consumer = :consumer"), {"consumer": consumer})
    return int(total.scalar_one())


def open_ones(session: Session, gateway: Address, consumer: Address | None = None) -> list[Lease]:
    """A gateway's open leases, of one consumer or of all, oldest first."""
    query = select(LeaseRow).where(col(LeaseRow.gateway) == gateway, col(LeaseRow.state) == OPEN)
    if consumer is not None:
        query = query.where(col(LeaseRow.consumer) == consumer)
    rows = session.exec(query.order_by(col(LeaseRow.expires_at), col(LeaseRow.id)).with_for_update())
    return [_value(row) for row in rows]


def holders(session: Session, consumer: Address) -> list[Address]:
    """Gateways with open leases of a consumer."""
    query = select(LeaseRow.gateway).where(col(LeaseRow.consumer) == consumer, col(LeaseRow.state) == OPEN)
    return sorted(Address(gateway) for gateway in set(session.exec(query)))


def close(session: Session, lease: Lease, spent: int) -> None:
    """A lease is over; `spent` of it was charged."""
    session.execute(update(LeaseRow).where(col(LeaseRow.id) == lease.id).values(state=CLOSED, spent=spent))


def renew(session: Session, gateway: Address, expires_at: int) -> None:
    """A gateway that lives keeps its leases."""
    rows = update(LeaseRow).where(col(LeaseRow.gateway) == gateway, col(LeaseRow.state) == OPEN)
    session.execute(rows.values(expires_at=expires_at))


def expired(session: Session, lane: int, now: int) -> list[Address]:
    """Gateways with open leases that were not renewed in time."""
    query = select(LeaseRow.gateway).where(
        col(LeaseRow.lane) == lane, col(LeaseRow.state) == OPEN, col(LeaseRow.expires_at) < now
    )
    return [Address(gateway) for gateway in session.exec(query.distinct())]


def unposted(session: Session, gateway: Address) -> dict[Address, int]:
    """What each consumer was charged in receipts of this gateway that are journaled and not yet posted."""
    rows = session.execute(
        text(
            "SELECT r.consumer, sum(r.charge)::bigint FROM receipts r JOIN watermarks w ON w.gateway = r.gateway"
            " WHERE r.gateway = :gateway AND r.seq > w.posted_seq GROUP BY r.consumer"
        ),
        {"gateway": gateway},
    )
    return {Address(bytes(consumer)): int(total) for consumer, total in rows}


def gateway_is_gone(session: Session, lock_number: int) -> bool:
    """True, until this transaction ends, when no process writes this gateway's journal: then none can start either."""
    return bool(session.execute(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": lock_number}).scalar_one())


def consumers(leases: Sequence[Lease]) -> list[Address]:
    """Whose leases these are, in order of address."""
    return sorted({lease.consumer for lease in leases})


def _value(row: LeaseRow) -> Lease:
    ids = Digest(row.id), row.lane, Address(row.consumer), Address(row.gateway)
    return Lease(*ids, row.amount, row.expires_at, row.spent, row.state)
