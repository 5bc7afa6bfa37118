"""Raises an error of one's choice at an await of one's choice: the gateway's tasks, stepped by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.world import Running

SERVING = frozenset(("run_asgi", "run_in_turn"))
"""The names of the tasks' coroutines that make attempts: uvicorn's request, and a workflow's step."""
ATTEMPT = frozenset(("answer_whole", "_answer_stream", "_attempt"))
AT_A_NODE = frozenset(("invoke", "begin", "_forward"))


@dataclass
class Thrower:
    """What is thrown next: `error` at the `at`-th await of an attempt. `where` are the frames it was thrown into."""

    error: BaseException | None = None
    at: int = 0
    where: list[str] = field(default_factory=list)

    def arm(self, at: int, error: BaseException) -> None:
        """Throw it once."""
        self.error, self.at, self.where = error, at, []

    @property
    def was_at_a_node(self) -> bool:
        """Whether it was thrown where a node was asked or read."""
        return bool(AT_A_NODE & {*self.where}) and "_write" not in self.where

    def due(self, inner: Coroutine[Any, Any, Any]) -> BaseException | None:
        """The error to throw into a task that has just suspended."""
        if self.error is None:
            return None
        where = _frames(inner)
        if not ATTEMPT & {*where}:
            return None
        self.at -= 1
        if self.at:
            return None
        error, self.error, self.where = self.error, None, where
        return error

    def watch(self, gateway: Running) -> None:
        """Step the tasks of this gateway from now on."""

        def make(loop: asyncio.AbstractEventLoop, inner: Any, **named: Any) -> asyncio.Task[Any]:
            serves = getattr(inner, "__name__", "") in SERVING
            return asyncio.Task(Stepped(inner, self) if serves else inner, loop=loop, **named)

        task = gateway.gateway.receipt_log._task
        assert task is not None
        self.loop = task.get_loop()
        self.loop.call_soon_threadsafe(self.loop.set_task_factory, make)


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that a thrower may throw into when it suspends."""

    def __init__(self, inner: Coroutine[Any, Any, Any], thrower: Thrower) -> None:
        self._inner = inner
        self._thrower = thrower

    def send(self, value: Any) -> Any:
        """One step; StopIteration at the end passes through."""
        return self._thrown_into(self._inner.send(value))

    def throw(self, *raised: Any) -> Any:
        """The same, when what was awaited failed."""
        return self._thrown_into(self._inner.throw(*raised))

    def _thrown_into(self, awaited: Any) -> Any:
        error = self._thrower.due(self._inner)
        if error is None:
            return awaited
        if isinstance(awaited, asyncio.Future):
            awaited._asyncio_future_blocking = False
            if isinstance(error, asyncio.CancelledError):
                awaited.cancel()
        return self.throw(error)

    def close(self) -> None:
        """Forget it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("a task steps this")


def _frames(inner: Any) -> list[str]:
    """The names of the coroutines that wait for one another, outermost first."""
    names = []
    while hasattr(inner, "cr_code"):
        names.append(inner.cr_code.co_name)
        inner = inner.cr_await
    return names
