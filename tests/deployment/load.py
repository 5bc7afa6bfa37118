"""Calls that go on through the proxy while something happens to what serves them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import httpx

from roles.cli.output import wait_until

if TYPE_CHECKING:
    from tests.deployment.world import World

TOGETHER = 4
"""Calls at a time."""
PAUSE_SECONDS = 0.2
"""Before a call that was not answered is sent again, by the same key."""


@dataclass
class Load:
    """Calls, each sent again by its key until it is answered. `receipts` of those that were, in no order."""

    world: World
    model: str
    receipts: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Why calls were sent again."""
    gone: list[str] = field(default_factory=list)
    """Receipts of calls that were charged, while their answers went with the gateway that had them."""
    stopping: threading.Event = field(default_factory=threading.Event)

    def call(self, key: str) -> None:
        """Make one call, however often it takes."""
        headers = {"Authorization": f"Bearer {self.world.key}", "Idempotency-Key": key}
        body = {"model": self.model, "messages": [{"role": "user", "content": f"call {key}"}], "max_tokens": 8}
        while True:
            try:
                answer = self.world.calls(httpx.post, "/v1/chat/completions", headers=headers, json=body)
            except httpx.HTTPError as error:
                self.again.append(type(error).__name__)
            else:
                if answer.status_code == 200:
                    self.receipts.append(answer.headers["tollway-receipt"])
                    return
                said = answer.json().get("error", {}) if answer.content else {}
                if said.get("code") == "answer_not_kept":
                    self.gone.append(answer.headers["tollway-receipt"])
                    return
                self.again.append(f"{answer.status_code} {said.get('code', '')}")
            self.stopping.wait(PAUSE_SECONDS)

    def goes_on(self, calls: int = 10, seconds: float = 90) -> None:
        """Wait until so many more calls are answered."""
        before = len(self.receipts)
        assert wait_until(lambda: len(self.receipts) >= before + calls, seconds, 0.2), (
            f"{len(self.receipts) - before} calls in {seconds:.0f} s; sent again: {self.again[-3:]}"
        )


@contextmanager
def under_load(world: World, model: str, name: str) -> Iterator[Load]:
    """Calls that go on until the end of the block: all that were sent are then answered."""
    load, numbers = Load(world, model), count()

    def one_after_another() -> None:
        while not load.stopping.is_set():
            load.call(f"{name} {next(numbers)}")

    threads = [threading.Thread(target=one_after_another, daemon=True) for _ in range(TOGETHER)]
    for thread in threads:
        thread.start()
    try:
        load.goes_on()
        yield load
    finally:
        load.stopping.set()
        for thread in threads:
            thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a call is never answered"
