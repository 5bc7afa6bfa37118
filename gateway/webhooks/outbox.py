"""What a gateway sends to webhooks just now: connections of their own, and few places for each account and each host.

Nodes share neither the connections nor the look-ups of names: a webhook leads wherever a stranger likes.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from gateway import bounds
from gateway.upstream.http import Limits
from gateway.upstream.pool import Pool
from ledger.core.accounts.webhooks import Webhook
from ledger.core.values.ids import Address

LIMITS = Limits(
    connect_seconds=bounds.WEBHOOK_SECONDS,
    first_byte_seconds=bounds.WEBHOOK_SECONDS,
    call_seconds=bounds.WEBHOOK_SECONDS,
    keep_connections=0,
)
"""Nothing is kept open: what a receiver says after its status is not read."""


class Outbox:
    """A task for each webhook that is sent to, by the connections of `pool`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._accounts = Counter[Address]()
        self._hosts = Counter[str]()

    @property
    def room(self) -> int:
        """How many more webhooks may be sent to now."""
        return bounds.WEBHOOKS - len(self._tasks)

    @property
    def busy(self) -> list[str]:
        """The webhooks that are sent to."""
        return list(self._tasks.values())

    def has_room(self, hook: Webhook, host: str) -> bool:
        """Whether one more webhook of this account, at this host, may be sent to now."""
        account_room = self._accounts[hook.account] < bounds.WEBHOOKS_AN_ACCOUNT
        return account_room and self._hosts[host] < bounds.WEBHOOKS_A_HOST

    def begin(self, hook: Webhook, host: str, work: Coroutine[Any, Any, None]) -> None:
        """Send to a webhook. It takes a place until it has ended."""
        task = asyncio.create_task(work)
        self._tasks[task] = hook.id
        self._accounts[hook.account] += 1
        self._hosts[host] += 1
        task.add_done_callback(lambda ended: self._end(ended, hook.account, host))

    def _end(self, task: asyncio.Task[None], account: Address, host: str) -> None:
        del self._tasks[task]
        self._accounts[account] -= 1
        self._hosts[host] -= 1
        self._accounts += Counter()  # without those that have none
        self._hosts += Counter()

    async def close(self) -> None:
        """Stop. What is under way will be due again, with the same id."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.pool.close()
