"""Statements of a party, a page at a time. Shares are computed again from receipts; only sums are looked up.

A statement has two parts: first the calls, then the other movements of the party's accounts. A page is of one part, and
says where the next page starts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.accounts import statements
from ledger.core.accounts.statements import Item, Movement, Row, Side, Stage
from ledger.core.catalog.bids import Terms, decode
from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement.batches import Status
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import statements as store
from ledger.store.receipts import terms, watermarks
from ledger.store.receipts.statements import Cursor, Filter, Held, Period
from ledger.store.settlement import tree_nodes

MAX_PAGE = 1_000
CALLS, MOVES = "calls", "moves"
_STAGES = {
    Status.built: Stage.built,
    Status.signed: Stage.built,
    Status.posted: Stage.on_chain,
    Status.final: Stage.final,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A statement's party and period. No roles means all; no subject means every model."""

    lane: Lane
    party: Address
    period: Period
    roles: frozenset[str] = frozenset()
    subject: Digest | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a statement. `next` is the cursor of the next page; empty at the end."""

    rows: tuple[Row, ...]
    movements: tuple[Movement, ...]
    names: Mapping[Digest, str]
    next: str


def statement(session: Session, query: Query, cursor: str, limit: int) -> Page:
    """The page of a statement at a cursor (empty: the first), made of at most `limit` receipts or movements."""
    if not 1 <= limit <= MAX_PAGE:
        raise Rejected(f"a page holds 1 to {MAX_PAGE} receipts, not {limit}", limit=limit)
    part, after = _parse(cursor)
    return _calls(session, query, after, limit) if part == CALLS else _moves(session, query, after, limit)


def _calls(session: Session, query: Query, after: Cursor, limit: int) -> Page:
    wanted = Filter(
        lane=query.lane,
        party=query.party,
        period=query.period,
        spent=not query.roles or "consumer" in query.roles,
        earned=not query.roles or query.roles != {"consumer"},
        subject=query.subject,
    )
    found = store.receipts(session, wanted, after, limit)
    bodies = terms.get(session, {receipt.terms for receipt in found})
    read = {name: decode(body) for name, body in bodies.items()}
    stages = _Stages.of(session, query, found)
    rows = tuple(stages.row(item, side) for item, side in _items(query, found, read, stages.posted))
    names = store.names(session, {t.subject for t in read.values()})
    last = found[-1] if len(found) == limit else None
    following = f"{CALLS}:{last.ended_at}:{last.gateway.hex()}:{last.seq}" if last else _first_move(query)
    return Page(rows, (), names, following)


def _items(
    query: Query, page: Sequence[Receipt], read: Mapping[Digest, Terms], posted: Mapping[Address, int]
) -> list[tuple[Item, Side]]:
    """The lines that concern the party. A receipt with a wrong price is never posted, so it is left out."""
    pairs: list[tuple[Item, Side]] = []
    for receipt in page:
        try:
            lines = statements.items(receipt, read[receipt.terms])
        except Rejected:
            if receipt.seq <= posted.get(receipt.gateway, 0):
                raise
            continue
        pairs += statements.of_party(lines, query.party, query.roles)
    return pairs


def _moves(session: Session, query: Query, after: Cursor, limit: int) -> Page:
    names = store.accounts_of(session, query.lane, query.party)
    found = store.moved(session, query.lane, names, query.period, (after.ended_at, after.gateway), limit)
    movements: list[Movement] = []
    for _, transaction_id in found:
        transaction = postings.get(session, query.lane, transaction_id)
        assert transaction is not None, "it was just found"
        movements += statements.movements(transaction, names)
    more = len(found) == limit
    return Page((), tuple(movements), {}, f"{MOVES}:{found[-1][0]}:{found[-1][1].hex()}:0" if more else "")


@dataclass(frozen=True, slots=True)
class _Stages:
    """The progress of a page's receipts: posted, in batches, claimed by the party."""

    posted: Mapping[Address, int]
    held: Mapping[Address, Sequence[Held]]
    claimed: frozenset[int]
    """Batches of which the party has claimed its whole payout."""

    @classmethod
    def of(cls, session: Session, query: Query, page: Sequence[Receipt]) -> _Stages:
        spans: dict[Address, tuple[int, int]] = {}
        for receipt in page:
            first, last = spans.get(receipt.gateway, (receipt.seq, receipt.seq))
            spans[receipt.gateway] = min(first, receipt.seq), max(last, receipt.seq)
        held: dict[Address, list[Held]] = {}
        for part in sorted(store.holding(session, query.lane, spans), key=lambda part: part.first):
            held.setdefault(part.gateway, []).append(part)
        posted = {mark.gateway: mark.posted_seq for mark in watermarks.of_lane(session, query.lane)}
        numbers = {part.number for parts in held.values() for part in parts}
        return cls(posted, held, _claimed(session, query, numbers))

    def row(self, item: Item, side: Side) -> Row:
        receipt = item.receipt
        parts = self.held.get(receipt.gateway, ())
        index = bisect_right(parts, receipt.seq, key=lambda part: part.first) - 1
        if index >= 0 and receipt.seq < parts[index].first + parts[index].count:
            number = parts[index].number
            paid = side is Side.earned and number in self.claimed
            return Row(item, side, Stage.claimed if paid else _STAGES[parts[index].status], number)
        return Row(item, side, Stage.posted if receipt.seq <= self.posted.get(receipt.gateway, 0) else Stage.logged)


def _claimed(session: Session, query: Query, numbers: set[int]) -> frozenset[int]:
    index = parties.index_of(session, query.party, query.lane)
    if index is None:
        return frozenset()
    paid = lanes.claimed(session, query.lane).get(index, 0)
    claimed = set()
    for number in numbers:
        word = tree_nodes.at(session, query.lane, tree_nodes.PAYOUT, number, [(0, index)]).get((0, index))
        if word is not None and int.from_bytes(word[24:], "big") <= paid:
            claimed.add(number)
    return frozenset(claimed)


def _first_move(query: Query) -> str:
    """Only a statement of all roles and models has movements."""
    return "" if query.roles or query.subject else f"{MOVES}:-1::0"


def _parse(cursor: str) -> tuple[str, Cursor]:
    """The part of a statement, and after what to continue: a receipt, or a transaction's time and id."""
    if not cursor:
        return CALLS, Cursor()
    try:
        part, at, name, seq = cursor.split(":")
        after = Cursor(int(at), bytes.fromhex(name), int(seq))
    except ValueError as error:
        raise Rejected(f"{cursor!r} is not a valid cursor of a statement", cursor=cursor) from error
    if part not in (CALLS, MOVES):
        raise Rejected(f"{cursor!r} is not a valid cursor of a statement", cursor=cursor)
    return part, after
