"""What a provider signs for a call it served, attempt by attempt: its own side of the story.

A gateway's receipt says what the consumer pays; this says what the node did. Both name the call: an attempt's id is
made of the call's id and the attempt's number, so whoever has the public batch file can match a node's log against
it, and nobody has to be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, recover, signing_digest, word

SERVED_TYPEHASH: Final = keccak256(
    b"Served(bytes32 attempt,bytes32 subject,address provider,uint64 calls,uint64 inputTokens,uint64 outputTokens,"
    b"uint64 ms,uint64 byteCount,uint64 fuel,bytes32 requestDigest,bytes32 responseDigest,uint64 servedAt)"
)


@dataclass(frozen=True, slots=True)
class Served:
    """One attempt a node answered. Digests are salted by the attempt's id; `served_at` is in ms since the epoch."""

    attempt: Digest
    subject: Digest
    provider: Address
    units: Units
    request_digest: Digest
    response_digest: Digest
    served_at: int


def attempt_id(call_id: bytes, number: int) -> Digest:
    """The id of a call's attempt: what a gateway sends upstream as `Idempotency-Key`."""
    return keccak256(call_id, number.to_bytes(4, "big"))


def content_digest(attempt: bytes, content: bytes) -> Digest:
    """A digest of a request or an answer that tells nothing to whoever can only guess the content."""
    return keccak256(attempt, content)


def served_hash(served: Served) -> Digest:
    """The EIP-712 struct hash."""
    if served.served_at < 0 or not all(0 <= used < 2**64 for used in served.units):
        raise Rejected("what was served is out of range", units=list(served.units))
    return keccak256(
        *(SERVED_TYPEHASH, served.attempt, served.subject, word(served.provider)),
        *(word(used) for used in served.units),
        *(served.request_digest, served.response_digest, word(served.served_at)),
    )


def check(served: Served, domain: Domain, signature: bytes) -> None:
    """Rejected unless the provider named in it signed it, for this domain."""
    if recover(signing_digest(domain, served_hash(served)), signature) != served.provider:
        raise Rejected("not signed by the provider it names")
