"""What has come of a stream: which of it goes to the consumer, and what it adds up to."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from gateway import protocols
from gateway.metering import NodeUnits, Usage
from gateway.upstream.wire import NodeFailed
from ledger.core.values.hashes import Digest

NODES_OWN = ("tollway_units", "tollway_served")
"""What a node tells its gateway in the usage event, and nobody else."""


class Passage:
    """A stream so far."""

    def __init__(self, include_usage: bool, salt: bytes, keep_text: bool, most: int, most_bytes: int) -> None:
        self.usage: Usage | None = None
        self.units: NodeUnits | None = None
        self.tokens = 0
        self.size = 0
        self.finished = False
        self.done = False
        self.full = False
        """More has come than was held for: nothing after it is handed on."""
        self._most, self._most_bytes = most, most_bytes
        self._include_usage = include_usage
        self._splitter = protocols.Splitter()
        self._hasher = hashlib.sha256(salt)
        self._texts: list[str] | None = [] if keep_text else None
        self._last: list[bytes] = []

    @property
    def began(self) -> bool:
        """Something worth sending has come."""
        return self.tokens > 0 or self.finished or self.done

    @property
    def text(self) -> str:
        """The text so far, where somebody counts it."""
        return "".join(self._texts or ())

    @property
    def digest(self) -> Digest:
        """The salted digest of all that was handed on."""
        return Digest(self._hasher.digest())

    def take(self, chunk: bytes) -> bytes:
        """What of a chunk goes to the consumer now. Raises NodeFailed for an error event or nonsense."""
        out = []
        for raw in self._splitter.feed(chunk):
            data = protocols.data_of(raw)
            if data is None:
                if raw:
                    out.append(raw + b"\n\n")
                continue
            if data == b"[DONE]":
                self.done = True
                break
            if self._metered(data):
                out.append(raw + b"\n\n")
            elif self._include_usage:
                self._last.append(raw + b"\n\n")
            if self.tokens > self._most or self.size > self._most_bytes:
                self.full = True
                break
        whole = b"".join(out)
        self._hasher.update(whole)
        return whole

    def last(self, note: dict[str, Any] | None) -> bytes:
        """The events held back until the receipt is durable: the usage, with what the call cost."""
        noted = []
        for raw in self._last:
            event = orjson.loads(protocols.data_of(raw.rstrip(b"\n")) or b"{}")
            for name in NODES_OWN:
                event.pop(name, None)
            if note is not None:
                event["tollway"] = note
            noted.append(b"data: " + orjson.dumps(event) + b"\n\n")
        return b"".join(noted)

    def _metered(self, data: bytes) -> bool:
        """Count an event. False for the final usage event, which is ours to send or to leave out."""
        event = protocols.event(data)
        if event is None:
            raise NodeFailed("the node streams nonsense", "nonsense")
        if event.error is not None:
            raise NodeFailed("the node ended its stream with an error", "error")
        self.size += len(data)
        self.tokens += event.tokens
        self.finished = self.finished or event.finished
        if self._texts is not None:
            self._texts.append(event.text)
        if event.tollway_units is not None:
            self.units = event.tollway_units
        if event.usage is not None:
            self.usage = event.usage
            return bool(event.choices)
        return True
