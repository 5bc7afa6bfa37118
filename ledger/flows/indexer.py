"""Indexing: what the chain confirmed becomes mirrors and money, once per log; and what it takes back is taken back.

A log's id is its transaction and its place among that transaction's logs, which a reorganisation does not change. Time
is the last indexed block's: when it enters an epoch, that epoch's book of bids is frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import available, parse, withdrawing
from ledger.core.accounts.postings import Kind, Transaction, balance
from ledger.core.pricing import epochs
from ledger.core.settlement import events
from ledger.core.settlement.active_batches import ActiveBatch, active_batches
from ledger.core.settlement.events import Block, Blocks, Log
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, to_hex
from ledger.core.values.typed_data import Domain
from ledger.store.chain import bids, chain_time, lanes, mirror
from ledger.store.chain import events as indexed
from ledger.store.chain.events import Indexed
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.settlement import batch_files, batches, transactions, tree_nodes
from ledger.store.settlement.batches import Batch, Status

BOOKS_KEPT = 48


@dataclass(frozen=True, slots=True)
class Network:
    """Which chain, contract and lane to index, how deep a block must lie, and how its time is cut into epochs."""

    chain_id: int
    lane: int
    start_block: int
    confirmations: int
    epoch_seconds: int = epochs.EPOCH_SECONDS
    genesis: int = 0
    span: int = 2_000
    settlement: Address = ZERO_ADDRESS

    @property
    def domain(self) -> Domain:
        """Where the lane's signatures count."""
        return Domain(self.chain_id, self.settlement)


def index_next(session: Session, wire: Blocks, network: Network, now: int) -> int:
    """Index the next confirmed blocks, at most `span`. Returns how many; 0 when there are none or another is at it."""
    if not chain_time.take(session):
        return 0
    tip = wire.block()
    known = chain_time.get(session)
    if tip is None:
        raise Unavailable("the chain has no block")
    if known is not None and not _still_there(wire, known.number, known.hash):
        return _reorganise(session, wire, network, tip.number, now)
    first = known.number + 1 if known else network.start_block
    last = min(tip.number - network.confirmations, first + network.span - 1)
    if last < first:
        return 0
    _take_in(session, network, wire.logs(first, last), now)
    _advance(session, wire, network, last, now)
    return last - first + 1


def set_aside(session: Session, lane: int, now: int) -> int:
    """Move what became available again to consumers that are leaving, out of the lane's reach. Returns atoms moved."""
    moved = 0
    for consumer in lanes.leaving(session, lane):
        account = consumer.account
        left = postings.lock(session, [available(account)])[available(account)]
        if left:
            before = postings.entries(session, withdrawing(account)).get(withdrawing(account))
            number = before.credits if before else 0
            cause = b"leaving" + account + number.to_bytes(8, "big")
            postings.book(session, movements.request_withdrawal(cause, account, left, now))
            moved += left
    return moved


def _still_there(wire: Blocks, number: int, hashed: Digest) -> bool:
    block = wire.block(number)
    return block is not None and block.hash == hashed


def _advance(session: Session, wire: Blocks, network: Network, number: int, now: int) -> None:
    block = wire.block(number)
    if block is None:
        raise Unavailable(f"block {number} is gone; the next sweep looks again")
    chain_time.advance(session, block)
    _freeze_books(session, network, block, now)


def _freeze_books(session: Session, network: Network, block: Block, now: int) -> None:
    """Freeze every epoch the chain's time has entered: a bid placed in it can only count later."""
    epoch = epochs.epoch_at(block.timestamp, network.epoch_seconds, network.genesis)
    newest = bids.latest_epoch(session)
    for entered in range(max(epoch - BOOKS_KEPT, epoch if newest is None else newest + 1), epoch + 1):
        bids.freeze(session, epochs.freeze(bids.placed_until(session, entered), entered), now)


