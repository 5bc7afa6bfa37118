"""Watching a socket that a library reads and writes by itself, such as the journal's connection."""

from __future__ import annotations

import asyncio


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
