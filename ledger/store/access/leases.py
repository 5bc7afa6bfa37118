"""Leases: slices of a consumer's deposit handed to gateways. What is not spent returns when a lease closes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import and_, case, func, insert, update
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.access.tables import LeaseRow
from ledger.store.chain.tables import SessionKeyRow
from ledger.store.receipts.tables import ReceiptRow, WatermarkRow
from ledger.store.session import change, value_of

OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True, slots=True)
class Lease:
    """`amount` atoms of a consumer for one gateway; `spent` counts once it is closed."""

    lane: Lane
    id: Digest
    consumer: Address
    gateway: Address
    amount: int
    expires_at: int
    spent: int = 0
    state: str = OPEN


def add(session: Session, lease: Lease) -> None:
    change(session, insert(LeaseRow).values(asdict(lease)))


def committed(session: Session, lane: Lane, consumer: Address) -> int:
    """The total ever leased of a consumer's deposit to a lane's gateways, less what came back unspent."""
    used = case((col(LeaseRow.state) == OPEN, LeaseRow.amount), else_=LeaseRow.spent)
    query = select(func.sum(used)).where(col(LeaseRow.lane) == lane, col(LeaseRow.consumer) == consumer)
    return int(session.exec(query).one() or 0)


def count(session: Session, lane: Lane, consumer: Address) -> int:
    """The number of leases a consumer's deposit has ever had."""
    return session.exec(select(func.count()).select_from(LeaseRow).filter_by(lane=lane, consumer=consumer)).one()


def open_ones(session: Session, lane: Lane, gateway: Address, consumer: Address | None = None) -> list[Lease]:
    """A gateway's open leases, of one consumer or of all, oldest first."""
    query = select(LeaseRow).filter_by(lane=lane, gateway=gateway, state=OPEN)
    if consumer is not None:
        query = query.filter_by(consumer=consumer)
    rows = session.exec(query.order_by(col(LeaseRow.expires_at), col(LeaseRow.id)).with_for_update())
    return [value_of(Lease, row) for row in rows]


def holders(session: Session, lane: Lane, consumer: Address) -> list[Address]:
    """Gateways with open leases of a consumer."""
    query = select(LeaseRow.gateway).filter_by(lane=lane, consumer=consumer, state=OPEN)
    return sorted(Address(gateway) for gateway in set(session.exec(query)))


def of_revoked_keys(session: Session, lane: Lane, gateway: Address) -> set[Address]:
    """Consumers with an open lease at a gateway that ever revoked a session key."""
    revoked = select(SessionKeyRow.account).where(col(SessionKeyRow.counts_until).is_not(None))
    query = select(LeaseRow.consumer).filter_by(lane=lane, gateway=gateway, state=OPEN)
    return {Address(consumer) for consumer in session.exec(query.where(col(LeaseRow.consumer).in_(revoked)))}


def close(session: Session, lease: Lease, spent: int) -> None:
    """Close a lease of which `spent` was charged."""
    this = update(LeaseRow).filter_by(lane=lease.lane, id=lease.id)
    change(session, this.values(state=CLOSED, spent=spent))


def renew(session: Session, lane: Lane, gateway: Address, expires_at: int) -> None:
    """Move the expiry of a gateway's open leases."""
    rows = update(LeaseRow).filter_by(lane=lane, gateway=gateway, state=OPEN)
    change(session, rows.values(expires_at=expires_at))


def expired(session: Session, lane: Lane, now: int) -> list[Address]:
    """Gateways with open leases that were not renewed in time."""
    query = select(LeaseRow.gateway).filter_by(lane=lane, state=OPEN).where(col(LeaseRow.expires_at) < now)
    return [Address(gateway) for gateway in session.exec(query.distinct())]


def unposted(session: Session, lane: Lane, gateway: Address) -> dict[Address, int]:
    """Each consumer's charges in receipts of this gateway that are logged and not yet posted."""
    charged = select(ReceiptRow.consumer, func.sum(ReceiptRow.charge)).join(
        WatermarkRow,
        and_(col(WatermarkRow.lane) == col(ReceiptRow.lane), col(WatermarkRow.gateway) == col(ReceiptRow.gateway)),
    )
    ours = (col(ReceiptRow.lane) == lane, col(ReceiptRow.gateway) == gateway)
    waiting = charged.where(*ours, col(ReceiptRow.seq) > col(WatermarkRow.posted_seq))
    rows = session.exec(waiting.group_by(col(ReceiptRow.consumer)))
    return {Address(consumer): int(total) for consumer, total in rows}


def gateway_is_gone(session: Session, lock_number: int) -> bool:
    """True when no process writes this gateway's receipt log; none can start until this transaction ends."""
    return bool(session.exec(select(func.pg_try_advisory_xact_lock(lock_number))).one())


def consumers(leases: Sequence[Lease]) -> list[Address]:
    """The consumers of these leases, in order of address."""
    return sorted({lease.consumer for lease in leases})
