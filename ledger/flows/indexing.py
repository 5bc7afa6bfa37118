"""Indexing: what the chain confirmed becomes mirrors and money, once per log; and what it takes back is taken back.

A log's id is its transaction and its place among that transaction's logs, which a reorganisation does not change. Time
is the last indexed block's: when it enters an epoch, that epoch's book of bids is frozen.
"""

from dataclasses import dataclass, replace

from sqlmodel import Session

from ledger.core import epochs, events, movements
from ledger.core.accounts import available, withdrawing
from ledger.core.epochs import Standing
from ledger.core.errors import Conflict, Unavailable
from ledger.core.events import Block, Blocks, Log
from ledger.core.ids import Digest, to_hex
from ledger.core.journal import Kind, Transaction
from ledger.store import (
    batches,
    bids,
    chain_time,
    challenges,
    journal,
    lanes,
    models,
    nodes,
    parties,
    transmissions,
    watermarks,
)
from ledger.store import events as indexed
from ledger.store.batches import Status
from ledger.store.events import Indexed

BOOKS_KEPT = 48


@dataclass(frozen=True, slots=True)
class Network:
    """Which chain and lane to index, how deep a block must lie, and how its time is cut into epochs."""

    chain_id: int
    lane: int
    start_block: int
    confirmations: int
    epoch_seconds: int = epochs.EPOCH_SECONDS
    genesis: int = 0
    span: int = 2_000


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
        left = journal.lock(session, [available(account)])[available(account)]
        if left:
            before = journal.entries(session, withdrawing(account)).get(withdrawing(account))
            number = before.credits if before else 0
            cause = b"leaving" + account + number.to_bytes(8, "big")
            journal.book(session, movements.request_withdrawal(cause, account, left, now))
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
    for log, place in _placed(logs):
        _mirror(session, log)
        known = indexed.get(session, log.transaction, place)
        if known is not None and known.standing:
            indexed.record(session, replace(known, block=log.block))
            continue
        generation = known.generation + 1 if known else 0
        booked = _book(session, network, log, place, generation, now)
        row = (log.transaction, place, log.block, type(log.event).__name__, generation, True, booked)
        indexed.record(session, Indexed(*row, batch=getattr(log.event, "id", None) if _is_batch(log) else None))


def _placed(logs: list[Log]) -> list[tuple[Log, int]]:
    """Each log with its place among the logs of its transaction."""
    counts: dict[Digest, int] = {}
    placed = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        place = counts.get(log.transaction, 0)
        counts[log.transaction] = place + 1
        placed.append((log, place))
    return placed


def _mirror(session: Session, log: Log) -> None:
    """Copy what a log says into the tables that hold nothing else."""
    match log.event:
        case events.Deposited(lane, account, index, amount):
            lanes.deposit(session, lane, account, index, amount)
        case events.Claimed(lane, index, payee, amount):
            lanes.claim(session, lane, index, payee, amount)
        case events.WithdrawRequested(lane, account):
            lanes.request_withdrawal(session, lane, account, log.timestamp)
        case events.Withdrawn(lane, account, amount, _):
            lanes.withdraw(session, lane, account, amount)
        case events.PayeeRegistered(index, payee):
            parties.put(session, payee, index)
        case events.BidPlaced(subject, role, party, bid, first, until):
            standing = Standing(subject, role, party, bid, first, until)
            bids.place(session, bids.Placed(standing, log.block, log.index))
        case events.StakeChanged(party, active, unbonding, release_at):
            parties.put_stake(session, parties.Stake(party, active, unbonding, release_at))
        case events.SessionKeySet(account, key, active):
            parties.put_session_key(session, account, key, active)
        case events.ModelRegistered():
            models.put(session, log.event, log.block)
        case events.DebitChallenged() | events.NodeDemanded():
            challenges.put(session, log.event)
        case events.Answered(_, _, key):
            challenges.close(session, key)
        case events.LaneOpened(lane, operator, window, answer_time, bond):
            lanes.put(session, lanes.Lane(lane, operator, window, answer_time, bond))
        case events.BondChanged(lane, bond):
            lanes.change(session, lane, bond=bond)
        case events.LaneActive(lane, active):
            lanes.change(session, lane, active=active)
        case _:
            pass


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
            held = journal.lock(session, [withdrawing(account)])[withdrawing(account)]
            made = movements.withdraw(cause, account, amount, max(held - amount, 0), now) if amount or held else None
        case events.Committed(lane, chain_id, header_hash):
            made = _posted(session, lane, chain_id, header_hash, log.timestamp, now)
        case events.Finalized(lane, chain_id):
            batch = batches.by_chain_id(session, lane, chain_id)
            if batch is not None:
                batches.set_final(session, batch, log.timestamp * 1_000)
        case events.Voided(lane, chain_id, _):
            _void(session, lane, chain_id, now)
        case _:
            pass
    if made is None or not made.postings:
        return None
    journal.book(session, made)
    return made.id


