"""A lost ledger made again from the chain and the public batch files, in an empty database.

The chain is indexed as ever, from the first block on. Before each block that has a batch, the batch comes back from its
file: receipts are logged and posted, and the batch is built, as the gateways and workers did it. A batch that fell
later is passed over: its receipts are in batches after it, or in none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from sqlmodel import Session

from ledger.context import Context
from ledger.core.settlement import batch_file
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.batches import active_batches
from ledger.core.settlement.events import Block, Blocks, Committed, Log, read_logs
from ledger.core.settlement.header import Header, HeaderId
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import Lane, to_hex
from ledger.flows import audits, batches, indexer, postings, restores
from ledger.flows.indexer import Network
from ledger.store.chain import chain_time, lanes
from ledger.store.settlement.alarms import Alarm


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came back: batches, receipts, the last indexed block, and what a thorough audit finds wrong."""

    batches: int
    receipts: int
    block: int
    alarms: tuple[Alarm, ...]


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
    """Make the ledger again, whole or not at all. Rejected when the database is not empty, or a file is missing."""
    if context.chain is None:
        raise Rejected("a private grid has no chain to make its ledger again from: restore a backup of the database")
    if not folder.is_dir():
        raise Rejected(f"{folder} is not a folder: tollway batch mirror {folder}")
    network, tip = context.network, context.chain.block()
    if tip is None:
        raise Unavailable("the chain has no block")
    restores.check_empty(session, network.lane)
    last = tip.number - network.confirmations
    say(f"reading the chain up to block {last}")
    logs = read_logs(context.chain, network.start_block, last, network.span)
    standing = [one.header for one in active_batches(logs, network.lane)]
    _check_there(folder, standing)
    wire = Standing(context.chain, network.lane, frozenset(header.id for header in standing))
    committed = [
        (log.block, log.event.header)
        for log in logs
        if isinstance(log.event, Committed) and log.event.lane == network.lane and log.event.header.id in wire.headers
    ]
    receipts = 0
    for block, group in groupby(committed, key=lambda one: one[0]):
        _index(session, wire, network, block - 1, now)
        for _, header in group:
            file = _read(folder, header)
            _restore(session, file, now)
            receipts += file.opening.calls
            say(f"batch {file.opening.number}: {file.opening.calls} receipts")
    _index(session, wire, network, last, now)
    consumers = lanes.consumers(session, network.lane)
    paid = ((one, context.chain.account(network.lane, one).paid_in) for one in consumers)
    restores.paid_in_again(session, network.lane, paid, last, now)
    indexer.set_aside(session, network.lane, now)
    found = audits.reconcile(session, context.scope, now, thorough=True)
    return Rebuilt(len(standing), receipts, last, tuple(found))


def _index(session: Session, wire: Blocks, network: Network, last: int, now: int) -> None:
    """Index up to a block."""
    while True:
        known = chain_time.get(session)
        left = last + 1 - (known.number + 1 if known else network.start_block)
        if left <= 0:
            return
        if not indexer.index_next(session, wire, replace(network, span=min(left, network.span)), now):
            raise Conflict("another indexer is at work on this database: stop the workers")


def _restore(session: Session, file: BatchFile, now: int) -> None:
    """Bring one batch back, as built."""
    for gateway in restores.log_again(session, file, now):
        if not postings.post_chunk(session, file.opening.lane, gateway, file.opening.calls, now):
            raise Conflict(f"batch {file.opening.number}: receipts of gateway {to_hex(gateway)} do not check out")
    restores.allow_again(session, file)
    batches.adopt(session, file, now)


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