def _take_in(session: Session, network: Network, logs: list[Log], now: int) -> None:
    """Mirror and book logs, in order."""
    for log, place in events.number_logs(logs):
        mirror.copy(session, log)
        known = indexed.get(session, log.transaction, place)
        if known is not None and known.canonical:
            indexed.record(session, replace(known, block=log.block))
            continue
        generation = known.generation + 1 if known else 0
        booked = _book(session, network, log, place, generation, now)
        row = (log.transaction, place, log.block, type(log.event).__name__, generation, True, booked)
        indexed.record(session, Indexed(*row, batch=getattr(log.event, "id", None) if _is_batch(log) else None))


def _book(session: Session, network: Network, log: Log, place: int, generation: int, now: int) -> Digest | None:
    """Book the money a log of our lane moved, and return the transaction's id."""
    if getattr(log.event, "lane", None) != network.lane:
        return None
    cause = movements.log_cause(network.chain_id, log.transaction, place | generation << 20)
    made: Transaction | None = None
    match log.event:
        case events.Deposited(_, account, _, amount):
            made = movements.deposit(cause, account, amount, now)
        case events.Claimed(_, _, payee, amount):
            made = movements.claim(cause, payee, amount, now)
        case events.WithdrawRequested():
            set_aside(session, network.lane, now)
        case events.Withdrawn(_, account, amount, _):
            set_aside(session, network.lane, now)
            held = postings.lock(session, [withdrawing(account)])[withdrawing(account)]
            made = movements.withdraw(cause, account, amount, max(held - amount, 0), now) if amount or held else None
        case events.Committed(_, onchain_id, header_hash):
            _post(session, network, ActiveBatch(onchain_id, header_hash, log.timestamp), now)
        case events.Finalized(lane, onchain_id):
            batch = batches.by_onchain_id(session, lane, onchain_id)
            if batch is not None:
                batches.set_final(session, batch, log.timestamp * 1_000)
        case events.Voided(_, onchain_id, _):
            _void(session, network, onchain_id, now)
        case _:
            pass
    if made is None or not made.postings:
        return None
    postings.book(session, made)
    return made.id


def _post(session: Session, network: Network, posted: ActiveBatch, now: int) -> None:
    """A batch is on chain: what it pays can be claimed from now on. A batch posted again settles anew."""
    lane, header = network.lane, posted.header
    batch = batches.by_hash(session, lane, header)
    if batch is None or batch.status in (Status.posted, Status.final):
        why = "has a batch this ledger did not build" if batch is None else "has a batch twice"
        raise Conflict(f"lane {lane} {why}: {posted.id}", header=to_hex(header))
    if batch.status is Status.void:
        _reinstate(session, network, batch, now)
    cause = movements.batch_cause(lane, batch.number, header)
    while postings.is_booked(session, Kind.settle, cause):
        cause += b"\1"
    settled = movements.settle(cause, batches.earned(session, lane, batch.number), now)
    if settled.postings:
        postings.book(session, settled)
    batches.set_posted(session, batch, posted.id, posted.posted_at * 1_000, settled.id)


def _reinstate(session: Session, network: Network, batch: Batch, now: int) -> None:
    """The chain has a batch that was void here: it stands again, and what was built in its place is void.

    Its trees are written again from its receipts: a Conflict if they do not come to its header.
    """
    _hold(session, network)
    before = batches.by_hash(session, network.lane, batch.header.prev)
    for other in batches.after(session, network.lane, before.number if before else 0):
        _drop(session, other, now)
    closed = batch_files.write_again(session, batch_files.Discard(), network.domain, batch)
    tree_nodes.grow(session, network.lane, before.number if before else 0, batch.number, closed)
    for row in batches.ranges(session, network.lane, batch.number):
        watermarks.set_batched(session, row.gateway, row.last)


def _void(session: Session, network: Network, onchain_id: int, now: int) -> None:
    """A batch and all after it are void: what they pay is unbatched again, their receipts wait for the next."""
    _hold(session, network)
    first = batches.by_onchain_id(session, network.lane, onchain_id)
    for batch in batches.after(session, network.lane, first.number - 1) if first else ():
        _drop(session, batch, now)


