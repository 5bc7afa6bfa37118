"""The store in memory, for thousands of lives in seconds: what the settlement flows ask of it, and no more.

A unit of work gets a copy of the tables and gives it back when it commits, so a crash leaves what was committed. The
same lives are lived over PostgreSQL in a test, step for step, so that this page cannot drift from the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ledger.core.accounts import movements, postings
from ledger.core.accounts.postings import Balance, Transaction
from ledger.core.catalog.bids import Role
from ledger.core.settlement import transactions as rules
from ledger.core.settlement.batches import BEFORE
from ledger.core.settlement.batches import Status as Stage
from ledger.core.settlement.events import Block
from ledger.core.settlement.header import HeaderId, Range
from ledger.core.settlement.transactions import Attempt, ChainTransaction, Mined, Status
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.store.chain.events import Indexed
from ledger.store.chain.lanes import Lane
from ledger.store.receipts.watermarks import Watermark
from ledger.store.settlement.batch_files import Discard
from ledger.store.settlement.batches import Batch
from tests.builders import applied

Earned = dict[tuple[Address, Role], int]
USERS = (
    "ledger.flows.indexer",
    "ledger.flows.batches",
    "ledger.flows.transactions",
    "ledger.store.chain.mirror",
    "tests.chaos.books",
)


@dataclass
class Tables:
    """Everything that is committed, and the hook that may end the process between any two statements."""

    step: Callable[[], None] = field(default=lambda: None)
    chain_transactions: dict[Digest, ChainTransaction] = field(default_factory=dict)
    attempts: dict[Digest, tuple[Attempt, ...]] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    ranges: dict[int, tuple[Range, ...]] = field(default_factory=dict)
    earned: dict[int, Earned] = field(default_factory=dict)
    events: dict[tuple[Digest, int], Indexed] = field(default_factory=dict)
    blocks: dict[int, Digest] = field(default_factory=dict)
    cursor: dict[str, Block] = field(default_factory=dict)
    indexed_at: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, Balance] = field(default_factory=dict)
    transactions: dict[Digest, Transaction] = field(default_factory=dict)
    watermarks: dict[Address, Watermark] = field(default_factory=dict)
    lanes: dict[Address, Lane] = field(default_factory=dict)

    def copy(self) -> Tables:
        """A copy to work on; values are frozen, so only the tables themselves are copied."""
        tables: dict[str, Any] = {name: table.copy() for name, table in vars(self).items() if name != "step"}
        return replace(self, **tables)


def _noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A statement: the process may end right before it."""

    def call(session: Tables, *args: object, **named: object) -> object:
        session.step()
        return function(session, *args, **named)

    return call


def _module(*functions: Callable[..., Any], **others: Callable[..., Any]) -> SimpleNamespace:
    """A store module made of these functions, under their own names or the ones given."""
    named = {function.__name__.lstrip("_"): function for function in functions} | others
    return SimpleNamespace(**{name: _noted(function) for name, function in named.items()})


def _pass() -> None:
    """Nothing ends."""


def _nothing(session: Tables, *args: object, **named: object) -> None:
    """A mirror nobody reads here."""


def _yes(session: Tables, *args: object) -> bool:
    """A lock nobody else holds."""
    return True


# -------------------------------------------------------------------------------------------------- chain_transactions


def intend(s: Tables, lane: Address, made: ChainTransaction) -> bool:
    if made.id in s.chain_transactions:
        return False
    s.chain_transactions[made.id] = made
    return True


def _count(s: Tables, lane: Address, purpose: str) -> int:
    return sum(t.purpose == purpose or t.purpose.startswith(purpose + " ") for t in s.chain_transactions.values())


def _latest(s: Tables, lane: Address, purpose: str) -> tuple[int, ChainTransaction | None]:
    tries = _count(s, lane, purpose)
    return tries, s.chain_transactions.get(keccak256(f"{purpose} {tries - 1}".encode()))


