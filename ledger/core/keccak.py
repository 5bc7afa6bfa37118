"""Keccak-256, the hash of the chain. One function, so that the library behind it can change."""

from __future__ import annotations

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
