"""A batch's header, as Settlement hashes it, and the table of receipt logs that it commits to.

    header hash = keccak256(abi.encode(header)), eleven words
    table       = per gateway, sorted by address: gateway 20 | first u64 | count u32; its keccak256 is in the header

A receipt's place in its batch follows from the table: the sum of the counts of earlier gateways, plus seq - first.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, to_hex
from ledger.core.values.typed_data import word

NO_BATCH = 2**64 - 1
"""The `finalizeId` that finalizes nothing."""
_ROW = struct.Struct(">20sQI")


@dataclass(frozen=True, slots=True)
class Header:
    """An operator's commitment to a batch. Roots are words of sum trees; their low 64 bits are totals."""

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
        """keccak256 of the ABI encoding: the id of the batch's content on chain."""
        return keccak256(b"".join(word(getattr(self, field.name)) for field in fields(self)))


EMPTY_HEADER = Header(*(ZERO_DIGEST,) * 8, 0, 0, 0)
"""For calls that take a header and do not use it."""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Receipts [first, first + count) of one gateway. Idle: count 0, and `first` is the next to come."""

    gateway: Address
    first: int
    count: int

    @property
    def last(self) -> int:
        """The sequence number of the last receipt; first - 1 if there is none."""
        return self.first + self.count - 1


def receipt_logs_table(ranges: Iterable[Range]) -> bytes:
    """Pack the table: every gateway that the lane ever used, so that skipping a receipt shows.

    Rejected when a gateway occurs twice or a first number is below 1.
    """
    ordered = sorted(ranges)
    if len({row.gateway for row in ordered}) != len(ordered) or not all(row.first for row in ordered):
        raise Rejected("a table of receipt logs names each gateway once, with receipts numbered from 1")
    return b"".join(_ROW.pack(row.gateway, row.first, row.count) for row in ordered)


def parse_receipt_logs(table: bytes) -> list[Range]:
    """Unpack the table. Rejected when it is malformed or not sorted."""
    if len(table) % _ROW.size:
        raise Rejected(f"a table of receipt logs has rows of {_ROW.size} bytes, not {len(table)} bytes in all")
    ranges = [Range(Address(gateway), first, count) for gateway, first, count in _ROW.iter_unpack(table)]
    if receipt_logs_table(ranges) != table:
        raise Rejected("a table of receipt logs is sorted by gateway")
    return ranges


def gaps(before: Iterable[Range], now: Iterable[Range]) -> list[tuple[Address, int, int | None]]:
    """Gateways whose receipts do not continue from batch to batch: (gateway, expected first, found first, if any)."""
    expected = {row.gateway: row.last + 1 for row in before}
    found = {row.gateway: row.first for row in now}
    rows = ((gateway, expected.get(gateway, 1), found.get(gateway)) for gateway in sorted({*expected, *found}))
    return [row for row in rows if row[1] != row[2]]


def place_of(ranges: Sequence[Range], gateway: Address, seq: int) -> int:
    """A receipt's place in the batch, from 0. Rejected when the batch does not contain it."""
    before = 0
    for row in sorted(ranges):
        if row.gateway == gateway and row.first <= seq <= row.last:
            return before + seq - row.first
        before += row.count
    raise Rejected(f"receipt {seq} of gateway {to_hex(gateway)} is not in this batch", seq=seq)
