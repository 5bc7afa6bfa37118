"""The group commit: all calls that wait are written together, and none is answered before its receipt is durable.

One task writes, on the event loop: a thread of its own costs every call two hand-overs of Python's lock, which is more
than the numbering, hashing and signing it would take away. There is no timer: while one group commits the next one
gathers, and what nodes have answered by then joins it. A lost connection closes the journal (calls are refused, fail
closed) until it is back; then the journal's tail says whether the group in flight was written.

Watching a socket that a library reads and writes by itself, such as the journal's connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ledger.core.values.errors import Conflict, TollwayError, Unavailable
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows import receipt_log
from ledger.flows.receipt_log import Bundle, Outcome, Tail, outcomes, prepare, tail_of
from ledger.store.receipts.appender import Appender
from ledger.store.receipts.receipts import Signed

log = logging.getLogger("tollway.receipt_log")

MAX_GROUP = 256
TURNS = 2
"""Turns of the event loop before a group is closed: in the first what nodes have answered is read, in the second those
calls come to the journal. At 16 connections a group is half as large again, and a call costs an eighth less.
"""
RETRY_SECONDS = 0.25

Waiting = tuple[Bundle, asyncio.Future[tuple[Signed, ...]]]
Holdings = Callable[[], dict[Address, int]]


class ReceiptLog:
    """Appends bundles of drafts for one gateway. `holdings` reads what the gateway may still spend of each consumer."""

    def __init__(self, connect: Callable[[], Appender], holdings: Holdings, signer: Signer, domain: Domain) -> None:
        self._connect = connect
        self._holdings = holdings
        self._signer = signer
        self._domain = domain
        self._waiting: list[Waiting] = []
        self._bell: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._appender: Appender | None = None
        self._watch: Watch | None = None
        self._tail: Tail | None = None
        self._closing = False
        self.on_reopen: Callable[[dict[Address, int]], None] = lambda holdings: None
        self.healthy = False
        self.groups = 0
        self.written = 0

    async def open(self) -> None:
        """Take the gateway's lock, find the tail, begin. Conflict when another process has the lock."""
        self._loop = asyncio.get_running_loop()
        await self._attach()
        self.healthy = True
        self._task = self._loop.create_task(self._run(), name="receipt_log")

    def append(self, bundle: Bundle) -> asyncio.Future[tuple[Signed, ...]]:
        """Durable receipts of these drafts, or why there are none."""
        assert self._loop is not None
        future: asyncio.Future[tuple[Signed, ...]] = self._loop.create_future()
        self._waiting.append((bundle, future))
        self._ring()
        return future

    async def close(self) -> None:
        """Write what waits, stop, give up the lock."""
        self._closing = True
        self._ring()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._detach()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def _run(self) -> None:
        assert self._loop is not None
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._bell = self._loop.create_future()
                await self._bell
            for _ in range(TURNS):
                await asyncio.sleep(0)
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            try:
                results = await self._write([bundle for bundle, _ in group])
            except BaseException as bug:
                self.healthy = False
                log.critical("receipt_log_stopped", extra={"facts": {"reason": repr(bug)}}, exc_info=True)
                left = [*group, *self._waiting]
                _resolve(left, [Unavailable("the journal stopped") for _ in left])
                raise
            _resolve(group, results)

    async def _write(self, bundles: list[Bundle]) -> list[Outcome]:
        appender, watch, tail = self._appender, self._watch, self._tail
        assert appender is not None
        assert watch is not None
        assert tail is not None
        try:
            self._tail, results = await append(appender, watch, self._signer, self._domain, tail, bundles)
        except Unavailable as lost:
            return await self._after_loss(bundles, lost)
        self.groups += 1
        self.written += len(bundles)
        return results

    async def _after_loss(self, bundles: list[Bundle], lost: Unavailable) -> list[Outcome]:
        """Reopen, and find out what became of the group: written whole, or to be written as far as money is left."""
        self.healthy = False
        log.error("receipt_log_lost", extra={"facts": {"reason": lost.message}})
        assert self._tail is not None
        before = self._tail
        await self._reopen()
        intended = prepare(self._signer, self._domain, before, bundles)
        results = outcomes(intended, bundles) if self._tail == intended.tail else await self._again(bundles)
        self.healthy = True
        return results

    async def _again(self, bundles: list[Bundle]) -> list[Outcome]:
        left = await asyncio.to_thread(self._holdings)
        results: dict[int, Outcome] = {}
        for place, bundle in enumerate(bundles):
            for draft in bundle:
                receipt = draft.receipt
                left[receipt.consumer] = left.get(receipt.consumer, 0) - receipt.charge
                if left[receipt.consumer] < 0:
                    results[place] = Unavailable("the gateway lost its lease while the journal was down")
        rest = [bundle for place, bundle in enumerate(bundles) if place not in results]
        places = [place for place in range(len(bundles)) if place not in results]
        if rest:
            results.update(zip(places, await self._write(rest), strict=True))
        return [results[place] for place in range(len(bundles))]

    async def _reopen(self) -> None:
        while True:
            try:
                await self._attach()
                self.on_reopen(await asyncio.to_thread(self._holdings))
                return
            except (Unavailable, Conflict) as still:
                log.warning("receipt_log_unreachable", extra={"facts": {"reason": still.message}})
                await asyncio.sleep(RETRY_SECONDS)

    async def _attach(self) -> None:
        """A connection with the gateway's lock, and the tail as it stands."""
        self._detach()
        self._appender = await asyncio.to_thread(self._connect)
        self._watch = Watch(self._appender.socket)
        self._tail = await asyncio.to_thread(tail_of, self._appender)

    def _detach(self) -> None:
        if self._watch is not None:
            self._watch.end()
        if self._appender is not None:
            self._appender.close()


async def append(
    appender: Appender, watch: Watch, signer: Signer, domain: Domain, tail: Tail, bundles: Sequence[Bundle]
) -> tuple[Tail, list[Outcome]]:
    """`journaling.append`, waiting on the event loop: other calls go on while the database writes."""
    steps = receipt_log.append(appender, signer, domain, tail, bundles)
    while True:
        try:
            unsent = next(steps)
        except StopIteration as done:
            written: tuple[Tail, list[Outcome]] = done.value
            return written
        await watch.ready(unsent)


def _resolve(group: Sequence[Waiting], results: Sequence[Outcome]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, TollwayError):
            future.set_exception(result)
        else:
            future.set_result(result)


class Watch:
    """A socket that one task waits on, again and again. The event loop is told of it once, not at every wait.

    What is readable while nobody waits (a server that hangs up) would be told for ever: then it is told no more, until
    somebody waits again. `end` before the socket is closed.
    """

    def __init__(self, socket: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._told = False
        self._waiter: asyncio.Future[None] | None = None

    async def ready(self, unsent: bool) -> None:
        """Wait until there is something to read, or, with `unsent`, room to write."""
        self._waiter = waiter = self._loop.create_future()
        if not self._told:
            self._loop.add_reader(self._socket, self._wake)
            self._told = True
        if unsent:
            self._loop.add_writer(self._socket, self._wake)
        try:
            await waiter
        finally:
            if unsent:
                self._loop.remove_writer(self._socket)

    def end(self) -> None:
        """Forget the socket."""
        if self._told:
            self._loop.remove_reader(self._socket)
            self._told = False

    def _wake(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.end()
        else:
            self._waiter.set_result(None)
