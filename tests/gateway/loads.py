"""Consumers that call while a gateway's world falls apart. None gives up: each call is sent until it is answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import receipts
from ledger.store.session import unit_of_work
from tests.gateway.world import World

ANSWER_SECONDS = 60
MOST_SECONDS = 120


@dataclass
class Load:
    """Several consumers at once, each with one key, and what they were told."""

    url: str
    keys: list[str]
    named: bool = True
    """Calls have an Idempotency-Key: sent again, it is the same call."""
    stream: bool = False
    told: Counter[str] = field(default_factory=Counter)
    """How often the receipt of each call was told: in its answer, or when it was asked for again."""
    refused: Counter[str] = field(default_factory=Counter)
    """What a call was refused with before it was answered; `""` when its connection was lost."""

    def __enter__(self) -> Load:
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads: list[threading.Thread] = []
        self.add(self.keys)
        return self

    def add(self, keys: list[str]) -> None:
        """More consumers, who call from now on."""
        for key in keys:
            thread = threading.Thread(target=self._run, args=(key, len(self._threads)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(MOST_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), f"a call was never answered: {self.refused}"

    def went_on(self, answered: int) -> bool:
        """More calls have been answered than that."""
        return self.answered > answered

    @property
    def answered(self) -> int:
        """Calls answered so far."""
        return len(self.told)

    def _run(self, key: str, number: int) -> None:
        made = 0
        with httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS) as http:
            while not self._stop.is_set():
                made += 1
                while not self._is_answered(http, key, f"call {number} {made}"):
                    time.sleep(0.05)

    def _is_answered(self, http: httpx.Client, key: str, name: str) -> bool:
        headers = {"Authorization": f"Bearer {key}"} | ({"Idempotency-Key": name} if self.named else {})
        body = {"model": "@acme/chat", "messages": [{"role": "user", "content": name}], "max_tokens": 50}
        try:
            answer = http.post("/v1/chat/completions", json={**body, "stream": self.stream}, headers=headers)
        except httpx.HTTPError:
            return self._refuse("")
        code = "" if answer.status_code == 200 else str(answer.json()["error"]["code"])
        if code == "answer_not_kept":
            receipt = answer.headers["tollway-receipt"]
        elif code or (self.stream and "data: [DONE]" not in answer.text):
            return self._refuse(code or "cut")
        else:
            receipt = answer.headers["tollway-call" if self.stream else "tollway-receipt"]
        with self._lock:
            self.told[receipt] += 1
        return True

    def _refuse(self, code: str) -> bool:
        with self._lock:
            self.refused[code] += 1
        return False


def charged_once_each(world: World, load: Load, consumers: list[Signer], price: int) -> None:
    """Every answered call has one receipt, of its price, and there is no receipt of a call that was not answered."""
    with unit_of_work(world.engine) as session:
        found = [receipts.of_consumer(session, world.lane, who.address, limit=100_000) for who in consumers]
    written = [one.receipt for each in found for one in each]
    assert Counter(to_hex(one.call_id) for one in written) == load.told
    assert {one.charge for one in written} == {price}
