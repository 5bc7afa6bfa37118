"""The receipt that a gateway signs for one call: a value, an EIP-712 struct, and a record of variable length.

A record is big endian, in the order of the fields: 271 bytes, of which the last is the number of unit counts, and 6
bytes for each of them. `record.RECEIPT_DTYPE` is its decoded form for numpy. A receipt's digest is its EIP-712 struct
hash, without a domain.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane
from ledger.core.values.meters import Meter, Units, counted
from ledger.core.values.typed_data import UNIT_TYPE, Domain, signing_digest, units_hash

MAX_SUBCALLS = 63


class EndReason(IntEnum):
    """The end of a charged call. A call that delivers nothing has no receipt."""

    normal = 0
    client_abort = 1
    upstream_cut = 2
    hold_reached = 3
    timeout = 4


class Receipt(NamedTuple):
    """One delivered call: its consumer, its terms, what it used and what it costs. Fields are in the struct's order.

    `subcalls` counts the receipts right before this one that belong to its workflow, at any depth; `subcall_total` is
    the sum of the prices of the direct ones. `price` is the price of the terms at these units, with `subcall_total` as
    one more line. The consumer pays `charge` = price - subcall_total - rebate. `parent` is zero for a root call. `seq`
    counts per gateway from 1, without gaps. `ended_at` is in ms since 1970. Numbers fit u63, `end` u8.
    """

    call_id: Digest
    parent: Digest
    lane: Lane
    gateway: Address
    seq: int
    consumer: Address
    terms: Digest
    epoch: int
    subcalls: int
    subcall_total: int
    price: int
    charge: int
    end: EndReason
    ended_at: int
    request_digest: Digest = ZERO_DIGEST
    response_digest: Digest = ZERO_DIGEST
    units: Units = Units()


RECEIPT_TYPE = (
    "Receipt(bytes32 callId,bytes32 parent,address lane,address gateway,uint64 seq,address consumer,bytes32 terms,"
    "uint64 epoch,uint8 subcalls,uint64 subcallTotal,uint64 price,uint64 charge,uint8 end,uint64 endedAt,"
    f"bytes32 requestDigest,bytes32 responseDigest,Unit[] units){UNIT_TYPE}"
)
RECEIPT_TYPEHASH = keccak256(RECEIPT_TYPE.encode())

RECORD_HEAD = struct.Struct(">32s32s20s20sQ20s32sQBQQQBQ32s32sB")
"""A record up to its counts: the fields, and how many counts follow."""
COUNT_SIZE = 6
"""A count: meter u8, units u40."""
_WORDS = struct.Struct(">32s32s32s12x20s12x20s24xQ12x20s32s24xQ31xB24xQ24xQ24xQ31xB24xQ32s32s32s")


def struct_hash(receipt: Receipt) -> Digest:
    """The EIP-712 struct hash."""
    _check_subcalls(receipt.subcalls)
    try:
        return keccak256(_WORDS.pack(RECEIPT_TYPEHASH, *receipt[:-1], units_hash(receipt.units)))
    except struct.error as error:
        raise Rejected(f"a receipt field is out of its range: {error}") from error


def receipt_digest(domain: Domain, receipt: Receipt) -> Digest:
    """The digest that a gateway signs for a receipt."""
    return signing_digest(domain, struct_hash(receipt))


def pack(receipt: Receipt) -> bytes:
    """Encode a receipt as its record."""
    _check_subcalls(receipt.subcalls)
    counts = counted(receipt.units)
    try:
        head = RECORD_HEAD.pack(*receipt[:-1], len(counts))
    except struct.error as error:
        raise Rejected(f"a receipt field is out of its range: {error}") from error
    return head + b"".join([(meter << 40 | count).to_bytes(COUNT_SIZE, "big") for meter, count in counts])


def unpack(record: bytes) -> Receipt:
    """Decode a record. Rejected when its size or a field is wrong, or its counts are not ascending and above 0."""
    try:
        values = list(RECORD_HEAD.unpack_from(record))
        values[12] = EndReason(values[12])
    except (struct.error, ValueError) as error:
        raise Rejected(f"malformed receipt record of {len(record)} bytes: {error}") from error
    _check_subcalls(values[8])
    end = RECORD_HEAD.size + COUNT_SIZE * values[-1]
    if end != len(record):
        raise Rejected(f"malformed receipt record: {values[-1]} counts end at byte {end} of {len(record)}")
    counts, last = [0] * len(Meter), -1
    for place in range(RECORD_HEAD.size, end, COUNT_SIZE):
        meter, count = record[place], int.from_bytes(record[place + 1 : place + COUNT_SIZE], "big")
        if not last < meter < len(Meter) or not count:
            raise Rejected(f"malformed receipt record: {count} units of meter {meter} after meter {last}")
        counts[meter], last = count, meter
    values[-1] = Units(*counts)
    return Receipt._make(values)


def _check_subcalls(subcalls: int) -> None:
    if not 0 <= subcalls <= MAX_SUBCALLS:
        raise Rejected(f"a receipt counts at most {MAX_SUBCALLS} sub-calls, not {subcalls}", subcalls=subcalls)
