"""SHA-256 of a long stream, worked out in a thread beside whoever feeds it: the library lets go of Python meanwhile."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

from ledger.core.ids import Digest

LONG = 1 << 16
"""Bytes from which a piece is worth another thread."""


class Sha256:
    """Feed `update`, then ask `digest`. One long piece is under way at most, and must not change before the next."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._beside = ThreadPoolExecutor(1, "sha256")
        self._under_way: Future[None] | None = None

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        self._wait()
        if len(data) < LONG:
            self._hash.update(data)
        else:
            self._under_way = self._beside.submit(self._hash.update, data)

    def digest(self) -> Digest:
        """The hash of all that came."""
        self._wait()
        self._beside.shutdown()
        return Digest(self._hash.digest())

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None
