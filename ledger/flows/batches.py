"""Settling: posted receipts become a batch, the batch a commit, the commit a fact of the chain.

close     fixes what a batch holds and what it comes to: BUILT
commit    intends its transaction, once the batch before it is on chain: SIGNED
          (the indexer sees it posted, final or void; transmitting carries the bytes)
finalize  makes the oldest ripe batch final when no commit is there to carry that along

While an alarm stands nothing is closed or committed. Receipts that come late go into the next batch; a void batch's
receipts wait like any others, and the next close takes them in again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from ledger.chain.calls import Calls
from ledger.core.accounts.accounts import parse
from ledger.core.accounts.postings import balance
from ledger.core.settlement.batch_file import Opening
from ledger.core.settlement.header import EMPTY_HEADER, NO_BATCH, Range
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.settlement.transactions import Transmission, finalize_purpose, may_try_again
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest
from ledger.core.values.typed_data import Domain
from ledger.store.chain import bids, chain_time, lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import receipts, segments, watermarks
from ledger.store.settlement import alarms, batch_files, batches, transactions, tree_nodes
from ledger.store.settlement.batches import Batch, Status


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane to settle, the domain its receipts are signed in, and who commits (None: a private grid).

    `exit_notice`: how many seconds after a consumer's request the batch must be posted that lets it leave.
    """

    lane: int
    domain: Domain
    operator: Address | None
    batch_calls: int
    batch_ms: int
    exit_notice: int = 0


def is_due(session: Session, lane: Lane, now: int) -> bool:
    """True when enough receipts wait, or the oldest has waited long enough, or a consumer waits to leave."""
    waiting = 0
    for mark in watermarks.of_lane(session, lane.lane):
        if mark.posted_seq == mark.batched_seq:
            continue
        waiting += mark.posted_seq - mark.batched_seq
        oldest = receipts.by_seq(session, mark.gateway, mark.batched_seq + 1)
        if oldest is None or abs(now - oldest.receipt.ended_at) >= lane.batch_ms:  # a clock that jumped makes none wait
            return True
    if waiting == 0:
        return _exit_waits(session, lane)
    return waiting >= lane.batch_calls or bool(lanes.leaving(session, lane.lane))


def missing_payees(session: Session, lane: int) -> list[Address]:
    """Payees that have earned and have no place in the payout tree yet, by address."""
    rows = postings.entries(session, "accrued:").items()
    earning = {parse(name).party for name, entries in rows if balance(name, entries)} - {None}
    return sorted(payee for payee in earning if payee is not None and parties.index_of(session, payee, lane) is None)


def close(session: Session, lane: Lane, epoch: int, now: int) -> Batch | None:
    """Build the next batch from what is posted and in none. None when nothing is, an alarm stands, or another closes.

    A batch without receipts is built when only that lets a consumer leave: its exit needs a batch after its request.

    Raises Unavailable when a payee or a consumer has no place yet.
    """
    if alarms.standing(session) or not batches.take(session, lane.lane):
        return None
    ranges = _ranges(session, lane)
    if not any(row.count for row in ranges) and not _exit_waits(session, lane):
        return None
    before = batches.latest(session, lane.lane)
    number = batches.newest_number(session, lane.lane) + 1
    opening = _opening(session, lane, before, number, epoch, ranges)
    closed = batch_files.write(session, batch_files.Discard(), opening, before.number if before else 0)
    tree_nodes.grow(session, lane.lane, before.number if before else 0, number, closed)
    total = closed.charged
    cumulative = (before.cumulative if before else 0) + total
    assert closed.payouts.total == cumulative, "C1: cumulative payouts are all that batches charged"
    batch = Batch(lane.lane, number, Status.built, closed.header, total, cumulative, now)
    batches.store(session, batch, ranges, closed.earned)
    for row in ranges:
        watermarks.set_batched(session, row.gateway, row.last)
    return batch


def commit(session: Session, lane: Lane, calls: Calls, now: int) -> Digest | None:
    """Intend the commit of the oldest built batch, once all before it are posted. Returns the intention's id."""
    if lane.operator is None or alarms.standing(session) or not batches.take(session, lane.lane):
        return None
    waiting = batches.with_status(session, lane.lane, Status.built, Status.signed)
    if not waiting or waiting[0].status is Status.signed:
        _retry(session, waiting)
        return None
    batch, ripe = waiting[0], ripe_batch(session, lane.lane)
    purpose = _next_try(session, f"commit {lane.lane} {batch.number}", now)
    if purpose is None:
        return None
    finalize_id = ripe.onchain_id if ripe is not None and ripe.onchain_id is not None else NO_BATCH
    target, data = calls.commit(lane.lane, batch.header, finalize_id, ripe.header if ripe else EMPTY_HEADER)
    intention = _intention(purpose, lane.operator, target, data, now)
    transactions.intend(session, intention)
    batches.set_signed(session, batch, intention.id)
    return intention.id


