"""The indexer: each confirmed log is mirrored and booked once, and undone when a reorganisation removes it.

A log's id is its transaction and its position among that transaction's logs, which a reorganisation does not change.
Time is the last indexed block's: when it enters an epoch, that epoch's book of bids is frozen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from ledger.core.accounts import movements, webhooks
from ledger.core.accounts.accounts import available, parse, withdrawing
from ledger.core.accounts.postings import Kind, Transaction, balance
from ledger.core.pricing import epochs
from ledger.core.settlement import events
from ledger.core.settlement.bars import Exit
from ledger.core.settlement.batches import ActiveBatch, Status, active_batches
from ledger.core.settlement.events import Block, Blocks, Log
from ledger.core.settlement.header import name_at
from ledger.core.values.atoms import AIC, Currency
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, to_hex
from ledger.core.values.typed_data import Domain
from ledger.store.access import permits
from ledger.store.access import webhooks as hooks
from ledger.store.chain import bids, chain_time, lanes, mirror
from ledger.store.chain import events as indexed
from ledger.store.chain.events import Indexed
from ledger.store.money import postings
from ledger.store.receipts import barred, watermarks
from ledger.store.settlement import batch_files, batches, transactions, tree_nodes
from ledger.store.settlement.batches import Batch

BOOKS_KEPT = 48
_OF_A_BATCH = (events.Committed, events.Finalized)
_ABOUT: Mapping[type[events.Asked], str] = {
    events.WordsAsked: "words of a tree",
    events.ReceiptAsked: "a receipt",
    events.MandateAsked: "a mandate",
    events.FinalAsked: "a word of a final tree",
}
"""What a question asks for, as webhooks are told."""


@dataclass(frozen=True, slots=True)
class Network:
    """Which chain, contract and lane to index, how many confirmations a block needs, how long epochs are, and in what
    currency amounts are.
    """

    chain_id: int
    lane: Lane
    start_block: int
    confirmations: int
    epoch_seconds: int = epochs.EPOCH_SECONDS
    span: int = 2_000
    settlement: Address = ZERO_ADDRESS
    currency: Currency = AIC

    @property
    def domain(self) -> Domain:
        return Domain(self.chain_id, self.settlement)


def index_next(session: Session, wire: Blocks, network: Network, now: int) -> int:
    """Index the next confirmed blocks, at most `span`. How many; 0 when there are none or another indexer runs."""
    if not chain_time.take(session):
        return 0
    tip = wire.block()
    known = chain_time.get(session)
    if tip is None:
        raise Unavailable("the chain has no block")
    if known is not None and not _is_canonical(wire, known.number, known.hash):
        return _reorganise(session, wire, network, tip.number, now)
    first = known.number + 1 if known else network.start_block
    last = min(tip.number - network.confirmations, first + network.span - 1)
    if last < first:
        return 0
    _index_logs(session, network, wire.logs(first, last), now)
    _advance(session, wire, network, last, now)
    return last - first + 1


def set_aside(session: Session, lane: Lane, now: int) -> int:
    """Move available balances of leaving consumers to `withdrawing`, which cannot be spent. Returns atoms moved."""
    moved = 0
    for consumer in lanes.leaving(session, lane):
        account = consumer.account
        left = postings.lock(session, lane, [available(account)])[available(account)]
        if left:
            before = postings.entries(session, lane, withdrawing(account)).get(withdrawing(account))
            number = before.credits if before else 0
            cause = b"leaving" + account + number.to_bytes(8, "big")
            postings.book(session, movements.request_withdrawal(lane, cause, account, left, now))
            moved += left
    return moved


def _is_canonical(wire: Blocks, number: int, hashed: Digest) -> bool:
    block = wire.block(number)
    return block is not None and block.hash == hashed


def _advance(session: Session, wire: Blocks, network: Network, number: int, now: int) -> None:
    block = wire.block(number)
    if block is None:
        raise Unavailable(f"block {number} is gone; the next sweep looks again")
    chain_time.advance(session, block, now)
    _freeze_books(session, network, block, now)


def _freeze_books(session: Session, network: Network, block: Block, now: int) -> None:
    """Freeze the book of every epoch that the chain's time has entered: later bids count in later epochs only."""
    epoch = epochs.epoch_at(block.timestamp, network.epoch_seconds)
    newest = bids.latest_epoch(session)
    for entered in range(max(epoch - BOOKS_KEPT, epoch if newest is None else newest + 1), epoch + 1):
        bids.freeze(session, epochs.freeze(bids.placed_until(session, entered), entered), now)


def _index_logs(session: Session, network: Network, logs: list[Log], now: int) -> None:
    for log, ordinal in events.number_logs(logs):
        mirror.copy(session, log)
        known = indexed.get(session, log.transaction, ordinal)
        if known is not None and known.canonical:
            indexed.record(session, replace(known, block=log.block))
            continue
        generation = known.generation + 1 if known else 0
        cause = movements.log_cause(network.chain_id, log.transaction, ordinal | generation << 20)
        _tell(session, network, log, ordinal, now)
        row = Indexed(
            transaction=log.transaction,
            ordinal=ordinal,
            block=log.block,
            kind=type(log.event).__name__,
            generation=generation,
            canonical=True,
            booked=_book(session, network, log, cause, now),
            batch=log.event.id if isinstance(log.event, _OF_A_BATCH) else None,
        )
        indexed.record(session, row)


