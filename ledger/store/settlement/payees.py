"""What the public batches of a lane paid one payee: the sums of batches, and the receipts that they are made of.

Whoever asks chooses the payee, so every reading is bounded by the batches and receipts that it looks through.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import and_, func, literal
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import Role
from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.settlement.batches import PUBLIC, Status
from ledger.core.values.ids import Address, Lane
from ledger.store.receipts.tables import BarredRow, ReceiptRow, TermsRow
from ledger.store.settlement import batches
from ledger.store.settlement.tables import BatchRow, BatchShareRow


@dataclass(frozen=True, slots=True)
class Paid:
    """What a public batch pays a payee in a role. It was closed at `closed_at` (seconds); `until` (ms) it can be
    challenged, None while it is not on chain.
    """

    number: int
    status: Status
    epoch: int
    closed_at: int
    until: int | None
    role: Role
    amount: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most batches and receipts that are looked through, and the most receipts that are returned."""

    batches: int
    receipts: int
    found: int


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts that pay a payee, newest batch first, each with its terms' bytes. `whole`: no bound was reached."""

    found: tuple[tuple[Receipt, bytes], ...]
    whole: bool


def paid(session: Session, lane: Lane, payee: Address, most: int) -> list[Paid]:
    """What each of the `most` newest public batches pays a payee, by role, newest first."""
    public, share = [status.value for status in PUBLIC], BatchShareRow
    newest = select(BatchRow.number).where(col(BatchRow.lane) == lane, col(BatchRow.status).in_(public))
    numbers = newest.order_by(col(BatchRow.number).desc()).limit(most)
    same = and_(col(share.lane) == col(BatchRow.lane), col(share.number) == col(BatchRow.number))
    query = select(share, BatchRow).join(BatchRow, same).where(col(share.payee) == payee, col(share.lane) == lane)
    query = query.where(col(BatchRow.number).in_(numbers)).order_by(col(share.number).desc(), col(share.role))
    return [
        Paid(its.number, Status(of.status), of.epoch, of.closed_at, of.until, Role(its.role), its.amount)
        for its, of in session.exec(query.execution_options(populate_existing=True))
    ]


def receipts(session: Session, lane: Lane, payee: Address, numbers: Iterable[int], most: Bounds) -> Receipts:
    """Receipts of these batches whose terms name a payee, in the order of the batches given, and in each the newest
    first. Receipts that no batch may charge are left out.
    """
    found: list[tuple[Receipt, bytes]] = []
    left, whole = most.receipts, True
    named = func.position(literal(payee).op("IN")(col(TermsRow.body))) > 0
    row, barred = ReceiptRow, BarredRow
    is_barred = select(barred.seq).where(barred.lane == row.lane, barred.gateway == row.gateway, barred.seq == row.seq)
    for number in numbers:
        for one in batches.ranges(session, lane, number):
            if not left or len(found) >= most.found:
                return Receipts(tuple(found), whole=False)
            last = one.first + one.count - 1
            first = max(one.first, last - left + 1)
            whole = whole and first == one.first
            left -= last - first + 1
            query = select(row.record, TermsRow.body).join(TermsRow, col(TermsRow.id) == col(row.terms))
            query = query.where(
                col(row.lane) == lane, col(row.gateway) == one.gateway, col(row.seq).between(first, last)
            )
            query = query.where(named, ~is_barred.correlate(row).exists()).order_by(col(row.seq).desc())
            rows = session.exec(query.limit(most.found - len(found) + 1)).all()
            whole = whole and len(rows) <= most.found - len(found)
            found += [(unpack(record), body) for record, body in rows[: most.found - len(found)]]
    return Receipts(tuple(found), whole)
