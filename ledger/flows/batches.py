"""Batches: posted receipts become a batch, and the batch a commit on chain.

close     fix which receipts a batch holds, and its header: BUILT
commit    intend its transaction, once the batch before it is on chain: SIGNED
          (`flows.transactions` sends it; the indexer then records that the batch is posted, final or void)
finalize  make the oldest ripe batch final when there is no commit that does it along the way

While an alarm is active nothing is closed or committed. Receipts that come late go into the next batch, and so do the
receipts of a void batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from ledger.chain.calls import Calls
from ledger.core.accounts import movements
from ledger.core.accounts.accounts import parse
from ledger.core.accounts.postings import balance
from ledger.core.settlement.bars import Bars
from ledger.core.settlement.batch_file import BatchFile, Opening
from ledger.core.settlement.batches import Status, is_exit_batch_due, is_window_over
from ledger.core.settlement.header import EMPTY_HEADER, MAX_CALLS, NO_BATCH, NO_HEADER, Range, name_at, place_of
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.settlement.transactions import finalize_purpose
from ledger.core.values.errors import Conflict, Unavailable
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, to_hex
from ledger.core.values.typed_data import Domain
from ledger.store.access import vouchers
from ledger.store.chain import bids, chain_time, lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import barred, receipts, segments, watermarks
from ledger.store.settlement import alarms, batch_files, batches, transactions, tree_nodes
from ledger.store.settlement.batches import Batch


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane, the domain its receipts are signed in, and the operator that commits (None: a private grid).

    A batch is due at `batch_calls` receipts or when the oldest is `batch_ms` old. A consumer can leave with a batch
    closed `exit_notice` seconds after its request. A batch must be posted within a `day` (seconds) of its closing.
    """

    lane: Address
    domain: Domain
    operator: Address | None
    batch_calls: int
    batch_ms: int
    exit_notice: int = 0
    day: int = 86_400


def is_due(session: Session, lane: Lane, now: int) -> bool:
    """True when enough receipts wait, the oldest has waited long enough, or a consumer waits to leave."""
    waiting, at = 0, chain_time.now(session, now)
    for mark in watermarks.of_lane(session, lane.lane):
        if mark.posted_seq == mark.batched_seq:
            continue
        waiting += mark.posted_seq - mark.batched_seq
        oldest = receipts.by_seq(session, mark.lane, mark.gateway, mark.batched_seq + 1)
        if oldest is None or abs(at - oldest.receipt.ended_at) >= lane.batch_ms:  # also after a jump of the clock
            return True
    if waiting == 0:
        return _is_exit_due(session, lane)
    return waiting >= lane.batch_calls or bool(lanes.leaving(session, lane.lane))


def missing_payees(session: Session, lane: Address) -> list[Address]:
    """Payees that have earned and have no index in the payout tree yet, by address."""
    rows = postings.entries(session, lane, "accrued:").items()
    earning = {parse(name).party for name, entries in rows if balance(name, entries)} - {None}
    return sorted(payee for payee in earning if payee is not None and parties.index_of(session, payee, lane) is None)


