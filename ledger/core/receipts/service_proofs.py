"""The proof that a provider signs for each attempt of a call that its node served.

A gateway's receipt states what the consumer pays; a service proof states what the node did. An attempt's id is derived
from the call's id and the attempt's number, so anyone can match a node's log against the public batch file.
"""

from dataclasses import dataclass
from typing import Final

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import UNIT_TYPE, units_hash, word

SERVED_TYPEHASH: Final = keccak256(
    b"Served(address lane,bytes32 attempt,bytes32 subject,address provider,bytes32 requestDigest,"
    b"bytes32 responseDigest,uint64 servedAt,Unit[] units)" + UNIT_TYPE.encode()
)


@dataclass(frozen=True, slots=True)
class Served:
    """One attempt that a node answered for a gateway of `lane`. Its id salts the digests; `served_at` is in ms."""

    lane: Lane
    attempt: Digest
    subject: Digest
    provider: Address
    units: Units
    request_digest: Digest
    response_digest: Digest
    served_at: int


def attempt_id(call_id: bytes, number: int) -> Digest:
    """The id of an attempt, which a gateway sends upstream as `Idempotency-Key`: keccak256(call id | number u32)."""
    return keccak256(call_id, number.to_bytes(4, "big"))


def served_hash(served: Served) -> Digest:
    if not 0 <= served.served_at < 2**64:
        raise Rejected("served_at is out of range in the service proof", served_at=served.served_at)
    return keccak256(
        SERVED_TYPEHASH,
        word(served.lane),
        served.attempt,
        served.subject,
        word(served.provider),
        served.request_digest,
        served.response_digest,
        word(served.served_at),
        units_hash(served.units),
    )
