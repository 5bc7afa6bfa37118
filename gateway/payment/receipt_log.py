"""The receipt log's group commit: calls that wait are written together; none is answered before its receipt is durable.

One task writes, on the event loop: a thread would cost every call two hand-overs of Python's lock, which is more than
it saves. There is no timer: while one group commits the next one gathers. A lost connection or a full disk stops the
log, and calls are refused, until it can be written again; then the log in the database tells what of the group it has.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from gateway.metrics import Durations
from ledger.core.values.errors import Conflict, TollwayError, Unavailable
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows import receipt_log
from ledger.flows.receipt_log import Bundle, Outcome, Tail, tail_of
from ledger.store.receipts.appender import Appender
from ledger.store.receipts.receipts import Signed

log = logging.getLogger("tollway.receipt_log")

MAX_GROUP = 256
TURNS = 2
"""Turns of the event loop before a group is closed: one to read what nodes have answered, one for those calls to get
here. At 16 connections a group is half as large again, and a call costs an eighth less.
"""
RETRY_SECONDS = 0.25

Settle = Callable[[bool], None]
"""Called once, with whether the receipts are durable."""
Waiting = tuple[Bundle, Settle, asyncio.Future[tuple[Signed, ...]], float]
"""The last is when it came, on the monotonic clock."""
Holdings = Callable[[], dict[Address, int]]


class ReceiptLog:
    """Appends bundles of drafts for one gateway. `holdings` reads what the gateway may still spend of each consumer."""

    def __init__(self, connect: Callable[[], Appender], holdings: Holdings, signer: Signer, domain: Domain) -> None:
        self._connect = connect
        self._holdings = holdings
        self._signer = signer
        self._domain = domain
        self._waiting: list[Waiting] = []
        self._wake_up: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None
        self._closing = False
        self.on_reopen: Callable[[dict[Address, int]], None] = lambda holdings: None
        self.healthy = False
        self.groups = 0
        self.delays = Durations()
        """From `append` until the receipts are durable, one a bundle."""

    async def open(self) -> None:
        """Take the gateway's lock, find the tail, begin. Conflict when another process has the lock."""
        await self._attach()
        self.healthy = True
        self._task = asyncio.create_task(self._run(), name="receipt_log")

    def append(self, bundle: Bundle, settle: Settle) -> asyncio.Future[tuple[Signed, ...]]:
        """The durable receipts of these drafts, or why there are none. `settle` hears it even if nobody waits then."""
        future: asyncio.Future[tuple[Signed, ...]] = asyncio.Future()
        self._waiting.append((bundle, settle, future, monotonic()))
        self._wake()
        return future

    async def close(self) -> None:
        """Write what waits, stop, give up the lock."""
        self._closing = True
        self._wake()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._detach()

    def _wake(self) -> None:
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._wake_up = asyncio.get_running_loop().create_future()
                await self._wake_up
            for _ in range(TURNS):
                await asyncio.sleep(0)
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            try:
                results = await self._write([bundle for bundle, _, _, _ in group])
            except BaseException as bug:
                self.healthy = False
                log.critical("receipt_log_stopped", extra={"reason": repr(bug)}, exc_info=True)
                left = [*group, *self._waiting]
                _resolve(left, [Unavailable("the receipt log stopped") for _ in left])
                raise
            self._note_delays(group, results)
            _resolve(group, results)

    def _note_delays(self, group: Sequence[Waiting], results: Sequence[Outcome]) -> None:
        now = monotonic()
        for (_, _, _, came), result in zip(group, results, strict=True):
            if not isinstance(result, TollwayError):
                self.delays.add((now - came) * 1000)

    async def _write(self, bundles: list[Bundle]) -> list[Outcome]:
        connection = self._connection
        assert connection is not None
        try:
            return await self._append(connection, bundles)
        except Unavailable as lost:
            self.healthy = False
            log.error("receipt_log_lost", extra={"reason": lost.message})
            results = await self._write_after_loss(bundles, connection.tail)
            self.healthy = True
            return results

    async def _append(self, connection: _Connection, bundles: list[Bundle]) -> list[Outcome]:
        connection.tail, results = await append(
            connection.appender, connection.socket, self._signer, self._domain, connection.tail, bundles
        )
        self.groups += 1
        return results

    async def _write_after_loss(self, bundles: list[Bundle], before: Tail) -> list[Outcome]:
        """Reopen, and see what was written after `before`. Write of the rest what the holdings still cover: as often as
        it takes.
        """
        gone = Unavailable("the gateway lost its lease while the receipt log was down")
        results: dict[int, Outcome] = {}
        rest = dict(enumerate(bundles))
        while rest:
            try:
                connection = await self._attach()
                known = await asyncio.to_thread(receipt_log.found, connection.appender, before, rest)
                results |= known
                left = Counter(await asyncio.to_thread(self._holdings))
                self.on_reopen(left + _charged(results))
                rest = {at: bundle for at, bundle in rest.items() if at not in results and _spend(left, bundle)}
                written = await self._append(connection, list(rest.values())) if rest else []
                results |= zip(rest, written, strict=True)
                break
            except (Unavailable, Conflict) as still:
                log.warning("receipt_log_unreachable", extra={"reason": still.message})
                self._detach()  # now: the library has closed the socket, and its number is soon another's
                await asyncio.sleep(RETRY_SECONDS)
        return [results.get(at, gone) for at in range(len(bundles))]

    async def _attach(self) -> _Connection:
        """A connection with the gateway's lock, and the tail in the database."""
        self._detach()
        appender = await asyncio.to_thread(self._connect)
        socket = SocketWaiter(appender.socket)
        try:
            tail = await asyncio.to_thread(tail_of, appender)
        except BaseException:
            appender.close()
            raise
        self._connection = _Connection(appender, socket, tail)
        return self._connection

    def _detach(self) -> None:
        if self._connection is not None:
            self._connection.socket.end()
            self._connection.appender.close()
            self._connection = None


@dataclass(slots=True)
class _Connection:
    """The log's connection to the database, and where the log ends there."""

    appender: Appender
    socket: SocketWaiter
    tail: Tail


async def append(
    appender: Appender, socket: SocketWaiter, signer: Signer, domain: Domain, tail: Tail, bundles: Sequence[Bundle]
) -> tuple[Tail, list[Outcome]]:
    """`flows.receipt_log.append`, waiting on the event loop: other calls go on while the database writes."""
    steps = receipt_log.append(appender, signer, domain, tail, bundles)
    while True:
        try:
            unsent = next(steps)
        except StopIteration as done:
            written: tuple[Tail, list[Outcome]] = done.value
            return written
        await socket.ready(unsent)


def _charged(results: Mapping[int, Outcome]) -> Counter[Address]:
    """What was charged of each consumer, while its hold is not settled: that the wallet still counts as its own."""
    charged = Counter[Address]()
    for receipts in results.values():
        for one in receipts if not isinstance(receipts, TollwayError) else ():
            charged[one.receipt.consumer] += one.receipt.charge
    return charged


def _spend(left: Counter[Address], bundle: Bundle) -> bool:
    """Take a bundle's charges from what is left of each consumer. False when that is too little."""
    covered = True
    for draft in bundle:
        receipt = draft.receipt
        left[receipt.consumer] -= receipt.charge
        covered = covered and left[receipt.consumer] >= 0
    return covered


def _resolve(group: Sequence[Waiting], results: Sequence[Outcome]) -> None:
    """Tell each of the group. What is wrong with the hold of one keeps nobody else from the log."""
    for (_, settle, future, _), result in zip(group, results, strict=True):
        try:
            settle(not isinstance(result, TollwayError))
        except Exception:
            log.exception("hold_not_settled")
        if future.done():
            continue
        if isinstance(result, TollwayError):
            future.set_exception(result)
        else:
            future.set_result(result)


class SocketWaiter:
    """Waits for a socket that a library reads and writes itself. Registered with the event loop once, not at each wait.

    When the socket is readable and nothing waits (the server has hung up), it is unregistered until the next wait, or
    the loop would spin. The loop tells of an error of the socket once: libuv watches it no longer. So each wait asks
    the system first whether it is broken. Call `end` before the socket is closed.
    """

    def __init__(self, socket: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._registered = False
        self._waiter: asyncio.Future[None] | None = None
        self._broken = select.poll()
        self._broken.register(socket, 0)  # POLLERR and POLLHUP are told all the same

    async def ready(self, unsent: bool) -> None:
        """Wait until there is something to read, or, with `unsent`, room to write."""
        if self._broken.poll(0):
            return
        self._waiter = waiter = self._loop.create_future()
        if not self._registered:
            self._loop.add_reader(self._socket, self._wake)
            self._registered = True
        if unsent:
            self._loop.add_writer(self._socket, self._wake)
        try:
            await waiter
        finally:
            if unsent:
                self._loop.remove_writer(self._socket)

    def end(self) -> None:
        if self._registered:
            self._loop.remove_reader(self._socket)
            self._registered = False

    def _wake(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.end()
        else:
            self._waiter.set_result(None)
