"""Keccak-256, the hash of the chain. One function, so that the library behind it can change.

SHA-256 of a long stream, worked out in a thread beside whoever feeds it: the library lets go of Python meanwhile.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NewType

Digest = NewType("Digest", bytes)

try:
    from sha3 import keccak_256 as _keccak_256

    def keccak256(*parts: bytes) -> Digest:
        """Keccak-256 of the parts laid end to end."""
        return Digest(_keccak_256(parts[0] if len(parts) == 1 else b"".join(parts)).digest())

except ImportError:  # platforms without a wheel of safe-pysha3: slower, the same digests
    from Crypto.Hash import keccak as _slow

    def keccak256(*parts: bytes) -> Digest:
        """Keccak-256 of the parts laid end to end."""
        return Digest(_slow.new(digest_bits=256, data=b"".join(parts)).digest())


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
