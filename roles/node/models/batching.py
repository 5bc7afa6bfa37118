"""Dynamic batching without a timer: the next batch forms while the previous one computes."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from ledger.core.values.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Busy(Unavailable):
    """The queue is full: retry later, or use another node."""


@dataclass(frozen=True, slots=True)
class Measured(Generic[Result]):
    """A result, and an equal share of the batch's compute time in microseconds, rounded up."""

    value: Result
    compute_us: int


class Batcher(Generic[Item, Result]):
    """Calls `run` with at most `most` items, one batch at a time. At most `queue` items wait."""

    def __init__(
        self, run: Callable[[Sequence[Item]], Sequence[Result]], executor: Executor, *, most: int, queue: int
    ) -> None:
        self._run, self._executor, self._most, self._queue = run, executor, most, queue
        self._waiting: deque[tuple[Item, asyncio.Future[Measured[Result]]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Measured[Result]:
        """The result for one item. Raises Busy at once when the queue is full. Abandoned items are not run."""
        if len(self._waiting) >= self._queue:
            raise Busy(f"{self._queue} calls are waiting already", waiting=self._queue)
        future: asyncio.Future[Measured[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            began = time.perf_counter_ns()
            try:
                results = await loop.run_in_executor(self._executor, self._run, [item for item, _ in batch])
            except Exception as error:  # every caller of the batch gets its error
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            share = -(-(time.perf_counter_ns() - began) // (1000 * len(batch)))
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(Measured(result, share))

    def _next(self) -> list[tuple[Item, asyncio.Future[Measured[Result]]]]:
        batch: list[tuple[Item, asyncio.Future[Measured[Result]]]] = []
        while self._waiting and len(batch) < self._most:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch
