"""The group commit: all calls that wait are written together, and none is answered before its receipt is durable.

One thread writes. There is no timer: while one group commits the next one gathers. A lost connection closes the journal
(calls are refused, fail closed) until it is back; then the journal's tail says whether the group in flight was written.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from ledger.core.errors import Conflict, TollwayError, Unavailable
from ledger.core.ids import Address
from ledger.core.typed_data import Domain, Signer
from ledger.flows.journaling import Bundle, Outcome, Tail, append, outcomes, prepare, tail_of
from ledger.store.appender import Appender
from ledger.store.receipts import Signed

log = logging.getLogger("tollway.journal")

MAX_GROUP = 256
RETRY_SECONDS = 0.25

Waiting = tuple[Bundle, asyncio.Future[tuple[Signed, ...]]]
Holdings = Callable[[], dict[Address, int]]


class Journal:
    """Appends bundles of drafts for one gateway. `holdings` reads what the gateway may still spend of each consumer."""

    def __init__(self, connect: Callable[[], Appender], holdings: Holdings, signer: Signer, domain: Domain) -> None:
        self._connect = connect
        self._holdings = holdings
        self._signer = signer
        self._domain = domain
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._appender: Appender | None = None
        self._tail: Tail | None = None
        self.on_reopen: Callable[[dict[Address, int]], None] = lambda holdings: None
        self.healthy = False
        self.groups = 0
        self.written = 0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the gateway's lock, find the tail, start the thread. Conflict when another process has the lock."""
        self._loop = loop
        self._appender = self._connect()
        self._tail = tail_of(self._appender)
        self.healthy = True
        self._thread.start()

    def append(self, bundle: Bundle) -> asyncio.Future[tuple[Signed, ...]]:
        """Durable receipts of these drafts, or why there are none."""
        assert self._loop is not None
        future: asyncio.Future[tuple[Signed, ...]] = self._loop.create_future()
        self._queue.put((bundle, future))
        return future

    def close(self) -> None:
        """Write what waits, stop the thread, give up the lock."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        if self._appender is not None:
            self._appender.close()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, last = self._gather(first)
            try:
                results = self._write([bundle for bundle, _ in group])
            except BaseException as bug:
                self.healthy = False
                log.critical("journal_stopped", extra={"facts": {"reason": repr(bug)}}, exc_info=True)
                self._settle(group, [Unavailable("the journal stopped") for _ in group])
                raise
            self._settle(group, results)
            if last:
                return

    def _gather(self, first: Waiting) -> tuple[list[Waiting], bool]:
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                return group, True
            group.append(waiting)
        return group, False

    def _write(self, bundles: list[Bundle]) -> list[Outcome]:
        assert self._appender is not None
        assert self._tail is not None
        try:
            self._tail, results = append(self._appender, self._signer, self._domain, self._tail, bundles)
        except Unavailable as lost:
            return self._after_loss(bundles, lost)
        self.groups += 1
        self.written += len(bundles)
        return results

    def _after_loss(self, bundles: list[Bundle], lost: Unavailable) -> list[Outcome]:
        """Reopen, and find out what became of the group: written whole, or to be written as far as money is left."""
        self.healthy = False
        log.error("journal_lost", extra={"facts": {"reason": lost.message}})
        assert self._tail is not None
        before = self._tail
        self._reopen()
        intended = prepare(self._signer, self._domain, before, bundles)
        results = outcomes(intended, bundles) if self._tail == intended.tail else self._again(bundles)
        self.healthy = True
        return results

    def _again(self, bundles: list[Bundle]) -> list[Outcome]:
        left = self._holdings()
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
            results.update(zip(places, self._write(rest), strict=True))
        return [results[place] for place in range(len(bundles))]

    def _reopen(self) -> None:
        while True:
            try:
                if self._appender is not None:
                    self._appender.close()
                self._appender = self._connect()
                self._tail = tail_of(self._appender)
                holdings = self._holdings()
                break
            except (Unavailable, Conflict) as still:
                log.warning("journal_unreachable", extra={"facts": {"reason": still.message}})
                time.sleep(RETRY_SECONDS)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.on_reopen, holdings)

    def _settle(self, group: list[Waiting], results: list[Outcome]) -> None:
        assert self._loop is not None
        done = [(future, result) for (_, future), result in zip(group, results, strict=True)]
        try:
            self._loop.call_soon_threadsafe(_resolve, done)
        except RuntimeError:
            log.error("journal_outlived_its_loop", extra={"facts": {"calls": len(done)}})


def _resolve(done: list[tuple[asyncio.Future[tuple[Signed, ...]], Outcome]]) -> None:
    for future, result in done:
        if future.cancelled():
            continue
        if isinstance(result, TollwayError):
            future.set_exception(result)
        else:
            future.set_result(result)
