"""Keccak-256, the hash of the chain; BLAKE3 of what calls send and bring; SHA-256 of long streams."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NewType

from blake3 import blake3

Digest = NewType("Digest", bytes)

try:
    from sha3 import keccak_256 as _keccak_256

    def keccak256(*parts: bytes) -> Digest:
        """Keccak-256 of the concatenated parts."""
        return Digest(_keccak_256(parts[0] if len(parts) == 1 else b"".join(parts)).digest())

except ImportError:  # no wheel of safe-pysha3 for this platform: slower, the same digests
    from Crypto.Hash import keccak as _slow

    def keccak256(*parts: bytes) -> Digest:
        """Keccak-256 of the concatenated parts."""
        return Digest(_slow.new(digest_bits=256, data=b"".join(parts)).digest())


class BodyHash:
    """The salted BLAKE3-256 of a request or an answer, as receipts and service proofs name it.

    Without the salt, guessed content cannot be checked. No contract opens it, so it need not be a hash of the chain.
    """

    def __init__(self, salt: bytes) -> None:
        self._hash = blake3(salt)

    def update(self, content: bytes) -> None:
        """Hash the next bytes."""
        self._hash.update(content)

    def digest(self) -> Digest:
        """The digest of all bytes so far."""
        return Digest(self._hash.digest())


def body_digest(salt: bytes, content: bytes) -> Digest:
    """The salted digest of a whole request or answer."""
    body = BodyHash(salt)
    body.update(content)
    return body.digest()


LONG = 1 << 16
"""From this many bytes on, a piece is hashed in the thread."""


class Sha256:
    """SHA-256 in a worker thread; hashlib releases the GIL. A long piece must not change before the next call."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._worker = ThreadPoolExecutor(1, "sha256")
        self._pending: Future[None] | None = None

    def update(self, data: bytes | memoryview) -> None:
        """Hash the next bytes."""
        self._wait()
        if len(data) < LONG:
            self._hash.update(data)
        else:
            self._pending = self._worker.submit(self._hash.update, data)

    def digest(self) -> Digest:
        """The digest of all bytes. Ends the thread."""
        self._wait()
        self._worker.shutdown()
        return Digest(self._hash.digest())

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
