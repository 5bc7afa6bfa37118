"""Locks of keyed calls in the database, so that of equal calls at the lane's gateways one is made.

They are written like receipts: calls that wait are locked together, and while one group is written the next gathers.
One thread of its own does it all, so that heartbeats wait for no other work. Calls without a key need no lock.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from gateway.call.idempotency import in_progress, mismatch
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Digest
from ledger.store.receipts import call_locks
from ledger.store.receipts.call_locks import GatewayRun, Refused, Taking
from ledger.store.receipts.receipts import Signed
from ledger.store.session import unit_of_work

log = logging.getLogger("tollway.call_locks")

HEARTBEAT_SECONDS = 2.0
"""How often a gateway shows that it is alive; `call_locks.SILENT_MS` later the others take it for dead."""
CLEAN_SECONDS = 60.0
MAX_GROUP = 256

T = TypeVar("T")


class _Waiting(NamedTuple):
    """A lock that is asked for, or, without a fingerprint, is to end."""

    call: Digest
    fingerprint: bytes | None
    future: asyncio.Future[Signed | None]


class CallLocks:
    """The locks of one run of the gateway. There are no more than open calls and payments that wait."""

    def __init__(self, engine: Engine, run: GatewayRun) -> None:
        self._engine = engine
        self._gateway_run = run
        self._thread = ThreadPoolExecutor(1, "call_locks")
        self._held: set[Digest] = set()
        self._left: set[Digest] = set()
        """Locks that could not be ended, or whose call was gone when they came. They are ended with a heartbeat."""
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Show that this run begins. The locks of earlier runs end."""
        await self._do(lambda session: call_locks.begin(session, self._gateway_run))

    async def take(self, call: Digest, fingerprint: bytes) -> Signed | None:
        """Lock a call, or return its receipt if it was charged. Refused while an equal one is under way."""
        return await self._ask(call, fingerprint)

    async def release(self, call: Digest) -> None:
        """End the lock of a call that was not charged, if it is ours. When that fails it is tried again later."""
        if call in self._held:
            self._held.discard(call)
            await asyncio.shield(self._ask(call, None))

    def forget(self, call: Digest) -> None:
        """Note that a call's lock ended with its receipt."""
        self._held.discard(call)

    async def show_alive(self) -> None:
        """Write a heartbeat, and end the locks that were left."""
        await self._do(lambda session: call_locks.show_alive(session, self._gateway_run))
        await asyncio.gather(*(self._ask(call, None) for call in self._left - self._held))

    async def clean(self) -> None:
        """Delete the locks of gateways that are gone for good."""
        await self._do(lambda session: call_locks.clean(session, self._gateway_run.lane))

    async def close(self) -> None:
        """End all locks, after the receipt log: nothing will be charged any more."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._do(lambda session: call_locks.end(session, self._gateway_run))
        finally:
            self._thread.shutdown(wait=False)
            self._engine.dispose()

    def _ask(self, call: Digest, fingerprint: bytes | None) -> asyncio.Future[Signed | None]:
        future: asyncio.Future[Signed | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, fingerprint, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="call_locks")
        return future

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            self._left.difference_update(one.call for one in group)
            try:
                taken = await self._do(partial(self._write, group))
            except Unavailable as lost:
                log.warning("call_locks_unreachable", extra={"reason": lost.message})
                self._left.update(one.call for one in group)  # the database may have written some
                _fail(group, lost)
            except BaseException as bug:
                self._left.update(one.call for one in group)
                _fail(group, bug)
                raise
            else:
                self._settle(group, taken)

    def _write(self, group: list[_Waiting], session: Session) -> dict[Digest, Taking]:
        """End locks, but none that was taken since it was left; then take those that are wanted."""
        ending = [one.call for one in group if one.fingerprint is None and one.call not in self._held]
        wanted = {one.call: one.fingerprint for one in group if one.fingerprint is not None}
        if ending:
            call_locks.release(session, self._gateway_run, ending)
        return call_locks.take(session, self._gateway_run, wanted) if wanted else {}

    def _settle(self, group: list[_Waiting], taken: dict[Digest, Taking]) -> None:
        """Tell each call what became of its lock."""
        for call, fingerprint, future in group:
            found = taken[call] if fingerprint is not None else None
            is_ours = fingerprint is not None and found is None
            if future.done():
                if is_ours:
                    self._left.add(call)
            elif isinstance(found, Refused):
                future.set_exception(in_progress(call) if found is Refused.running else mismatch(call))
            else:
                if is_ours:
                    self._held.add(call)
                future.set_result(found)

    async def _do(self, work: Callable[[Session], T]) -> T:
        """Run `work` in our thread. Each of its statements is a transaction."""

        def in_thread() -> T:
            with unit_of_work(self._engine) as session:
                return work(session)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)
        except (OperationalError, InterfaceError) as error:
            raise Unavailable("the locks of calls cannot be written now, so no call is made") from error


def _fail(group: list[_Waiting], error: BaseException) -> None:
    """Tell each call that its lock was not written. One that was to end is tried again."""
    for _, fingerprint, future in group:
        if future.done():
            continue
        if fingerprint is None:
            future.set_result(None)
        else:
            future.set_exception(error)
