"""Queries of curators and sponsored slots in receipts: nothing is counted twice, no counter is stored beside them.

A receipt's terms say who referred the call or showed the slot (`core.catalog.bids`: the deduction before the lines). A
gateway asks once for a consumer and a subject, and remembers the answer.
"""

from sqlalchemy import BigInteger, ColumnElement, and_, cast, func, literal
from sqlalchemy.dialects.postgresql import BIT, JSONB
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import HEADER
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, Lane
from ledger.store.receipts.tables import ReceiptRow, TermsRow

_BODY = col(TermsRow.body)
_HAS_DEDUCTION = func.get_byte(_BODY, 1).op("&")(2) == 2
_DEDUCTION = HEADER.size + 1
"""The deduction's offset, counted from 1 as SQL does: sponsor 1, curator 20, two ratios of 3, promotion 8, ..."""
_CURATOR = func.substring(_BODY, _DEDUCTION + 1, 20)
_PROMOTION = cast(
    cast(literal("x").concat(func.encode(func.substring(_BODY, _DEDUCTION + 27, 8), "hex")), BIT(64)), BigInteger
)
_PRICED_BY = col(TermsRow.id) == col(ReceiptRow.terms)
_IS_ROOT = col(ReceiptRow.parent) == ZERO_DIGEST
_PRICE = func.substring(ReceiptRow.record, 182, 8)


def referred_calls(session: Session, lane: Lane, consumer: Address, subject: Digest) -> int:
    """The number of a consumer's paid calls of a subject on referrals."""
    referred = (_of(lane, consumer, subject), _HAS_DEDUCTION, _CURATOR != ZERO_ADDRESS)
    return session.exec(select(func.count()).select_from(ReceiptRow).join(TermsRow, _PRICED_BY).where(*referred)).one()


def bought_since(session: Session, lane: Lane, consumer: Address, subject: Digest, since: int) -> bool:
    """Whether a consumer has paid for a subject at or after a time (ms)."""
    paid = (_of(lane, consumer, subject), col(ReceiptRow.ended_at) >= since, bytes(8) < _PRICE)
    query = select(ReceiptRow.seq).join(TermsRow, _PRICED_BY).where(*paid)
    return session.exec(query.limit(1)).first() is not None


def promoted_since(session: Session, lane: Lane, slot: tuple[Digest, str], since: int) -> int:
    """The slot prices of a subject's sales at or after a time (ms) that one sponsor pays, by the note beside each
    receipt: never less than what they took of its line.
    """
    subject, payer = slot
    paid = cast(func.convert_from(ReceiptRow.extra, "UTF8"), JSONB)["slot"].astext == payer
    sales = (col(ReceiptRow.lane) == lane, _IS_ROOT, _names(subject), _HAS_DEDUCTION, col(ReceiptRow.ended_at) >= since)
    query = select(func.sum(_PROMOTION)).select_from(ReceiptRow).join(TermsRow, _PRICED_BY).where(*sales, paid)
    return int(session.exec(query).one() or 0)


def _of(lane: Lane, consumer: Address, subject: Digest) -> ColumnElement[bool]:
    return and_(_IS_ROOT, col(ReceiptRow.lane) == lane, col(ReceiptRow.consumer) == consumer, _names(subject))


def _names(subject: Digest) -> ColumnElement[bool]:
    return func.substring(_BODY, 12, 32) == subject
