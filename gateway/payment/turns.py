"""The order in which a channel's requests sign again: without it, 64 calls at once would all sign the same voucher."""

import asyncio
from collections import deque

from ledger.core.values.ids import Digest

SECONDS = 2.0
"""A turn: longer than a client takes to ask the chain and to sign. Whoever left holds the others up for no more."""


class Turns:
    """Who of a channel's waiting requests is told to sign again: one at a time, so that each signs on top of the one
    before. A turn ends when a call is let in, or after so many seconds.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._ends: dict[Digest, asyncio.TimerHandle] = {}
        self._waiting: dict[Digest, deque[asyncio.Future[None]]] = {}

    async def take(self, channel: Digest) -> None:
        """Wait for a turn."""
        if channel not in self._ends:
            self._begin(channel)
            return
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel, deque()).append(begun)
        try:
            await begun
        except asyncio.CancelledError:
            if begun.done() and not begun.cancelled():
                self.end(channel)
            raise

    def end(self, channel: Digest) -> None:
        """End the turn of a channel, if there is one, and begin the next."""
        timer = self._ends.pop(channel, None)
        if timer is not None:
            timer.cancel()
        line = self._waiting.get(channel, deque())
        while line:
            begun = line.popleft()
            if not begun.done():
                self._begin(channel)
                begun.set_result(None)
                return
        self._waiting.pop(channel, None)

    def _begin(self, channel: Digest) -> None:
        self._ends[channel] = asyncio.get_running_loop().call_later(self._seconds, self.end, channel)
