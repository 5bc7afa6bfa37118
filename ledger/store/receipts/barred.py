"""Receipts that no batch may charge (`core.settlement.bars`): which they are, and the money that they gave back.

A receipt is charged when it is posted. Once a batch or an exit bars it, what it took is its consumer's again; if the
batch falls and the next one must charge it, it is charged again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, delete, false, or_
from sqlmodel import Session, col, select

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import available, withdrawing
from ledger.core.accounts.movements import Refund
from ledger.core.catalog.bids import Role, decode
from ledger.core.pricing.price import of_receipt, payees
from ledger.core.settlement.bars import Bars, Exit
from ledger.core.settlement.header import Range
from ledger.core.values.ids import Address, Lane
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms, watermarks
from ledger.store.receipts.tables import BarredRow, ReceiptRow
from ledger.store.session import change, insert_once

Name = tuple[Address, int]
"""A receipt by its gateway and number."""


def within(session: Session, lane: Lane, ranges: Iterable[Range], bars: Bars) -> set[Name]:
    """The receipts of these ranges that a batch with these bars leaves out."""
    exits = [_of_account(one.account, bars.last(one)) for one in lanes.exits(session, lane)]
    return _find(session, lane, ranges, or_(_ended_by(bars.last(None)), *exits))


def keep_books(
    session: Session, lane: Lane, ranges: Sequence[Range], barred: set[Name], cause: bytes, now: int
) -> None:
    """Give back what a batch over these ranges may not charge, and charge what an earlier one gave back, if it must.

    What a leaving consumer has is set aside, so it goes there.
    """
    leaving, known = {one.account for one in lanes.leaving(session, lane)}, _known(session, lane, ranges)
    for names, moved in ((barred - known, movements.bar), (known - barred, movements.charge_again)):
        refund = _refund(session, lane, names, leaving)
        if refund.spent:
            booked = moved(lane, cause, refund, now)
            while postings.is_booked(session, lane, booked.kind, booked.cause):
                booked = moved(lane, booked.cause + b"\1", refund, now)
            postings.book(session, booked)
    _mark(session, lane, barred - known)
    for gateway, seq in known - barred:
        this = (col(BarredRow.lane) == lane, col(BarredRow.gateway) == gateway, col(BarredRow.seq) == seq)
        change(session, delete(BarredRow).where(*this))


def release(session: Session, lane: Lane, leaver: Exit, cause: bytes, now: int) -> None:
    """Give back what an account used that left, and what no batch holds: it withdrew that, too."""
    marks = watermarks.of_lane(session, lane)
    ranges = [Range(0, one.gateway, one.batched_seq + 1, one.posted_seq - one.batched_seq) for one in marks]
    found = _find(session, lane, ranges, _of_account(leaver.account, leaver.left_at - 1))
    free = found - _known(session, lane, ranges)
    refund = _refund(session, lane, free, {leaver.account})
    if refund.spent:
        postings.book(session, movements.bar(lane, cause, refund, now))
    _mark(session, lane, free)


def _refund(session: Session, lane: Lane, names: Iterable[Name], leaving: set[Address]) -> Refund:
    """What receipts took, by the account that it goes back to, and whom they paid."""
    spent, earned = Counter[str](), Counter[tuple[Address, Role]]()
    for gateway, seq in names:
        found = receipts.by_seq(session, lane, gateway, seq)
        assert found is not None, "it was found before"
        one = found.receipt
        agreed = decode(terms.get(session, [one.terms])[one.terms])
        spent[(withdrawing if one.consumer in leaving else available)(one.consumer)] += one.charge
        for who, amount in zip(payees(agreed), of_receipt(one, agreed), strict=True):
            earned[who] += amount
    return Refund(+spent, +earned)


def _mark(session: Session, lane: Lane, names: Iterable[Name]) -> None:
    for gateway, seq in names:
        found = receipts.by_seq(session, lane, gateway, seq)
        charge = found.receipt.charge if found else 0
        insert_once(session, BarredRow, {"lane": lane, "gateway": gateway, "seq": seq, "charge": charge})


def _find(session: Session, lane: Lane, ranges: Iterable[Range], which: ColumnElement[bool]) -> set[Name]:
    rows = ReceiptRow.gateway, ReceiptRow.seq
    here = _in(ranges, ReceiptRow)
    return {
        (Address(gateway), seq)
        for gateway, seq in session.exec(select(*rows).where(col(ReceiptRow.lane) == lane, which, here))
    }


def _known(session: Session, lane: Lane, ranges: Iterable[Range]) -> set[Name]:
    """Receipts of these ranges that gave their money back."""
    here = _in(ranges, BarredRow)
    rows = session.exec(select(BarredRow.gateway, BarredRow.seq).where(col(BarredRow.lane) == lane, here))
    return {(Address(gateway), seq) for gateway, seq in rows}


def _in(ranges: Iterable[Range], table: type[ReceiptRow | BarredRow]) -> ColumnElement[bool]:
    covered = [
        and_(col(table.gateway) == row.gateway, col(table.seq).between(row.first, row.last))
        for row in ranges
        if row.count
    ]
    return or_(false(), *covered)


def _of_account(account: Address, last: int) -> ColumnElement[bool]:
    return and_(col(ReceiptRow.consumer) == account, _ended_by(last))


def _ended_by(second: int) -> ColumnElement[bool]:
    return col(ReceiptRow.ended_at) < (second + 1) * 1_000