def _tell(session: Session, network: Network, log: Log, ordinal: int, now: int) -> None:
    """Write what webhooks are told of a log of our lane. One that a reorganisation brings again is told of once."""
    lane = network.lane
    match log.event:
        case events.Claimed(of, _, payee, amount) if of == lane:
            event = webhooks.claim_paid(lane, payee, amount, (log.transaction, ordinal), network.currency)
        case (events.WordsAsked() | events.ReceiptAsked() | events.MandateAsked() | events.FinalAsked()) as asked if (
            asked.lane == lane
        ):
            facts = {"about": _ABOUT[type(asked)], "deadline": asked.deadline * 1_000}
            facts["onchain_id"] = None if isinstance(asked, events.FinalAsked) else asked.id
            event = webhooks.challenge_opened(lane, asked.question, facts, f"{to_hex(log.transaction)} {ordinal}")
        case _:
            return
    hooks.write(session, lane, [event], now)


def _book(session: Session, network: Network, log: Log, cause: bytes, now: int) -> Digest | None:
    """Book the money a log of our lane moved. Returns the transaction's id, if there is one."""
    if getattr(log.event, "lane", None) != network.lane:
        return None
    _follow_batch(session, network, log, now)
    transaction = _movement(session, log, cause, now)
    if transaction is None or not transaction.postings:
        return None
    postings.book(session, transaction)
    return transaction.id


def _movement(session: Session, log: Log, cause: bytes, now: int) -> Transaction | None:
    """The movements of a log between accounts. First what leaving consumers still have is set aside."""
    match log.event:
        case events.Deposited(lane, account, _, amount):
            return movements.deposit(lane, cause, account, amount, now)
        case events.Claimed(lane, _, payee, amount):
            return movements.claim(lane, cause, payee, amount, now)
        case events.WithdrawRequested(lane, _, True):
            set_aside(session, lane, now)
        case events.Withdrawn(lane, account, amount, _):
            set_aside(session, lane, now)
            leaver = lanes.get_consumer(session, lane, account)
            if leaver is not None and leaver.left_at is not None:
                barred.release(session, lane, Exit(account, 0, leaver.left_at), cause, now)
            held = postings.lock(session, lane, [withdrawing(account)])[withdrawing(account)]
            if amount or held:
                return movements.withdraw(lane, cause, account, amount, max(held - amount, 0), now)
    return None


def _follow_batch(session: Session, network: Network, log: Log, now: int) -> None:
    """Record what the chain did with a batch, if the log is about one."""
    match log.event:
        case events.Committed(_, onchain_id, header, until):
            _post(session, network, ActiveBatch(onchain_id, header, log.timestamp, until), now)
        case events.Finalized(lane, onchain_id):
            batch = batches.by_onchain_id(session, lane, onchain_id)
            if batch is not None:
                batches.set_final(session, batch, log.timestamp * 1_000)
                _tell_payees(session, network, batch, now)
        case events.Fell() | events.Withdrawn(escaped=True):
            _void(session, network, now)


def _tell_payees(session: Session, network: Network, batch: Batch, now: int) -> None:
    """Write what webhooks are told of a final batch. It may pay very many, of whom few have any."""
    lane, wanted = batch.lane, hooks.accounts(session, batch.lane, webhooks.Kind.batch_final)
    if wanted:
        paid = {to: atoms for to, atoms in batches.earned(session, lane, batch.number).items() if to[0] in wanted}
        of = batch.number, batch.header.id
        hooks.write(session, lane, webhooks.batch_final(lane, of, paid, network.currency), now)


def _post(session: Session, network: Network, posted: ActiveBatch, now: int) -> None:
    """Record that a batch is on chain, and book what it pays; a batch posted again is booked again."""
    lane, header = network.lane, posted.header.id
    batch = batches.by_header(session, lane, header)
    if batch is None or batch.status in (Status.posted, Status.final):
        why = f"has batch {posted.id} twice"
        if batch is None:
            why = f"has batch {posted.id}, which this ledger did not build: after a restore, tollway operator rebuild"
        raise Conflict(f"lane {to_hex(lane)} {why}", header=to_hex(header))
    if batch.status is Status.void:
        _reinstate(session, network, batch, now)
    cause = movements.batch_cause(lane, batch.number, header)
    while postings.is_booked(session, lane, Kind.settle, cause):
        cause += b"\1"
    settled = movements.settle(lane, cause, batches.earned(session, lane, batch.number), now)
    if settled.postings:
        postings.book(session, settled)
    window = posted.posted_at * 1_000, posted.until * 1_000
    batches.set_posted(session, batch, posted.id, window, settled.id)


