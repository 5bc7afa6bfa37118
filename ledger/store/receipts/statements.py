"""What statements are made of, page by page: a party's receipts, the batches that hold them, its booked movements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.accounts.accounts import accrued, available, claimable, leased, withdrawing
from ledger.core.accounts.postings import Kind
from ledger.core.catalog.bids import HEADER, Role
from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.values.ids import Address, Digest
from ledger.store.settlement.batches import Status

SUBJECT_AT = HEADER.size - 33 + 1
"""Where the subject starts in encoded terms; PostgreSQL counts from 1. It is followed by one byte, the count."""
KINDS = (Kind.deposit, Kind.settle, Kind.claim, Kind.request_withdrawal, Kind.withdraw, Kind.correct)
"""Movements a statement shows beside the calls. Leases and releases stay within what a consumer has."""

_RECEIPTS = text(
    "SELECT record FROM receipts r WHERE r.gateway IN (SELECT gateway FROM watermarks WHERE lane = :lane) "
    "AND r.ended_at >= :first AND r.ended_at < :until "
    "AND (r.ended_at, r.gateway, r.seq) > (:after_at, :after_gateway, :after_seq) "
    "AND (:spent AND r.consumer = :party OR :earned AND EXISTS "
    "(SELECT FROM terms t WHERE t.id = r.terms AND position(:party IN t.body) > 0)) "
    "AND (cast(:subject AS bytea) IS NULL OR EXISTS "
    "(SELECT FROM terms t WHERE t.id = r.terms AND substring(t.body FROM :at FOR 32) = :subject)) "
    "ORDER BY r.ended_at, r.gateway, r.seq LIMIT :limit"
)
_BATCHES = text(
    "SELECT r.gateway, r.first, r.count, b.number, b.status FROM batch_ranges r JOIN batches b USING (lane, number) "
    "JOIN unnest(cast(:gateways AS bytea[]), cast(:firsts AS bigint[]), cast(:lasts AS bigint[])) "
    "AS w(gateway, first, last) ON r.gateway = w.gateway AND r.first <= w.last AND r.first + r.count > w.first "
    "WHERE r.lane = :lane AND b.status <> 'void'"
)
_MOVED = text(
    "SELECT t.at, t.id FROM transactions t WHERE t.kind = ANY(:kinds) AND t.at >= :first AND t.at < :until "
    "AND (t.at, t.id) > (:after_at, :after_id) AND EXISTS (SELECT FROM postings p WHERE p.transaction = t.id "
    "AND (p.debit = ANY(:names) OR p.credit = ANY(:names))) ORDER BY t.at, t.id LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class Period:
    """Milliseconds since the epoch: `first` inclusive, `until` exclusive."""

    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Held:
    """Receipts first .. first + count - 1 of a gateway are in this batch."""

    gateway: Address
    first: int
    count: int
    number: int
    status: Status


def receipts(
    session: Session,
    lane: int,
    party: Address,
    period: Period,
    *,
    spent: bool,
    earned: bool,
    subject: Digest | None,
    after: tuple[int, bytes, int],
    limit: int,
) -> list[Receipt]:
    """Receipts a party paid for (`spent`), or whose terms name it (`earned`), in order of their end, after a place."""
    values = {"lane": lane, "party": party, "first": period.first, "until": period.until, "limit": limit}
    values |= {"spent": spent, "earned": earned, "subject": subject, "at": SUBJECT_AT}
    values |= dict(zip(("after_at", "after_gateway", "after_seq"), after, strict=True))
    return [unpack(bytes(record)) for (record,) in session.execute(_RECEIPTS, values)]


def holding(session: Session, lane: int, spans: Mapping[Address, tuple[int, int]]) -> list[Held]:
    """The standing batches that hold receipts first..last of these gateways."""
    columns = {
        "gateways": list(spans),
        "firsts": [a for a, _ in spans.values()],
        "lasts": [b for _, b in spans.values()],
    }
    rows = session.execute(_BATCHES, {"lane": lane, **columns})
    return [Held(Address(bytes(g)), first, count, number, Status(status)) for g, first, count, number, status in rows]


def moved(
    session: Session, names: Iterable[str], period: Period, after: tuple[int, bytes], limit: int
) -> list[tuple[int, Digest]]:
    """When and which booked transactions touched these accounts, after a place; calls, leases and releases left out."""
    values = {"names": list(names), "kinds": [kind.value for kind in KINDS], "limit": limit}
    values |= {"first": period.first, "until": period.until, "after_at": after[0], "after_id": after[1]}
    return [(at, Digest(bytes(found))) for at, found in session.execute(_MOVED, values)]


def accounts_of(session: Session, party: Address) -> frozenset[str]:
    """Every account a party can have."""
    gateways = [Address(bytes(row[0])) for row in session.execute(text("SELECT gateway FROM watermarks"))]
    own = [available(party), withdrawing(party), claimable(party)]
    return frozenset([*own, *(leased(party, g) for g in gateways), *(accrued(party, role) for role in Role)])


def names(session: Session, subjects: Iterable[Digest]) -> dict[Digest, str]:
    """What published documents call these subjects, where they do."""
    query = text("SELECT id, name FROM documents WHERE id = ANY(:ids) AND name <> ''")
    return {Digest(bytes(found)): name for found, name in session.execute(query, {"ids": list(set(subjects))})}
