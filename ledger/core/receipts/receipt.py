"""The receipt that a gateway signs for one call: a value, an EIP-712 struct, and a fixed-width record.

A record has 317 bytes, big endian, in the order of the fields. `record.RECEIPT_DTYPE` is the same layout for numpy, so
files, the network and kernels read the same bytes. A receipt's digest is its EIP-712 struct hash, without a domain.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, signing_digest


class EndReason(IntEnum):
    """The end of a charged call. A call that delivers nothing has no receipt."""

    normal = 0
    client_abort = 1
    upstream_cut = 2
    hold_reached = 3
    timeout = 4


class Receipt(NamedTuple):
    """One delivered call: its consumer, its terms, what it used and what it costs. Fields are in the struct's order.

    `passed` is the sum of the prices of the direct sub-calls. `price` is the price of the terms at these units, with
    `passed` as one more line. The consumer pays `charge` = price - passed - rebate. `parent` is zero for a root call.
    `seq` counts per gateway from 1, without gaps. `ended_at` is in ms since 1970. `end` fits u8, all other numbers u63.
    """

    call_id: Digest
    parent: Digest
    lane: Lane
    gateway: Address
    seq: int
    consumer: Address
    terms: Digest
    epoch: int
    calls: int
    input_tokens: int
    output_tokens: int
    ms: int
    byte_count: int
    fuel: int
    passed: int
    price: int
    charge: int
    end: EndReason
    ended_at: int
    request_digest: Digest = ZERO_DIGEST
    response_digest: Digest = ZERO_DIGEST

    @property
    def units(self) -> Units:
        """Measured use, in meter order."""
        return Units(self.calls, self.input_tokens, self.output_tokens, self.ms, self.byte_count, self.fuel)


RECEIPT_TYPE = (
    "Receipt(bytes32 callId,bytes32 parent,uint32 lane,address gateway,uint64 seq,address consumer,bytes32 terms,"
    "uint64 epoch,uint64 calls,uint64 inputTokens,uint64 outputTokens,uint64 ms,uint64 byteCount,uint64 fuel,"
    "uint64 passed,uint64 price,uint64 charge,uint8 end,uint64 endedAt,bytes32 requestDigest,bytes32 responseDigest)"
)
RECEIPT_TYPEHASH = keccak256(RECEIPT_TYPE.encode())

RECORD = struct.Struct(">32s32s20s20sQ20s32s10QBQ32s32s")
_WORDS = struct.Struct(">32s32s32s12x20s12x20s24xQ12x20s32s" + "24xQ" * 10 + "31xB24xQ32s32s")


def struct_hash(receipt: Receipt) -> Digest:
    """The EIP-712 struct hash."""
    return keccak256(_packed(_WORDS, (RECEIPT_TYPEHASH, *receipt)))


def receipt_digest(domain: Domain, receipt: Receipt) -> Digest:
    """The digest that a gateway signs for a receipt."""
    return signing_digest(domain, struct_hash(receipt))


def pack(receipt: Receipt) -> bytes:
    """Encode a receipt as its 317-byte record."""
    return _packed(RECORD, receipt)


def unpack(record: bytes) -> Receipt:
    """Decode a record. Rejected when its size or end reason is wrong."""
    try:
        return next(unpack_each(record))
    except (struct.error, ValueError, StopIteration) as error:
        raise Rejected(f"malformed receipt record of {len(record)} bytes: {error}") from error


def unpack_each(body: bytes) -> Iterator[Receipt]:
    """Decode consecutive records, one at a time."""
    for row in RECORD.iter_unpack(body):
        values = list(row)
        values[17] = EndReason(row[17])
        yield Receipt._make(values)


def _packed(layout: struct.Struct, values: Sequence[int | bytes]) -> bytes:
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise Rejected(f"a receipt field is out of its range: {error}") from error
