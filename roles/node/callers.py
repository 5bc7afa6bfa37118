"""Who may use a node: gateways of one lane. Each call's head is proven, recent, and not used before."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ledger.core.values.call_heads import HEADER, SKEW_MS, Asked, CallHead, common_secret, read
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Digest, Lane, digest, to_hex
from ledger.core.values.typed_data import Signer

ListKeys = Callable[[Lane], frozenset[Address]]
"""Asks for the keys that sign for a lane now. Raises Unavailable when nobody answers."""
FRESH_SECONDS = 60
"""How long a list of keys is believed: so long a revoked key may still call."""
AGAIN_SECONDS = 5
"""The list is asked for at most so often, however many unknown keys call."""


class NotOurs(Rejected):
    """The caller is no gateway that this node serves."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A gateway that proved itself for one attempt."""

    lane: Lane
    gateway: Address
    attempt: Digest


class Callers:
    """Checks calls for one provider. One per node."""

    def __init__(self, signer: Signer, lane: Lane, list_keys: ListKeys) -> None:
        self._signer, self._lane, self._list_keys = signer, lane, list_keys
        self._keys: frozenset[Address] = frozenset()
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._silent: Unavailable | None = None
        self._secrets: dict[Address, bytes] = {}
        self._used: dict[bytes, int] = {}

    async def check_head(self, text: str | None) -> CallHead:
        """What can be checked before the body is read. NotOurs when it fails."""
        if text is None:
            where = f"this node serves gateways of lane {to_hex(self._lane)} only"
            raise NotOurs(f"{where}: call its models through one, with an API key", lane=to_hex(self._lane))
        head = read(text)
        if head.lane != self._lane:
            raise NotOurs(f"this node serves lane {to_hex(self._lane)}, not {to_hex(head.lane)}")
        late = _now_ms() - head.at
        if abs(late) > SKEW_MS:
            raise NotOurs(f"the gateway's clock and this node's are {late / 1000:+.0f} s apart")
        if not await self._signs(head.gateway):
            raise NotOurs(f"{to_hex(head.gateway)} is no gateway of lane {to_hex(self._lane)}")
        return head

    def admit(self, head: CallHead, key: str | None, path: str, body: bytes) -> Caller:
        """The caller, when the head proves this request and did not before. NotOurs otherwise."""
        attempt = digest(key or "")
        gateway = head.gateway
        secret = self._secrets.get(gateway)
        if secret is None:
            secret = self._secrets[gateway] = common_secret(self._signer, head.public)
        if not head.is_proven(secret, Asked(attempt, path, body)):
            raise NotOurs(f"{HEADER} is not of this request")
        self._use(head.code)
        return Caller(head.lane, gateway, attempt)

    def _use(self, code: bytes) -> None:
        """Remember a code as long as it is recent. NotOurs the second time."""
        now = _now_ms()
        while self._used and (oldest := next(iter(self._used))) and self._used[oldest] < now - 2 * SKEW_MS:
            del self._used[oldest]
        if code in self._used:
            raise NotOurs("this call was sent before")
        self._used[code] = now

    async def _signs(self, key: Address) -> bool:
        """Whether a key signs for the lane. Known keys are served while nobody answers, others get Unavailable."""
        if key in self._keys and self._age() < FRESH_SECONDS:
            return True
        async with self._asking:
            if self._age() >= AGAIN_SECONDS:
                try:
                    self._keys, self._silent = await asyncio.to_thread(self._list_keys, self._lane), None
                except Unavailable as silent:
                    self._silent = silent
                self._asked_at = time.monotonic()
        if key not in self._keys and self._silent is not None:
            raise self._silent
        return key in self._keys

    def _age(self) -> float:
        return time.monotonic() - self._asked_at


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
