"""A lost ledger made again from the chain and the public batch files, in an empty database or in a restored older one.

The chain is indexed as ever, from the first block on, or from the last one that the database knows. Before each block
with a batch that is not in the database, the batch comes back from its file: receipts are logged and posted, and the
batch is built, as the gateways and workers did it. A batch that fell later is passed over: its receipts are in batches
after it, or in none.
"""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from sqlmodel import Session

from ledger.chain.reads import Chain
from ledger.context import Context
from ledger.core.settlement import batch_file
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.batches import Status, active_batches
from ledger.core.settlement.events import Block, Blocks, Committed, Log, read_logs
from ledger.core.settlement.header import Header, HeaderId
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.flows import audits, batches, deposits, indexer, leases, postings, restores
from ledger.flows.indexer import Network
from ledger.store.chain import chain_time, lanes
from ledger.store.receipts import watermarks
from ledger.store.settlement import batches as stored
from ledger.store.settlement.alarms import Alarm

FOREVER = 2**62
"""A time (ms) by which every lease has ended."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came back: batches, receipts, the last indexed block, and what a thorough audit finds wrong.

    `renew` are the gateways whose keys may have signed receipts that are lost: they must not sign again.
    """

    batches: int
    receipts: int
    block: int
    alarms: tuple[Alarm, ...]
    renew: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A chain without the commits of batches that fell."""

    chain: Blocks
    lane: Lane
    headers: frozenset[HeaderId]

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip."""
        return self.chain.block(number)

    def logs(self, first: int, last: int) -> list[Log]:
        """The network's events in blocks first..last, in order."""
        return [log for log in self.chain.logs(first, last) if not self._fell(log)]

    def _fell(self, log: Log) -> bool:
        event = log.event
        return isinstance(event, Committed) and event.lane == self.lane and event.header.id not in self.headers


def rebuild(session: Session, context: Context, folder: Path, now: int, say: Callable[[str], object]) -> Rebuilt:
    """Make the ledger again, or let an older one catch up with the chain: whole or not at all. Rejected when a file is
    missing, or a gateway still writes to the database.
    """
    if context.chain is None:
        raise Rejected("a private grid has no chain to make its ledger again from: restore a backup of the database")
    if not folder.is_dir():
        raise Rejected(f"{folder} is not a folder: tollway batch mirror {folder}")
    network, tip = context.network, context.chain.block()
    if tip is None:
        raise Unavailable("the chain has no block")
    _end_leases(session, network.lane, context.settings.post_chunk, now)
    last = tip.number - network.confirmations
    say(f"reading the chain up to block {last}")
    logs = read_logs(context.chain, network.start_block, last, network.span)
    standing = [one.header for one in active_batches(logs, network.lane)]
    missing = {one.id for one in standing if stored.by_header(session, network.lane, one.id) is None}
    _check_there(folder, [one for one in standing if one.id in missing])
    wire = Standing(context.chain, network.lane, frozenset(header.id for header in standing))
    receipts = 0
    for block, group in groupby(_first_commits(logs, network.lane, missing), key=lambda one: one[0]):
        _index(session, wire, network, block - 1, now)
        for _, header in group:
            file = _read(folder, header)
            receipts += _restore(session, file, wire.headers, now)
            say(f"batch {file.opening.number}: {file.opening.calls} receipts")
    _index(session, wire, network, last, now)
    _restore_payments(session, context.chain, network.lane, last, now)
    indexer.set_aside(session, network.lane, now)
    found = audits.reconcile(session, context.scope, now, thorough=True)
    renew = tuple(mark.gateway for mark in watermarks.of_lane(session, network.lane))
    return Rebuilt(len(missing), receipts, last, tuple(found), renew)


def _first_commits(logs: Iterable[Log], lane: Lane, wanted: Set[HeaderId]) -> list[tuple[int, Header]]:
    """The block in which each of these batches came on chain first, in order."""
    left, found = set(wanted), []
    for log in logs:
        if isinstance(log.event, Committed) and log.event.lane == lane and log.event.header.id in left:
            left.remove(log.event.header.id)
            found.append((log.block, log.event.header))
    return found


def _end_leases(session: Session, lane: Lane, chunk: int, now: int) -> None:
    """In a restored database: post what gateways logged, and take back what they leased and did not spend. Rejected
    while one of them is at work.
    """
    restores.check_alone(session, lane)
    for gateway in postings.due(session, lane):
        while postings.post_chunk(session, lane, gateway, chunk, now):
            pass
    leases.reclaim(session, lane, FOREVER)


def _restore_payments(session: Session, chain: Chain, lane: Lane, block: int, now: int) -> None:
    """Record the x402 payments that the chain has, and the ledger does not know to be paid."""
    deposits.credit_mined(session, lane, chain, block)
    paid = ((one, chain.account(lane, one, block=block).paid_in) for one in lanes.consumers(session, lane))
    restores.paid_in_again(session, lane, paid, block, now)


def _index(session: Session, wire: Blocks, network: Network, last: int, now: int) -> None:
    """Index up to a block."""
    while True:
        known = chain_time.get(session)
        left = last + 1 - (known.number + 1 if known else network.start_block)
        if left <= 0:
            return
        if not indexer.index_next(session, wire, replace(network, span=min(left, network.span)), now):
            raise Conflict("another indexer is at work on this database: stop the workers")


def _restore(session: Session, file: BatchFile, on_chain: Set[HeaderId], now: int) -> int:
    """Bring a batch back, as built, in the stead of what is built and not on chain. How many receipts it adds."""
    for other in reversed(stored.with_status(session, file.opening.lane, Status.built, Status.signed)):
        if other.header.id not in on_chain:
            stored.drop(session, other, now)
    logged = restores.log_again(session, file, now)
    for gateway in logged:
        if not postings.post_chunk(session, file.opening.lane, gateway, file.opening.calls, now):
            raise Conflict(f"batch {file.opening.number}: receipts of gateway {to_hex(gateway)} do not check out")
    restores.allow_again(session, file)
    batches.adopt(session, file, now)
    return sum(logged.values())


def _check_there(folder: Path, headers: list[Header]) -> None:
    missing = [header for header in headers if _path(folder, header) is None]
    if missing:
        first = to_hex(missing[0].id)
        raise Rejected(
            f"{folder} has no file of {len(missing)} of {len(headers)} batches, the first with header {first}: "
            f"tollway batch mirror {folder}, from whoever has them"
        )


def _path(folder: Path, header: Header) -> Path | None:
    return next(iter(sorted(folder.glob(f"*-{header.id.hex()}{batch_file.SUFFIX}"))), None)


def _read(folder: Path, header: Header) -> BatchFile:
    path = _path(folder, header)
    assert path is not None, "checked before"
    file = batch_file.read(path.read_bytes())
    if file.header != header:
        raise Rejected(f"{path} is not the file of its header on chain: run tollway batch mirror {folder}")
    return file