def _drop(session: Session, batch: Batch, now: int) -> None:
    """A batch is void, the newest that stands. What it paid was booked once, so it is reversed once."""
    for row in batches.ranges(session, batch.lane, batch.number):
        watermarks.set_batched(session, row.gateway, row.first - 1)
    _correct(session, batch.settled, now)
    batches.set_void(session, batch)
    tree_nodes.drop(session, batch.lane, batch.number)


def _hold(session: Session, network: Network) -> None:
    """Nobody builds a batch on one that is about to fall."""
    if not batches.take(session, network.lane):
        raise Unavailable(f"a batch of lane {network.lane} is being built; the next sweep looks again")


def _reorganise(session: Session, wire: Blocks, network: Network, tip: int, now: int) -> int:
    """Blocks we indexed are gone: go back to the last one that stands, and read the chain again from there.

    Claims and exits are taken back first, then batches stand as they stood, then what the new blocks say is booked, and
    only then are deposits taken back that did not come again: a deposit that merely moved is never missed.
    """
    _hold(session, network)
    known = chain_time.hashes(session)
    common = next((number for number, hashed in known if _still_there(wire, number, hashed)), network.start_block - 1)
    gone = indexed.canonical_from(session, common + 1)
    deposits = {(log.transaction, log.ordinal): log for log in gone if log.kind == events.Deposited.__name__}
    for log in gone:
        if (log.transaction, log.ordinal) not in deposits:
            _undo(session, log, now)
    indexed.clear_mirrors(session)
    old = events.read_logs(wire, network.start_block, common, network.span)
    for one in old:
        mirror.copy(session, one)
    _restand(session, network, active_batches(old, network.lane), now)
    last = max(common, tip - network.confirmations)
    fresh = events.read_logs(wire, common + 1, last, network.span)
    _take_in(session, network, fresh, now)
    for key in deposits.keys() - {(log.transaction, place) for log, place in events.number_logs(fresh)}:
        _undo(session, deposits[key], now)
    _give_back(session, network, now)
    transactions.reopen(session, common)
    chain_time.forget_after(session, common)
    _advance(session, wire, network, last, now)
    return last - common


def _restand(session: Session, network: Network, standing: Sequence[ActiveBatch], now: int) -> None:
    """Make batches stand as they do on the chain: one it lost is under way again, one whose verdict it lost stands.

    What was built in the place of one that stands again is void; it may still hold, should the verdict return first.
    """
    theirs = {one.header for one in standing}
    for batch in reversed(batches.with_status(session, network.lane, Status.posted, Status.final)):
        if batch.header.hash not in theirs:
            _correct(session, batch.settled, now)
            batches.set_unposted(session, batch)
    for one in standing:
        known = batches.by_hash(session, network.lane, one.header)
        if known is None or known.status not in (Status.posted, Status.final):
            _post(session, network, one, now)
        elif known.status is Status.final and one.final_at is None:
            batches.set_unfinal(session, known)


def _undo(session: Session, log: Indexed, now: int) -> None:
    """The chain no longer has this log: reverse what it booked. What batches paid is reversed with the batch."""
    if log.kind != events.Committed.__name__:
        _correct(session, log.booked, now)
    indexed.undo(session, log)


def _give_back(session: Session, network: Network, now: int) -> None:
    """What was set aside for an exit whose request is gone can be spent again."""
    leaving = {consumer.account for consumer in lanes.leaving(session, network.lane)}
    for name, entries in postings.entries(session, "withdrawing:").items():
        account, held = parse(name).party, balance(name, entries)
        if account is not None and held and account not in leaving:
            cause = b"stayed" + account + entries.credits.to_bytes(8, "big")
            postings.book(session, movements.withdraw(cause, account, 0, held, now))


def _correct(session: Session, booked: Digest | None, now: int) -> None:
    done = postings.get(session, booked) if booked is not None else None
    if done is None:
        return
    try:
        postings.book(session, movements.correct(done, now))
    except Rejected as short:
        what = f"the chain took back a {done.kind.value} of which something was spent: {short.message}"
        raise Conflict(f"{what}. It waits for the transaction to come back, or for a person") from short


def _is_batch(log: Log) -> bool:
    return isinstance(log.event, events.Committed | events.Finalized | events.Voided)
