"""What a gateway sends to webhooks just now: connections of their own, and few places for each account and each host.

Nodes share neither the connections nor the look-ups of names: a webhook leads wherever a stranger likes.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from gateway import bounds
from gateway.bounds import Addresses, Rates
from gateway.upstream.guard import Guard
from gateway.upstream.http import Limits
from gateway.upstream.pool import Pool
from ledger.core.accounts.budgets import DAY_MS
from ledger.core.accounts.webhooks import TESTS_A_DAY, Webhook
from ledger.core.values.ids import Address

LIMITS = Limits(
    connect_seconds=bounds.WEBHOOK_SECONDS,
    first_byte_seconds=bounds.WEBHOOK_SECONDS,
    call_seconds=bounds.WEBHOOK_SECONDS,
    keep_connections=0,
)
"""Nothing is kept open: what a receiver says after its status is not read."""
_NO_PROXIES: Final = Addresses(())


class Outbox:
    """A task for each webhook that is sent to, by the connections of `pool`, whose guard says where they may lead. For
    the operator's `own` does: nobody else's webhooks reach the networks that nodes may be in.
    """

    def __init__(self, pool: Pool, own: Guard, operator: Address) -> None:
        self.pool = pool
        self._own, self._operator = own, operator
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._accounts = Counter[Address]()
        self._hosts = Counter[str]()
        self.tests = Rates(TESTS_A_DAY, seconds=DAY_MS / 1_000)
        """Test messages, by account: in memory, so that they are counted when their webhook is gone."""

    def guard_of(self, account: Address) -> Guard:
        """What says where webhooks of an account may lead."""
        return self._own if account == self._operator else self.pool.guard

    @property
    def room(self) -> int:
        """How many more webhooks may be sent to now."""
        return bounds.WEBHOOKS - len(self._tasks)

    @property
    def busy(self) -> list[str]:
        """The webhooks that are sent to."""
        return list(self._tasks.values())

    def has_room(self, account: Address) -> bool:
        """Whether one more webhook of an account may be sent to now."""
        return self._accounts[account] < bounds.WEBHOOKS_AN_ACCOUNT

    @contextmanager
    def at(self, address: str) -> Iterator[bool]:
        """A place at a receiver's address, of which one host may have many names; False when it has none left."""
        host = _NO_PROXIES.of_connection(address)
        if self._hosts[host] >= bounds.WEBHOOKS_A_HOST:
            yield False
            return
        self._hosts[host] += 1
        try:
            yield True
        finally:
            self._hosts[host] -= 1
            self._hosts += Counter()  # without those that have none

    def begin(self, hook: Webhook, work: Coroutine[Any, Any, None]) -> None:
        """Send to a webhook. It takes a place until it has ended."""
        task = asyncio.create_task(work)
        self._tasks[task] = hook.id
        self._accounts[hook.account] += 1
        task.add_done_callback(lambda ended: self._end(ended, hook.account))

    def _end(self, task: asyncio.Task[None], account: Address) -> None:
        del self._tasks[task]
        self._accounts[account] -= 1
        self._accounts += Counter()

    async def close(self) -> None:
        """Stop. What is under way will be due again, with the same id."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.pool.close()