def _reinstate(session: Session, network: Network, batch: Batch, now: int) -> None:
    """Take back a void batch that the chain has, and make void what was built in its stead.

    Its trees are written again from its receipts. A Conflict if they do not lead to its header.
    """
    _hold(session, network)
    before = batches.by_header(session, network.lane, batch.header.prev)
    for other in batches.after(session, network.lane, before.number if before else 0):
        batches.drop(session, other, now)
    closed = batch_files.write_again(session, batch_files.Discard(), network.domain, batch)
    tree_nodes.grow(session, network.lane, before.number if before else 0, batch.number, closed)
    ranges = batches.ranges(session, network.lane, batch.number)
    for row in ranges:
        watermarks.set_batched(session, network.lane, row.gateway, row.last)
    left_out = {name_at(ranges, place) for place in batch.barred}
    cause = movements.batch_cause(network.lane, batch.number, batch.header.id)
    barred.keep_books(session, network.lane, ranges, left_out, cause, now)


def _void(session: Session, network: Network, now: int) -> None:
    """The lane began a new era: all that is not final is void. What it pays is accrued again, its receipts wait."""
    _hold(session, network)
    waiting = batches.with_status(session, network.lane, Status.built, Status.signed, Status.posted)
    for batch in reversed(waiting):
        batches.drop(session, batch, now)


def _hold(session: Session, network: Network) -> None:
    """Keep other workers from building a batch on one that becomes void."""
    if not batches.take(session, network.lane):
        raise Unavailable(f"a batch of lane {to_hex(network.lane)} is being built; the next sweep looks again")


def _reorganise(session: Session, wire: Blocks, network: Network, tip: int, now: int) -> int:
    """Indexed blocks are gone: return to the last one that is still on the chain, and read on from there.

    The order matters: undo claims and exits, restore batches to what the common blocks say, index the new blocks, and
    then undo the deposits that are not in them. So a deposit that only moved to another block is never missing.
    """
    _hold(session, network)
    known = chain_time.hashes(session)
    common = next((number for number, hashed in known if _is_canonical(wire, number, hashed)), network.start_block - 1)
    gone = indexed.canonical_from(session, common + 1)
    deposits = {(log.transaction, log.ordinal): log for log in gone if log.kind == events.Deposited.__name__}
    for log in gone:
        if (log.transaction, log.ordinal) not in deposits:
            _undo(session, network.lane, log, now)
    indexed.clear_mirrors(session)
    old = events.read_logs(wire, network.start_block, common, network.span)
    for one in old:
        mirror.copy(session, one)
    _restore_batches(session, network, active_batches(old, network.lane), now)
    last = max(common, tip - network.confirmations)
    fresh = events.read_logs(wire, common + 1, last, network.span)
    _index_logs(session, network, fresh, now)
    for key in deposits.keys() - {(log.transaction, ordinal) for log, ordinal in events.number_logs(fresh)}:
        _undo(session, network.lane, deposits[key], now)
    _return_set_aside(session, network, now)
    transactions.reopen(session, common)
    permits.reopen(session, common)
    chain_time.forget_after(session, common)
    _advance(session, wire, network, last, now)
    return last - common


def _restore_batches(session: Session, network: Network, on_chain_now: Sequence[ActiveBatch], now: int) -> None:
    """Give batches the state they have on the chain: a lost one is under way again, and a lost verdict is undone.

    What was built in the stead of a batch that is back is void, unless the verdict returns first.
    """
    theirs = {one.header.id for one in on_chain_now}
    for batch in reversed(batches.with_status(session, network.lane, Status.posted, Status.final)):
        if batch.header.id not in theirs:
            _correct(session, batch.lane, batch.settled, now)
            batches.set_unposted(session, batch)
    for one in on_chain_now:
        known = batches.by_header(session, network.lane, one.header.id)
        if known is None or known.status not in (Status.posted, Status.final):
            _post(session, network, one, now)
        elif known.status is Status.final and one.final_at is None:
            batches.set_unfinal(session, known)


def _undo(session: Session, lane: Lane, log: Indexed, now: int) -> None:
    """Reverse what a log booked that the chain no longer has; what a batch paid is reversed with the batch."""
    if log.kind != events.Committed.__name__:
        _correct(session, lane, log.booked, now)
    indexed.undo(session, log)


def _return_set_aside(session: Session, network: Network, now: int) -> None:
    """Make what was set aside for an exit available again when its request is gone."""
    leaving = {consumer.account for consumer in lanes.leaving(session, network.lane)}
    for name, entries in postings.entries(session, network.lane, "withdrawing:").items():
        account, held = parse(name).party, balance(name, entries)
        if account is not None and held and account not in leaving:
            cause = b"stayed" + account + entries.credits.to_bytes(8, "big")
            postings.book(session, movements.withdraw(network.lane, cause, account, 0, held, now))


def _correct(session: Session, lane: Lane, booked: Digest | None, now: int) -> None:
    done = postings.get(session, lane, booked) if booked is not None else None
    if done is None:
        return
    try:
        postings.book(session, movements.correct(done, now))
    except Rejected as short:
        what = f"the chain took back a {done.kind.value} of which something was spent: {short.message}"
        raise Conflict(f"{what}. It waits for the transaction to come back, or for a person") from short
