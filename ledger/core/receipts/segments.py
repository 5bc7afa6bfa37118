"""Segments: the receipts of one group commit to a receipt log, hash-linked so that none can be added or removed.

Alone because gateway and worker both link them, and a segment holds receipts of any shape.
"""

from dataclasses import dataclass

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Address


@dataclass(frozen=True, slots=True)
class Segment:
    """Receipts `first`..`last` of one gateway and the sum of their charges, in atoms.

    `previous` is the digest of the segment before, zero for the first.
    """

    gateway: Address
    first: int
    last: int
    total: int
    digest: Digest
    previous: Digest

    @property
    def count(self) -> int:
        """The number of receipts. Sequence numbers have no gaps."""
        return self.last - self.first + 1


def link(gateway: Address, first: int, digests: bytes, total: int, previous: Digest) -> Segment:
    """The segment that follows digest `previous`. `digests` are its receipts' struct hashes, concatenated.

    digest = keccak256(previous | gateway | first u64 | last u64 | total u64 | digests)
    """
    if not digests or first < 1:
        raise Rejected("a segment holds at least one receipt, and the first sequence number is 1", first=first)
    last = first + len(digests) // 32 - 1
    numbers = b"".join(number.to_bytes(8, "big") for number in (first, last, total))
    return Segment(gateway, first, last, total, keccak256(previous, gateway, numbers, digests), previous)