def intend_again(s: Tables, lane: Address, purpose: str, sender: Address, call: rules.Call, now: int) -> Digest | None:
    tries, last = _latest(s, lane, purpose)
    if not rules.may_try_again(last, tries, now):
        return None
    name = f"{purpose} {tries}"
    made = ChainTransaction(keccak256(name.encode()), name, sender, *call, Status.intended, now)
    return made.id if intend(s, lane, made) else None


def _intended(s: Tables, lane: Address) -> list[ChainTransaction]:
    found = (t for t in s.chain_transactions.values() if t.status is Status.intended)
    return sorted(found, key=lambda t: (t.created_at, t.id))


def _under_way(s: Tables, lane: Address) -> list[ChainTransaction]:
    found = (t for t in s.chain_transactions.values() if t.status in (Status.signed, Status.mined))
    return sorted(found, key=lambda t: (t.sender, t.nonce))


def _next_nonce(s: Tables, sender: Address, chain_nonce: int) -> int:
    return max([chain_nonce, *(t.nonce + 1 for t in s.chain_transactions.values() if t.nonce is not None)])


def _reopen(s: Tables, block: int) -> None:
    for name, known in s.chain_transactions.items():
        if known.block is not None and known.block > block:
            s.chain_transactions[name] = replace(known, status=Status.signed, mined_hash=None, block=None)


def _nonces_from(s: Tables, sender: Address, first: int) -> dict[int, tuple[Address, Digest, Status]]:
    found = s.chain_transactions.values()
    lane = next(iter(s.lanes), ZERO_ADDRESS)
    return {t.nonce: (lane, t.id, t.status) for t in found if t.nonce is not None and t.nonce >= first}


def _set_status(
    s: Tables, lane: Address, name: Digest, status: Status, mined: Mined | None = None, error: str | None = None
) -> None:
    known, (hashed, block) = s.chain_transactions[name], (mined.hash, mined.block) if mined else (None, None)
    s.chain_transactions[name] = replace(known, status=status, mined_hash=hashed, block=block, error=error)


def _set_signed(s: Tables, lane: Address, signed: ChainTransaction, attempt: Attempt) -> None:
    s.chain_transactions[signed.id] = replace(signed, status=Status.signed)
    _add_attempt(s, lane, attempt)


def _add_attempt(s: Tables, lane: Address, attempt: Attempt) -> None:
    known = s.attempts.get(attempt.chain_transaction, ())
    if attempt.ordinal == len(known):
        s.attempts[attempt.chain_transaction] = (*known, attempt)


def _set_sent(s: Tables, lane: Address, name: Digest, now: int) -> None:
    s.chain_transactions[name] = replace(s.chain_transactions[name], sent_at=now)


CHAIN_TRANSACTIONS = _module(
    *(
        intend,
        intend_again,
        _count,
        _latest,
        _reopen,
        _nonces_from,
        _intended,
        _under_way,
        _next_nonce,
        _set_status,
        _set_signed,
        _add_attempt,
        _set_sent,
    ),
    lock_sender=_yes,
    get=lambda s, lane, name: s.chain_transactions.get(name),
    take=lambda s, lane, name: s.chain_transactions.get(name),
    attempts=lambda s, lane, name: list(s.attempts.get(name, ())),
)

# -------------------------------------------------------------------------------------------------- batches


def _standing(s: Tables) -> list[Batch]:
    found = (batch for batch in s.batches.values() if batch.status is not Stage.void)
    return sorted(found, key=lambda batch: -batch.number)


def _with_status(s: Tables, lane: Address, *statuses: Stage) -> list[Batch]:
    return sorted((b for b in s.batches.values() if b.status in statuses), key=lambda batch: batch.number)


def _by_header(s: Tables, lane: Address, header_id: HeaderId) -> Batch | None:
    found = [batch for batch in s.batches.values() if batch.header.id == header_id]
    return max(found, key=lambda batch: batch.number) if found else None