def close(session: Session, lane: Lane, epoch: int, now: int) -> Batch | None:
    """Build the next batch from posted receipts that are in none.

    None when there are none, an alarm is active, another worker is at it, or the last indexed block is so old that a
    request to leave, or that it was taken back, may not be known. A batch without receipts is built when a consumer
    waits to leave: its exit needs a batch after its request.

    Raises Unavailable when a payee or a consumer has no index yet, or a gateway no number, or an old receipt is not
    posted yet.
    """
    if alarms.active(session, lane.lane) or not batches.take(session, lane.lane):
        return None
    known = lanes.get(session, lane.lane)
    if known is not None and not known.active:
        return None
    if _is_chain_old(session, lane, now):
        return None
    ranges = _due_ranges(session, lane, now)
    if not any(row.count for row in ranges) and not _is_exit_due(session, lane):
        return None
    before = batches.latest(session, lane.lane)
    closed_before = before.header.closed_at if before else 0
    if _may_stay(session, lane, closed_before):
        return None
    number = batches.newest_number(session, lane.lane) + 1
    ended = receipts.last_end(session, lane.lane, ranges, chain_time.now(session, now))
    closed_at = max(ended // 1_000, closed_before)  # the clock falls when a block is late, and gateways' differ
    bars = Bars(closed_at, closed_before, lane.exit_notice)
    left_out = barred.within(session, lane.lane, ranges, bars)
    opening = Opening(
        domain=lane.domain,
        lane=lane.lane,
        number=number,
        epoch=epoch,
        era=known.era if known else 1,
        closed_at=closed_at,
        prev=before.header.id if before else NO_HEADER,
        book_root=bids.root(session, epoch) or ZERO_DIGEST,
        ranges=tuple(ranges),
        barred=tuple(sorted(place_of(ranges, *one) for one in left_out)),
    )
    mandates = vouchers.at_closing(session, lane.lane, closed_at)
    return _build(session, opening, before, mandates, now)


def adopt(session: Session, file: BatchFile, now: int) -> Batch:
    """Store a batch of a lost database from its public file, as BUILT. Its receipts are posted, and the batch before it
    is there. A Conflict when it does not come to the file's header.
    """
    opening, accounts = file.opening, lanes.by_index(session, file.opening.lane)
    mandates = {accounts[one.consumer]: (one.cum_max, one.signature) for one in file.mandates}
    before = batches.latest(session, opening.lane)
    batch = _build(session, opening, before, mandates, now)
    if batch.header != file.header or opening.prev != (before.header.id if before else NO_HEADER):
        raise Conflict(f"batch {batch.number} does not come to the header {to_hex(file.header.id)} of its file")
    return batch


def _build(
    session: Session, opening: Opening, before: Batch | None, mandates: Mapping[Address, tuple[int, bytes]], now: int
) -> Batch:
    """Store the batch that follows `before` over posted receipts, with its trees."""
    lane, number, ranges = opening.lane, opening.number, opening.ranges
    closed = batch_files.write(session, batch_files.Discard(), opening, before.number if before else 0, mandates)
    tree_nodes.grow(session, lane, before.number if before else 0, number, closed)
    total = closed.charged
    cumulative = (before.cumulative if before else 0) + total
    assert closed.payouts.total == cumulative, "C1: cumulative payouts are all that batches charged"
    batch = Batch(
        lane=lane,
        number=number,
        status=Status.built,
        header=closed.header,
        total=total,
        cumulative=cumulative,
        built_at=now,
        epoch=opening.epoch,
        book_root=opening.book_root,
        barred=opening.barred,
    )
    batches.store(session, batch, ranges, closed.earned)
    batches.store_mandates(session, lane, number, closed.mandates)
    cause = movements.batch_cause(lane, number, batch.header.id)
    left_out = {name_at(ranges, place) for place in opening.barred}
    barred.keep_books(session, lane, ranges, left_out, cause, now)
    for row in ranges:
        watermarks.set_batched(session, lane, row.gateway, row.last)
    return batch


def _is_chain_old(session: Session, lane: Lane, now: int) -> bool:
    """Whether the last indexed block is older than the exit notice. A development chain has no notice."""
    block = chain_time.get(session)
    if block is None or not lane.exit_notice:
        return False
    return chain_time.now(session, now) - block.timestamp * 1_000 > lane.exit_notice * 1_000


def _may_stay(session: Session, lane: Lane, closed_before: int) -> bool:
    """Whether a request to leave that the last batch met may have been taken back in a block that is not indexed yet.

    It can be until its notice is over. Then its receipts are charged; if it stands, they are barred.
    """
    block = chain_time.get(session)
    noticed = [(consumer.requested_at or 0) + lane.exit_notice for consumer in lanes.leaving(session, lane.lane)]
    return block is not None and any(block.timestamp <= one < closed_before for one in noticed)


def commit(session: Session, lane: Lane, calls: Calls, now: int) -> Digest | None:
    """Intend the commit of the oldest built batch, once all before it are posted. Returns the intention's id."""
    if lane.operator is None or alarms.active(session, lane.lane) or not batches.take(session, lane.lane):
        return None
    waiting = batches.with_status(session, lane.lane, Status.built, Status.signed)
    if not waiting or waiting[0].status is Status.signed:
        _retry(session, waiting)
        return None
    if waiting[0].header.closed_at + lane.day // 2 < chain_time.now(session, now) // 1_000:
        for stale in reversed(waiting):
            batches.drop(session, stale, now)
        return None
    batch, ripe = waiting[0], ripe_batch(session, lane.lane)
    finalize_id = ripe.onchain_id if ripe is not None and ripe.onchain_id is not None else NO_BATCH
    call = calls.commit(lane.lane, batch.header, finalize_id, ripe.header if ripe else EMPTY_HEADER)
    purpose = f"commit {to_hex(lane.lane)} {batch.number}"
    intended = transactions.intend_again(session, lane.lane, purpose, lane.operator, call, now)
    if intended is not None:
        batches.set_signed(session, batch, intended)
    return intended


def finalize(session: Session, lane: Lane, calls: Calls, now: int) -> Digest | None:
    """Intend to finalize the oldest ripe batch, unless that is intended, or a commit that waits will do it."""
    if lane.operator is None or not batches.take(session, lane.lane):
        return None
    ripe = ripe_batch(session, lane.lane)
    if ripe is None or ripe.onchain_id is None:
        return None
    if batches.with_status(session, lane.lane, Status.built, Status.signed) and not alarms.active(session, lane.lane):
        return None
    purpose = finalize_purpose(lane.lane, ripe.number)
    call = calls.finalize(lane.lane, ripe.onchain_id, ripe.header)
    return transactions.intend_again(session, lane.lane, purpose, lane.operator, call, now)


def ripe_batch(session: Session, lane: Address) -> Batch | None:
    """The oldest posted batch, if its challenge window is over by the chain's time."""
    posted, clock = batches.with_status(session, lane, Status.posted), chain_time.get(session)
    if not posted or clock is None or posted[0].until is None:
        return None
    return posted[0] if is_window_over(posted[0].until // 1_000, clock.timestamp) else None


def _retry(session: Session, waiting: Sequence[Batch]) -> None:
    """Make a batch built again when its commit failed or lost its nonce; the next sweep intends another."""
    for batch in waiting[:1]:
        sent = transactions.get(session, batch.lane, batch.chain_transaction) if batch.chain_transaction else None
        if sent is None or sent.status in (Sending.failed, Sending.lost):
            batches.set_built(session, batch)


def _due_ranges(session: Session, lane: Lane, now: int) -> list[Range]:
    """The next batch's cover, and more than the lane's cap where receipts are old: who has one that ended a `day`
    before a batch was closed takes the bond if it is not in it. So after an outage nothing old is left for later.
    """
    ranges = _ranges(session, lane, lane.batch_calls)
    old = chain_time.now(session, now) - lane.day * 500
    if lane.operator is None or not _leaves(session, lane, ranges, old):
        return ranges
    ranges = _ranges(session, lane, MAX_CALLS)
    left = _leaves(session, lane, ranges, old)
    if left is not None:
        raise Unavailable(
            f"receipts of gateway {to_hex(left)} are half a day old and not posted: no batch without them"
        )
    return ranges


def _leaves(session: Session, lane: Lane, ranges: Sequence[Range], old: int) -> Address | None:
    """A gateway whose next receipt after these ranges ended before `old` (ms), if there is one."""
    for row in ranges:
        after = receipts.by_seq(session, lane.lane, row.gateway, row.first + row.count)
        if after is not None and after.receipt.ended_at < old:
            return row.gateway
    return None


def _ranges(session: Session, lane: Lane, most: int) -> list[Range]:
    """The next batch's cover: of each gateway the posted receipts in no batch, whole segments, up to so many."""
    ranges, room = [], min(most, MAX_CALLS)
    marks = watermarks.of_lane(session, lane.lane)
    if not lane.domain.chain_id:
        lanes.assign_gateways(session, lane.lane, [mark.gateway for mark in marks])
    numbers = lanes.gateways(session, lane.lane)
    for mark in marks:
        number = numbers.get(mark.gateway)
        if number is None:
            raise Unavailable(
                f"gateway {to_hex(mark.gateway)} has no number in lane {to_hex(lane.lane)}: "
                f"tollway operator add-gateway {to_hex(mark.gateway)}"
            )
        if mark.posted_seq == mark.batched_seq or room <= 0:
            ranges.append(Range(number, mark.gateway, mark.batched_seq + 1, 0))  # idle, but listed in the header
            continue
        until = min(mark.posted_seq, mark.batched_seq + room)
        last = min(segments.last_end(session, mark.lane, mark.gateway, mark.batched_seq, until), mark.posted_seq)
        ranges.append(Range(number, mark.gateway, mark.batched_seq + 1, last - mark.batched_seq))
        room -= ranges[-1].count
    return ranges


def _is_exit_due(session: Session, lane: Lane) -> bool:
    """True when a consumer asked to leave and no batch was closed late enough for it."""
    clock, before = chain_time.get(session), batches.latest(session, lane.lane)
    if clock is None or (before is not None and before.posted_at is None):
        return False
    closed = before.header.closed_at if before is not None else 0
    return any(
        is_exit_batch_due(closed, consumer.requested_at or 0, lane.exit_notice, clock.timestamp)
        for consumer in lanes.leaving(session, lane.lane)
    )
