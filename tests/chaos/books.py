"""What the simulation writes and reads beside the flows: receipts posted, batches built, and whether all is well.

Over PostgreSQL these are the store's own functions; `in_memory` puts their likenesses in their place.
"""

from __future__ import annotations

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import CUSTODY, accrued, available, claimable, leased
from ledger.core.catalog.bids import Role
from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import NO_HEADER, Header, Range, gateways_tree, heights_for
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.settlement import batches, transactions
from ledger.store.settlement.batches import Batch
from tests.chaos.weather import CONSUMER, FIRST_ERA, LANE, PAYEES, SENDER, SimChain

GATEWAY = Address(b"\x6a" * 20)
FUNDS = 10**12
ROLE = Role.maker


def open_books(s: Session) -> None:
    """A gateway, and a consumer whose deposit is leased to it."""
    watermarks.ensure(s, LANE, GATEWAY)
    postings.book(s, movements.deposit(LANE, b"first", CONSUMER, FUNDS, 0))
    postings.book(s, movements.lease(LANE, b"first", CONSUMER, GATEWAY, FUNDS, 0))


def charge(s: Session, calls: int) -> None:
    """Receipts were posted: what they pay is accrued, the watermark moves."""
    (mark,) = watermarks.of_lane(s, LANE)
    first, last = mark.posted_seq + 1, mark.posted_seq + calls
    paid = amounts(first, last)
    earned = {(payee, ROLE): amount for payee, amount in zip(PAYEES, paid, strict=True)}
    cause = movements.chunk_cause(GATEWAY, first, last)
    postings.book(s, movements.charge(LANE, cause, {(CONSUMER, GATEWAY): sum(paid)}, earned, 0))
    watermarks.advance_posted(s, LANE, GATEWAY, last)


def close(s: Session, now: int) -> None:
    """Build a batch from what is posted and in none; its header says what it adds, and names the one before it."""
    (mark,) = watermarks.of_lane(s, LANE)
    if mark.posted_seq == mark.batched_seq:
        return
    span = Range(1, GATEWAY, mark.batched_seq + 1, mark.posted_seq - mark.batched_seq)
    before, number = batches.latest(s, LANE), batches.newest_number(s, LANE) + 1
    paid = amounts(span.first, span.last)
    added = Digest(b"".join(amount.to_bytes(8, "big") for amount in paid) + number.to_bytes(16, "big"))
    lane, root, total = lanes.get(s, LANE), keccak256(b"roots", number.to_bytes(8, "big")), sum(paid)
    header = Header(
        prev=before.header.id if before else NO_HEADER,
        era=lane.era if lane else FIRST_ERA,
        closed_at=now // 1_000,
        heights=heights_for(span.count, len(PAYEES), 1, 1),
        receipts_root=root,
        payout_root=root,
        debit_root=root,
        lines_root=root,
        gateways_root=gateways_tree(LANE, [span]).root,
        data_ref=added,
    )
    made = Batch(
        lane=LANE,
        number=number,
        status=Status.built,
        header=header,
        total=total,
        cumulative=(before.cumulative if before else 0) + total,
        built_at=now,
        epoch=0,
        book_root=ZERO_DIGEST,
    )
    batches.store(s, made, [span], {(payee, ROLE): amount for payee, amount in zip(PAYEES, paid, strict=True)})
    watermarks.set_batched(s, LANE, GATEWAY, span.last)


def is_at_rest(s: Session) -> bool:
    """Everything posted is in batches, and every batch is final."""
    (mark,) = watermarks.of_lane(s, LANE)
    waiting = batches.with_status(s, LANE, Status.built, Status.signed, Status.posted)
    return mark.posted_seq == mark.batched_seq and not waiting


def under_way(s: Session) -> list[Digest]:
    """Intentions to review."""
    return [found.id for found in transactions.under_way(s, LANE)]


def is_stored(s: Session, raw: bytes) -> bool:
    """These signed bytes are stored, as those of an intention that is under way."""
    names = (name for _, name, _ in transactions.nonces_from(s, SENDER, 0).values())
    return any(attempt.raw == raw for name in names for attempt in transactions.attempts(s, LANE, name))


def faults(s: Session, chain: SimChain) -> list[str]:
    """Ledger against chain, once all is calm. Empty: they agree."""
    (mark,) = watermarks.of_lane(s, LANE)
    standing = [b for b in batches.with_status(s, LANE, *Status) if b.status is not Status.void]
    state, paid, deposited = chain.tip.state, amounts(1, mark.posted_seq), FUNDS + chain.tip.state.deposited
    mine = postings.balances(s, LANE, [available(CONSUMER), leased(CONSUMER, GATEWAY)])
    said: dict[str, tuple[object, object]] = {
        "headers on chain": (state.headers, tuple(b.header.id for b in standing)),
        "final on chain": (state.finalized, len(standing)),
        "final in the ledger": ({b.status for b in standing} - {Status.final}, set()),
        "payees' cumulative on chain": (state.cumulative[-1], paid),
        "custody": (postings.balance(s, LANE, CUSTODY), deposited - sum(state.claimed)),
        "accrued": ([postings.balance(s, LANE, accrued(payee, ROLE)) for payee in PAYEES], [0, 0]),
        "claimable": (
            [postings.balance(s, LANE, claimable(payee)) for payee in PAYEES],
            [paid[place] - state.claimed[place] for place in (0, 1)],
        ),
        "what the consumer has left": (sum(mine.values()), deposited - sum(paid)),
    }
    return [f"{what}: {is_} instead of {ought}" for what, (is_, ought) in said.items() if is_ != ought]


def amounts(first: int, last: int) -> tuple[int, int]:
    """What receipts first..last pay to each of the two payees."""
    seqs = range(first, last + 1)
    return sum(100 + seq % 7 for seq in seqs), sum(30 + seq % 5 for seq in seqs)