def store(s: Tables, batch: Batch, ranges: Iterable[Range], earned: Earned) -> None:
    s.batches[batch.number], s.ranges[batch.number], s.earned[batch.number] = batch, tuple(ranges), dict(earned)


def _change(s: Tables, batch: Batch, **changes: object) -> None:
    assert s.batches[batch.number].status in BEFORE[changes["status"]], "a batch's states follow each other"  # type: ignore[index]
    s.batches[batch.number] = replace(s.batches[batch.number], **changes)  # type: ignore[arg-type]


def _drop(s: Tables, batch: Batch, now: int) -> None:
    for row in s.ranges[batch.number]:
        _set_batched(s, batch.lane, row.gateway, row.first - 1)
    settled = s.transactions.get(batch.settled) if batch.settled is not None else None
    if settled is not None:
        book(s, movements.correct(settled, now))
    _change(s, batch, status=Stage.void)


BATCHES = _module(
    *(store, _with_status, _by_header, _drop),
    take=_yes,
    latest=lambda s, lane: next(iter(_standing(s)), None),
    newest_number=lambda s, lane: max(s.batches, default=0),
    by_onchain_id=lambda s, lane, name: next((b for b in _standing(s) if b.onchain_id == name), None),
    ranges=lambda s, lane, number: list(s.ranges[number]),
    earned=lambda s, lane, number: s.earned[number],
    after=lambda s, lane, number: [b for b in _standing(s) if b.number > number],
    set_signed=lambda s, b, name: _change(s, b, status=Stage.signed, chain_transaction=name),
    set_built=lambda s, b: _change(s, b, status=Stage.built, chain_transaction=None),
    set_posted=lambda s, b, name, window, settled: _change(
        s, b, status=Stage.posted, onchain_id=name, posted_at=window[0], until=window[1], settled=settled
    ),
    set_unposted=lambda s, b: _change(
        s,
        b,
        status=Stage.signed if b.chain_transaction else Stage.built,
        onchain_id=None,
        posted_at=None,
        until=None,
        final_at=None,
        settled=None,
    ),
    set_unfinal=lambda s, b: _change(s, b, status=Stage.posted, final_at=None),
    set_final=lambda s, b, at: _change(s, b, status=Stage.final, final_at=at),
    set_void=lambda s, b: _change(s, b, status=Stage.void),
)

# ------------------------------------------------------------------------------------------- money, marks, blocks


def book(s: Tables, transaction: Transaction) -> bool:
    known = s.transactions.get(transaction.id)
    if known is not None:
        postings.repeated(known.digest, transaction)
        return False
    s.accounts |= applied(s.accounts, transaction)
    s.transactions[transaction.id] = transaction
    return True


def balance(s: Tables, lane: Address, name: str) -> int:
    """An account's balance on its own side."""
    return postings.balance(name, s.accounts.get(name, Balance()))


def _ensure(s: Tables, lane: Address, gateway: Address) -> None:
    s.watermarks.setdefault(gateway, Watermark(lane, gateway, 0, 0))


def _advance_posted(s: Tables, lane: Address, gateway: Address, seq: int) -> None:
    s.watermarks[gateway] = replace(s.watermarks[gateway], posted_seq=seq)


def _put_lane(s: Tables, lane: Lane) -> None:
    s.lanes[lane.lane] = lane


def _set_batched(s: Tables, lane: Address, gateway: Address, seq: int) -> None:
    s.watermarks[gateway] = replace(s.watermarks[gateway], batched_seq=seq)


def _record(s: Tables, log: Indexed) -> None:
    s.events[log.transaction, log.ordinal] = log


def _canonical_from(s: Tables, block: int) -> list[Indexed]:
    found = (log for log in s.events.values() if log.canonical and log.block >= block)
    return sorted(found, key=lambda log: (-log.block, -log.ordinal))


