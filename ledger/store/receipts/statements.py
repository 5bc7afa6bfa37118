"""The parts of statements, page by page: a party's receipts, the batches that hold them, its booked movements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import and_, false, func, literal, or_, tuple_
from sqlmodel import Session, col, select

from ledger.core.accounts.accounts import accrued, available, claimable, leased, withdrawing
from ledger.core.accounts.postings import Kind
from ledger.core.catalog.bids import HEADER, Role
from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.money.tables import PostingRow, TransactionRow
from ledger.store.network.tables import DocumentRow
from ledger.store.receipts.tables import ReceiptRow, TermsRow, WatermarkRow
from ledger.store.settlement.tables import BatchRangeRow, BatchRow

SUBJECT_AT = HEADER.size - 33 + 1
"""The subject's offset in encoded terms; PostgreSQL counts from 1. It is followed by one byte, the count."""
KINDS = (
    Kind.deposit,
    Kind.bar,
    Kind.charge_again,
    Kind.settle,
    Kind.claim,
    Kind.request_withdrawal,
    Kind.withdraw,
    Kind.correct,
)
"""Movements a statement shows beside the calls. Leases and releases stay within what a consumer has."""
_ITS_POSTINGS = (
    col(PostingRow.lane) == col(TransactionRow.lane),
    col(PostingRow.transaction) == col(TransactionRow.id),
)


@dataclass(frozen=True, slots=True)
class Period:
    """Milliseconds since the epoch: `first` inclusive, `until` exclusive."""

    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Receipts the party paid for (`spent`) and those whose terms name it (`earned`), of one subject or of all."""

    lane: Lane
    party: Address
    period: Period
    spent: bool
    earned: bool
    subject: Digest | None


class Cursor(NamedTuple):
    """After which receipt a page begins: its end (ms), gateway and sequence number."""

    ended_at: int = -1
    gateway: bytes = b""
    seq: int = -1


@dataclass(frozen=True, slots=True)
class Held:
    """Receipts first .. first + count - 1 of a gateway are in this batch."""

    gateway: Address
    first: int
    count: int
    number: int
    status: Status


def receipts(session: Session, wanted: Filter, after: Cursor, limit: int) -> list[Receipt]:
    """The next receipts after a cursor, in order of their end."""
    receipt, its_terms = ReceiptRow, col(TermsRow.id) == col(ReceiptRow.terms)
    order = (col(receipt.ended_at), col(receipt.gateway), col(receipt.seq))
    query = select(receipt.record).where(
        col(receipt.lane) == wanted.lane,
        col(receipt.ended_at) >= wanted.period.first,
        col(receipt.ended_at) < wanted.period.until,
        tuple_(*order) > tuple_(*(literal(value) for value in after)),
    )
    named = func.position(literal(wanted.party).op("IN")(col(TermsRow.body))) > 0
    sides = [col(receipt.consumer) == wanted.party] if wanted.spent else []
    sides += [select(TermsRow.id).where(its_terms, named).correlate(receipt).exists()] if wanted.earned else []
    query = query.where(or_(false(), *sides))
    if wanted.subject is not None:
        subject = func.substring(TermsRow.body, SUBJECT_AT, 32) == wanted.subject
        query = query.where(select(TermsRow.id).where(its_terms, subject).correlate(receipt).exists())
    return [unpack(record) for record in session.exec(query.order_by(*order).limit(limit))]


def holding(session: Session, lane: Lane, spans: Mapping[Address, tuple[int, int]]) -> list[Held]:
    """The batches, not void, that hold receipts first..last of these gateways."""
    held = BatchRangeRow
    same_batch = and_(col(held.lane) == col(BatchRow.lane), col(held.number) == col(BatchRow.number))
    overlaps = [
        and_(col(held.gateway) == gateway, col(held.first) <= last, col(held.first) + held.count > first)
        for gateway, (first, last) in spans.items()
    ]
    query = select(held, BatchRow.status).join(BatchRow, same_batch).where(col(held.lane) == lane)
    rows = session.exec(query.where(or_(false(), *overlaps), col(BatchRow.status) != Status.void.value))
    return [Held(Address(r.gateway), r.first, r.count, r.number, Status(status)) for r, status in rows]


def moved(
    session: Session, lane: Lane, names: Iterable[str], period: Period, after: tuple[int, bytes], limit: int
) -> list[tuple[int, Digest]]:
    """Time and id of booked transactions of KINDS that touched these accounts of a lane, after a time and id."""
    accounts, order = list(names), (col(TransactionRow.at), col(TransactionRow.id))
    posted = or_(col(PostingRow.debit).in_(accounts), col(PostingRow.credit).in_(accounts))
    touched = select(PostingRow.transaction).where(*_ITS_POSTINGS, posted)
    query = select(TransactionRow.at, TransactionRow.id).where(
        col(TransactionRow.lane) == lane,
        col(TransactionRow.kind).in_([kind.value for kind in KINDS]),
        col(TransactionRow.at) >= period.first,
        col(TransactionRow.at) < period.until,
        tuple_(*order) > tuple_(*(literal(value) for value in after)),
        touched.correlate(TransactionRow).exists(),
    )
    return [(at, Digest(found)) for at, found in session.exec(query.order_by(*order).limit(limit))]


def accounts_of(session: Session, lane: Lane, party: Address) -> frozenset[str]:
    """Every account a party can have in a lane."""
    own = [available(party), withdrawing(party), claimable(party)]
    writers = session.exec(select(WatermarkRow.gateway).where(col(WatermarkRow.lane) == lane))
    gateways = [leased(party, Address(gateway)) for gateway in writers]
    return frozenset([*own, *gateways, *(accrued(party, role) for role in Role)])


def names(session: Session, subjects: Iterable[Digest]) -> dict[Digest, str]:
    """The names that published documents give these subjects, where they do."""
    query = select(DocumentRow.id, DocumentRow.name).where(col(DocumentRow.id).in_(set(subjects)))
    return {Digest(found): name for found, name in session.exec(query.where(col(DocumentRow.name) != ""))}
