"""A batch's header, as Settlement hashes it, and the journals table it names.

    header hash    = keccak256(abi.encode(header)), eleven words
    journals table = per gateway, sorted by address: gateway 20 | first u64 | count u32; its keccak256 is in the header

A receipt's place in its batch follows from the table: the counts of the gateways before its own, plus seq - first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, to_hex

NO_BATCH = 2**64 - 1
"""`finalizeId` for none."""
_ROW = struct.Struct(">20sQI")


@dataclass(frozen=True, slots=True)
class Header:
    """What an operator commits to, per batch. Roots are words of sum trees; their low 64 bits are totals."""

    prev: Digest
    receipts_root: Digest
    payout_root: Digest
    debit_root: Digest
    lines_root: Digest
    book_root: Digest
    receipt_logs: Digest
    data_ref: Digest
    first_call: int
    calls: int
    epoch: int

    @property
    def hash(self) -> Digest:
        """keccak256 of the ABI encoding: the batch's identity on chain."""
        return keccak256(b"".join(_word(getattr(self, field.name)) for field in fields(self)))


EMPTY_HEADER = Header(*(ZERO_DIGEST,) * 8, 0, 0, 0)
"""Stands where a call takes a header it does not need."""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Receipts first .. first + count - 1 of one gateway; none, and `first` the next to come, while it is idle."""

    gateway: Address
    first: int
    count: int

    @property
    def last(self) -> int:
        """The last receipt's sequence number."""
        return self.first + self.count - 1


def receipt_logs_table(ranges: Iterable[Range]) -> bytes:
    """The packed table: every gateway the lane ever used, so that no receipt can be skipped unseen.

    Rejected when a gateway is named twice or a number is below 1.
    """
    ordered = sorted(ranges)
    if len({row.gateway for row in ordered}) != len(ordered) or not all(row.first for row in ordered):
        raise Rejected("a journals table names each gateway once, its receipts numbered from 1")
    return b"".join(_ROW.pack(row.gateway, row.first, row.count) for row in ordered)


def parse_receipt_logs(table: bytes) -> list[Range]:
    """The inverse of `receipt_logs_table`."""
    if len(table) % _ROW.size:
        raise Rejected(f"a journals table has rows of {_ROW.size} bytes, not {len(table)} bytes in all")
    ranges = [Range(Address(gateway), first, count) for gateway, first, count in _ROW.iter_unpack(table)]
    if receipt_logs_table(ranges) != table:
        raise Rejected("a journals table is sorted by gateway")
    return ranges


def place_of(ranges: Sequence[Range], gateway: Address, seq: int) -> int:
    """A receipt's place in the batch, from 0. Rejected when the batch does not hold it."""
    before = 0
    for row in sorted(ranges):
        if row.gateway == gateway and row.first <= seq <= row.last:
            return before + seq - row.first
        before += row.count
    raise Rejected(f"receipt {seq} of gateway {to_hex(gateway)} is not in this batch", seq=seq)


def _word(value: bytes | int) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value