def finalize(session: Session, lane: Lane, calls: Calls, now: int) -> Digest | None:
    """Intend the finalizing of the oldest ripe batch, unless it is intended or a commit waits that will carry it."""
    if lane.operator is None or not batches.take(session, lane.lane):
        return None
    ripe = ripe_batch(session, lane.lane)
    if ripe is None or ripe.onchain_id is None:
        return None
    if batches.with_status(session, lane.lane, Status.built, Status.signed) and not alarms.standing(session):
        return None
    purpose = _next_try(session, finalize_purpose(lane.lane, ripe.number), now)
    if purpose is None:
        return None
    target, data = calls.finalize(lane.lane, ripe.onchain_id, ripe.header)
    intention = _intention(purpose, lane.operator, target, data, now)
    transactions.intend(session, intention)
    return intention.id


def ripe_batch(session: Session, lane: int) -> Batch | None:
    """The oldest posted batch, if its window has passed by the chain's time."""
    posted, clock = batches.with_status(session, lane, Status.posted), chain_time.get(session)
    times = lanes.get(session, lane)
    if not posted or clock is None or times is None or posted[0].posted_at is None:
        return None
    return posted[0] if clock.timestamp > posted[0].posted_at // 1_000 + times.window else None


def _next_try(session: Session, purpose: str, now: int) -> str | None:
    """What to call the next intention for a purpose; None while one is under way, or failed a moment ago."""
    tries, last = transactions.latest(session, purpose)
    return f"{purpose} {tries}" if may_try_again(last, tries, now) else None


def _retry(session: Session, waiting: Sequence[Batch]) -> None:
    """A commit that failed or lost its nonce leaves its batch built again; the next sweep intends another."""
    for batch in waiting[:1]:
        sent = transactions.get(session, batch.transmission) if batch.transmission else None
        if sent is None or sent.status in (Sending.failed, Sending.lost):
            batches.set_built(session, batch)


def _ranges(session: Session, lane: Lane) -> list[Range]:
    """What the next batch covers: per gateway all that is posted and in no batch, whole segments, up to the cap."""
    ranges, room = [], lane.batch_calls
    for mark in watermarks.of_lane(session, lane.lane):
        if mark.posted_seq == mark.batched_seq or room <= 0:
            ranges.append(Range(mark.gateway, mark.batched_seq + 1, 0))  # idle, but never out of sight
            continue
        until = min(mark.posted_seq, mark.batched_seq + room)
        last = min(segments.last_end(session, mark.gateway, mark.batched_seq, until), mark.posted_seq)
        ranges.append(Range(mark.gateway, mark.batched_seq + 1, last - mark.batched_seq))
        room -= ranges[-1].count
    return ranges


def _exit_waits(session: Session, lane: Lane) -> bool:
    """True when a consumer asked to leave and no batch was, or is about to be, posted late enough for it.

    Two batches at most: one after the request, one after the notice.
    """
    clock, before = chain_time.get(session), batches.latest(session, lane.lane)
    if clock is None or (before is not None and before.posted_at is None):
        return False
    posted = before.posted_at // 1_000 if before is not None and before.posted_at is not None else 0
    for consumer in lanes.leaving(session, lane.lane):
        asked = consumer.requested_at or 0
        noticed = asked + lane.exit_notice
        since = noticed if clock.timestamp > noticed else asked
        if clock.timestamp > since and posted <= since:
            return True
    return False


def _opening(
    session: Session, lane: Lane, before: Batch | None, number: int, epoch: int, ranges: Sequence[Range]
) -> Opening:
    return Opening(
        domain=lane.domain,
        lane=lane.lane,
        number=number,
        epoch=epoch,
        first_call=before.header.first_call + before.header.calls if before else 0,
        prev=before.header.hash if before else ZERO_DIGEST,
        book_root=bids.root(session, epoch) or ZERO_DIGEST,
        ranges=tuple(ranges),
    )


def _intention(purpose: str, sender: Address, target: Address, data: bytes, now: int) -> Transmission:
    return Transmission(_named(purpose), purpose, sender, target, data, Sending.intended, now)


def _named(purpose: str) -> Digest:
    return keccak256(purpose.encode())
