"""Payments that wait to be relayed: one read of the database serves all of them.

Read five times a second by each of 64 strangers' payments, the database had no time left for paying consumers.
"""

import asyncio
from functools import partial

from sqlalchemy import Engine

from gateway.database import transact
from ledger.core.values.ids import Digest, Lane
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest

POLL_SECONDS = 0.2


class Relays:
    """Waits for the worker, which relays payments or finds out that they are worth nothing."""

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self._engine = engine
        self._lane = lane
        self._waiting: dict[asyncio.Future[DepositRequest], Digest] = {}
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, payment: Digest, seconds: float) -> DepositRequest | None:
        """The payment's deposit once it is credited or has failed; None when it is neither after `seconds`."""
        ended: asyncio.Future[DepositRequest] = asyncio.get_running_loop().create_future()
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
            read = partial(deposits.ended, lane=self._lane, ids=list(self._waiting.values()))
            known = await transact(self._engine, read)
            for ended, payment in self._waiting.items():
                if payment in known and not ended.done():
                    ended.set_result(known[payment])
            await asyncio.sleep(POLL_SECONDS)
