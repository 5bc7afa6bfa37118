"""Payments that wait for the worker: one read of the database serves all of them.

Read five times a second by each of 64 strangers' payments, the database had no time left for paying consumers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Engine
from sqlmodel import Session

from gateway.database import transact
from ledger.core.values.ids import Digest

POLL_SECONDS = 0.2

T = TypeVar("T")
D = TypeVar("D", covariant=True)


class Ended(Protocol[D]):
    """Reads those of these payments that the worker has decided about, by id."""

    def __call__(self, session: Session, ids: Sequence[Digest]) -> Mapping[Digest, D]: ...


class Decisions(Generic[T]):
    """Waits for the worker, which relays payments or looks at permits, or finds out that they are worth nothing."""

    def __init__(self, engine: Engine, ended: Ended[T]) -> None:
        self._engine = engine
        self._ended = ended
        self._waiting: dict[asyncio.Future[T], Digest] = {}
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, payment: Digest, seconds: float) -> T | None:
        """What became of a payment once that is decided; None when it is not after `seconds`."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[ended] = payment
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(seconds):
                return await ended
        except TimeoutError:
            return None
        finally:
            del self._waiting[ended]

    async def _read(self) -> None:
        while self._waiting:
            read = partial(self._ended, ids=list(self._waiting.values()))
            known = await transact(self._engine, read)
            for ended, payment in self._waiting.items():
                if payment in known and not ended.done():
                    ended.set_result(known[payment])
            await asyncio.sleep(POLL_SECONDS)
