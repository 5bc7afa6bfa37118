"""Segments: what one group commit appended to a journal, chained so that no receipt can be slipped in or out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Address


@dataclass(frozen=True, slots=True)
class Segment:
    """Receipts `first`..`last` of one gateway, the sum of their charges, and a digest chained to the one before.

    The first segment of a gateway follows the zero digest.
    """

    gateway: Address
    first: int
    last: int
    total: int
    digest: Digest
    previous: Digest

    @property
    def count(self) -> int:
        """How many receipts; sequence numbers are dense."""
        return self.last - self.first + 1


def link(gateway: Address, first: int, digests: Sequence[bytes], total: int, previous: Digest) -> Segment:
    """The segment that holds the receipts with these digests, in order.

    digest = keccak256(previous | gateway | first u64 | last u64 | total u64 | receipt digests end to end)
    """
    return link_packed(gateway, first, b"".join(digests), total, previous)


def link_packed(gateway: Address, first: int, digests: bytes, total: int, previous: Digest) -> Segment:
    """The same of digests that lie end to end."""
    if not digests or first < 1:
        raise Rejected("a segment holds at least one receipt, and the first sequence number is 1", first=first)
    last = first + len(digests) // 32 - 1
    numbers = b"".join(number.to_bytes(8, "big") for number in (first, last, total))
    return Segment(gateway, first, last, total, keccak256(previous, gateway, numbers, digests), previous)