def _advance(s: Tables, block: Block, wall: int) -> None:
    s.cursor["chain"], s.indexed_at["chain"] = block, wall
    s.blocks[block.number] = block.hash


def _now(s: Tables, wall: int) -> int:
    block = s.cursor.get("chain")
    return block.timestamp * 1_000 + max(0, wall - s.indexed_at["chain"]) if block else wall


def _forget_after(s: Tables, number: int) -> None:
    s.blocks = {at: hashed for at, hashed in s.blocks.items() if at <= number}


POSTINGS = _module(
    book,
    get=lambda s, lane, name: s.transactions.get(name),
    is_booked=lambda s, lane, kind, cause: postings.transaction_id(lane, kind, cause) in s.transactions,
    balance=balance,
    balances=lambda s, lane, names: {name: balance(s, lane, name) for name in names},
    lock=lambda s, lane, names: {name: balance(s, lane, name) for name in names},
    entries=lambda s, lane, prefix="": {n: b for n, b in s.accounts.items() if n.startswith(prefix)},
)
STORE = {
    "transactions": CHAIN_TRANSACTIONS,
    "batches": BATCHES,
    "postings": POSTINGS,
    "watermarks": _module(
        *(_ensure, _set_batched, _advance_posted),
        of_lane=lambda s, lane: list(s.watermarks.values()),
    ),
    "tree_nodes": _module(drop=_nothing, grow=_nothing),
    "batch_files": _module(write_again=_nothing),
    "indexed": _module(
        *(_record, _canonical_from),
        get=lambda s, transaction, place: s.events.get((transaction, place)),
        undo=lambda s, log: _record(s, replace(s.events[log.transaction, log.ordinal], canonical=False)),
        clear_mirrors=_nothing,
    ),
    "chain_time": _module(
        *(_advance, _forget_after),
        take=_yes,
        get=lambda s: s.cursor.get("chain"),
        now=_now,
        hashes=lambda s: sorted(s.blocks.items(), reverse=True),
    ),
    "challenges": _module(**dict.fromkeys(("put", "close", "lapse"), _nothing)),
    "alarms": _module(active=lambda s, lane: []),
    "lanes": _module(
        get=lambda s, lane: s.lanes.get(lane),
        leaving=lambda s, lane: [],
        put=_put_lane,
        change_lane=lambda s, lane, **columns: _put_lane(s, replace(s.lanes[lane], **columns)),
        **dict.fromkeys(("deposit", "claim"), _nothing),
    ),
    "barred": _module(within=lambda *asked: set(), **dict.fromkeys(("keep_books", "release"), _nothing)),
    "bids": _module(latest_epoch=lambda s: 2**40),
    "hooks": _module(accounts=lambda s, lane, kind: set(), write=_nothing),
    "permits": _module(reopen=_nothing),
}


STORE["lanes"].Lane = Lane
STORE["batch_files"].Discard = Discard


class MemoryStore:
    """A database that lives as long as the test, with units of work like the real one's."""

    def __init__(self, *, by_statement: bool = True) -> None:
        self.tables = Tables()
        self.by_statement = by_statement
        """Whether the process may end before any statement, or only around commits."""

    @contextmanager
    def read(self) -> Iterator[Any]:
        """What is committed, to look at."""
        yield self.tables

    @contextmanager
    def unit_of_work(self, step: Callable[[], None]) -> Iterator[Any]:
        """One transaction. `step` is called before every statement, before the commit and after it; it may raise."""
        session = self.tables.copy()
        session.step = step if self.by_statement else _pass
        yield session
        step()
        session.step = _pass
        self.tables = session
        step()


@contextmanager
def in_memory() -> Iterator[None]:
    """The settlement flows over `MemoryStore` sessions instead of PostgreSQL's."""
    with ExitStack() as stack:
        for user in USERS:
            module = import_module(user)
            for name, fake in STORE.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, fake))
        yield
