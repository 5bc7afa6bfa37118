"""Consumers that call while everything falls apart, and remember what they were told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from random import Random

import httpx

from tests.chaos.network import CONSUMERS, Network, ask

PAUSE_SECONDS = 0.05
ABANDONED = 0.1
"""How many of the calls that failed are never sent again."""


@dataclass
class Caller:
    """One thread of calls, each under an Idempotency-Key of its own."""

    network: Network
    number: int
    random: Random
    told: dict[str, str] = field(default_factory=dict)
    """Ids of the calls that were answered, as their receipts say, by key."""
    abandoned: set[str] = field(default_factory=set)
    """Keys of calls that were never answered, and not sent again."""
    tries: int = 0

    def run(self, stop: threading.Event) -> None:
        """Call until told to stop; then see every call through that was not abandoned."""
        consumer, made = self.number % len(CONSUMERS), 0
        with httpx.Client() as http:
            while not stop.is_set():
                made += 1
                key = f"{self.number}-{made}"
                time.sleep(PAUSE_SECONDS)
                if self._once(http, consumer, key):
                    continue
                if self.random.random() < ABANDONED:
                    self.abandoned.add(key)
                else:
                    self._see_through(http, consumer, key)

    def _see_through(self, http: httpx.Client, consumer: int, key: str) -> None:
        deadline = time.monotonic() + 400
        while not self._once(http, consumer, key):
            if time.monotonic() > deadline:
                raise AssertionError(f"call {key} was never answered")
            time.sleep(self.random.uniform(0.1, 0.5))

    def _once(self, http: httpx.Client, consumer: int, key: str) -> bool:
        """Send a call. True once there is an answer, or the receipt of one that was lost."""
        self.tries += 1
        try:
            answer = ask(self.network, consumer, key, http)
        except httpx.HTTPError:
            return False
        lost = answer.status_code == 409 and answer.json()["error"]["code"] == "answer_not_kept"
        if answer.status_code != 200 and not lost:
            return False
        self.told[key] = answer.headers["tollway-receipt"]
        return True


@dataclass
class Load:
    """Several callers at once."""

    network: Network
    random: Random
    count: int = 4

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self.callers = [Caller(self.network, n, Random(self.random.random())) for n in range(self.count)]
        self._threads = [threading.Thread(target=c.run, args=(self._stop,), daemon=True) for c in self.callers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(240)
        assert not any(thread.is_alive() for thread in self._threads), "a caller never came to an end"

    def went_on(self, answered: int) -> bool:
        """More calls have been answered than that."""
        return self.answered > answered

    @property
    def answered(self) -> int:
        """Calls answered so far."""
        return sum(len(caller.told) for caller in self.callers)
