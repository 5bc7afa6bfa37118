"""How long the gateway waits for a request to arrive: one look a second at all that wait, not a timer for each."""

from __future__ import annotations

import asyncio
from types import TracebackType

from gateway.errors import Refusal


class BodyTimeouts:
    """Around the reading of a body: a task that is still in it after `seconds` is told that it was too slow."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._since[task] = asyncio.get_running_loop().time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        del self._since[task]
        if task in self._late:
            self._late.discard(task)
            task.uncancel()
            raise Refusal(408, "body_too_slow", "the request did not arrive in time")

    def look(self, now: float) -> None:
        """Interrupt whoever has waited too long."""
        for task, since in list(self._since.items()):
            if now - since > self._seconds and task not in self._late:
                self._late.add(task)
                task.cancel()