def _posted(session: Session, lane: int, chain_id: int, header_hash: Digest, at: int, now: int) -> Transaction:
    """A batch is on chain: what it pays can be claimed from now on. A batch posted again settles anew."""
    batch = batches.by_hash(session, lane, header_hash)
    if batch is None or batch.status is Status.void:
        raise Conflict(f"lane {lane} has a batch {chain_id} this ledger did not build", header=to_hex(header_hash))
    cause = movements.batch_cause(lane, batch.number, header_hash)
    while journal.is_booked(session, Kind.settle, cause):
        cause += b"\1"
    settled = movements.settle(cause, batches.earned(session, lane, batch.number), now)
    batches.set_posted(session, batch, chain_id, at * 1_000, settled.id)
    return settled


def _void(session: Session, lane: int, chain_id: int, now: int) -> None:
    """A batch and all after it are void: what they pay is unbatched again, their receipts wait for the next."""
    for batch in batches.from_chain_id(session, lane, chain_id):
        for row in batches.ranges(session, lane, batch.number):
            watermarks.set_batched(session, row.gateway, row.first - 1)
        _correct(session, batch.settled, now)
        batches.set_void(session, batch)
        nodes.drop(session, lane, batch.number)


def _reorganise(session: Session, wire: Blocks, network: Network, tip: int, now: int) -> int:
    """Blocks we indexed are gone: go back to the last one that stands, and read the chain again from there.

    Commits, claims and exits are taken back first, then what the new blocks say is booked, and only then are deposits
    taken back that did not come again: a deposit that merely moved to another block is never missed.
    """
    known = chain_time.hashes(session)
    common = next((number for number, hashed in known if _still_there(wire, number, hashed)), network.start_block - 1)
    gone = indexed.standing_from(session, common + 1)
    deposits = {(log.transaction, log.place): log for log in gone if log.kind == events.Deposited.__name__}
    for log in gone:
        if (log.transaction, log.place) not in deposits:
            _undo(session, network, log, now)
    indexed.clear_mirrors(session)
    for old in _logs(wire, network, network.start_block, common):
        _mirror(session, old)
    last = max(common, tip - network.confirmations)
    fresh = _logs(wire, network, common + 1, last)
    _take_in(session, network, fresh, now)
    for key in deposits.keys() - {(log.transaction, place) for log, place in _placed(fresh)}:
        _undo(session, network, deposits[key], now)
    transmissions.reopen(session, common)
    chain_time.forget_after(session, common)
    _advance(session, wire, network, last, now)
    return last - common


def _logs(wire: Blocks, network: Network, first: int, last: int) -> list[Log]:
    """Logs of many blocks, `span` of them at a time."""
    spans = range(first, last + 1, network.span)
    return [log for at in spans for log in wire.logs(at, min(at + network.span - 1, last))]


def _undo(session: Session, network: Network, log: Indexed, now: int) -> None:
    """The chain no longer has this log: reverse what it booked, and take its batch a step back."""
    if log.kind == events.Voided.__name__ and log.batch is not None:
        raise Conflict(f"the verdict that voided batch {log.batch} is gone from the chain: a person must look")
    batch = batches.by_chain_id(session, network.lane, log.batch) if log.batch is not None else None
    if batch is not None and log.kind == events.Finalized.__name__:
        batches.set_unfinal(session, batch)
    elif batch is not None and log.kind == events.Committed.__name__:
        batches.set_unposted(session, batch)
    _correct(session, log.booked, now)
    indexed.undo(session, log)


def _correct(session: Session, booked: Digest | None, now: int) -> None:
    done = journal.get(session, booked) if booked is not None else None
    if done is not None:
        journal.book(session, movements.correct(done, now))


def _is_batch(log: Log) -> bool:
    return isinstance(log.event, events.Committed | events.Finalized | events.Voided)
