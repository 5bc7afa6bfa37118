"""The public batch file: everything needed to recompute a batch, without any prompt or answer.

Integers are big endian. The file is written in one pass and read without a copy. Its SHA-256 is the header's
`data_ref`; the other fields of the header follow from its content (`BatchFile.header`).

    head      "TWB2" | chain id u64 | settlement 20 | lane 20 | number u64 | epoch u64 | era u32 | closed at u64
              | calls u32 | prev 24 | book root 32 | gateways u32
    logs      gateways x (number u32 | gateway 20 | first u64 | count u32), by number
    barred    count u32, then (place u32), ascending: receipts that are charged to nobody (`bars`)
    receipts  calls x (receipt 277 to 361 | signature 65), by place
    terms     count u32, then (size u16 | body), sorted by id
    payouts   count u32, then (index u32 | payee 20 | cumulative u64) by index, after this batch
    debits    count u32, then (index u32 | consumer 20 | cumulative u64) by index, after this batch
    vouchers  count u32, then (index u32 | at most u64 | signature 65) by index: of consumers whose debit grew
    roots     receipts 32 | payout 32 | debit 32 | lines 32

`disputes.audit.verify` checks a batch by its file and the file before it.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ledger.core.catalog.bids import terms_id
from ledger.core.kernels.records import SIGNATURE, SignedRecords
from ledger.core.receipts.receipt import RECORD_HEAD, Receipt
from ledger.core.settlement.cumulatives import ROW_DTYPE, Cumulatives
from ledger.core.settlement.header import (
    Header,
    HeaderId,
    Heights,
    Range,
    gateways_tree,
    heights_for,
)
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.typed_data import Domain, Mandate

SUFFIX = ".batch"
"""Ends the name of a file in a folder of them."""
MAGIC = b"TWB2"
HEAD = struct.Struct(">4sQ20s20sQQIQI24s32sI")
ROOTS = struct.Struct(">32s32s32s32s")
_COUNT = struct.Struct(">I")
_SIZE = struct.Struct(">H")
_LOG_ROW = struct.Struct(">I20sQI")
_MANDATE = struct.Struct(">IQ65s")
LEAST_SIGNED = RECORD_HEAD.size + SIGNATURE
"""Bytes of a receipt that counts nothing."""


class Sink(Protocol):
    """The target a file is written to: a file object, a socket, a hash."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write the next bytes."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The facts of a batch known before its first receipt. `epoch` is the book root's; `closed_at` is in seconds."""

    domain: Domain
    lane: Lane
    number: int
    epoch: int
    era: int
    closed_at: int
    prev: HeaderId
    book_root: Digest
    ranges: tuple[Range, ...]
    barred: tuple[int, ...] = ()
    """Places whose receipts are barred, ascending: the zero word stands there."""

    @property
    def calls(self) -> int:
        return sum(row.count for row in self.ranges)


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots of the four trees."""

    receipts: Digest
    payout: Digest
    debit: Digest
    lines: Digest


@dataclass(frozen=True)
class BatchFile:
    """A decoded batch file. `signed` is a view of its bytes."""

    opening: Opening
    signed: SignedRecords
    terms: Mapping[Digest, bytes]
    payouts: Cumulatives
    debits: Cumulatives
    mandates: tuple[Mandate, ...]
    roots: Roots
    digest: Digest

    @property
    def receipts(self) -> list[Receipt]:
        """All receipts, by place."""
        return self.signed.receipts

    @cached_property
    def header(self) -> Header:
        """The header that follows from these bytes."""
        return header_of(self.opening, self.roots, self.heights, self.digest)

    @property
    def heights(self) -> Heights:
        """The heights of its trees: each is as low as its rows allow."""
        return heights_of(self.opening, self.payouts, self.debits)


def heights_of(opening: Opening, payouts: Cumulatives, debits: Cumulatives) -> Heights:
    """The heights of a batch's trees, from what it holds."""
    gateways = max((row.number for row in opening.ranges), default=0)
    return heights_for(opening.calls, payouts.last_index, debits.last_index, gateways)


def header_of(opening: Opening, roots: Roots, heights: Heights, data_ref: Digest) -> Header:
    """Build the header of a batch. `data_ref` is the SHA-256 of its file."""
    return Header(
        prev=opening.prev,
        era=opening.era,
        closed_at=opening.closed_at,
        heights=heights,
        receipts_root=roots.receipts,
        payout_root=roots.payout,
        debit_root=roots.debit,
        lines_root=roots.lines,
        gateways_root=gateways_tree(opening.lane, opening.ranges).root,
        data_ref=data_ref,
    )


def file_name(number: int, header: HeaderId) -> str:
    """The name of a batch's file in a folder. A batch built again under the number of a void one has another."""
    return f"{number:08}-{header.hex()}{SUFFIX}"


def write_head(sink: Sink, opening: Opening) -> None:
    head = HEAD.pack(
        MAGIC,
        opening.domain.chain_id,
        opening.domain.contract,
        opening.lane,
        opening.number,
        opening.epoch,
        opening.era,
        opening.closed_at,
        opening.calls,
        opening.prev,
        opening.book_root,
        len(opening.ranges),
    )
    rows = [_LOG_ROW.pack(row.number, row.gateway, row.first, row.count) for row in sorted(opening.ranges)]
    barred = [_COUNT.pack(number) for number in (len(opening.barred), *opening.barred)]
    sink.write(head + b"".join(rows + barred))


def write_receipts(sink: Sink, signed: SignedRecords) -> None:
    """Write the next receipts with their signatures, as they lie in memory."""
    sink.write(signed.raw.data)


def write_tail(
    sink: Sink,
    terms: Mapping[Digest, bytes],
    payouts: Cumulatives,
    debits: Cumulatives,
    mandates: Sequence[Mandate],
    roots: Roots,
) -> None:
    """Write everything after the receipts."""
    sink.write(_COUNT.pack(len(terms)))
    for name in sorted(terms):
        sink.write(_SIZE.pack(len(terms[name])) + terms[name])
    for rows in (payouts, debits):
        sink.write(_COUNT.pack(len(rows)) + rows.pack())
    sink.write(_COUNT.pack(len(mandates)) + b"".join(_MANDATE.pack(*one) for one in mandates))
    sink.write(ROOTS.pack(roots.receipts, roots.payout, roots.debit, roots.lines))


def read(body: bytes | memoryview) -> BatchFile:
    """Decode a batch file from its bytes or a memory map. Rejected when it is truncated, too long or out of order.

    This checks the form only; `disputes.audit.verify` checks the content.
    """
    try:
        return _read(memoryview(body))
    except (struct.error, ValueError, OverflowError) as error:
        raise Rejected(f"malformed batch file: {error}") from error


def _read(body: memoryview) -> BatchFile:
    magic, chain, contract, lane, number, epoch, era, closed_at, calls, prev, book, gateways = HEAD.unpack_from(body)
    if magic != MAGIC:
        raise Rejected("this is not a batch file: it does not begin with TWB2")
    at = HEAD.size + gateways * _LOG_ROW.size
    ranges = _read_ranges(bytes(body[HEAD.size : at]))
    domain = Domain(chain, Address(contract))
    barred, at = _read_barred(body, at, calls)
    opening = Opening(domain, Lane(lane), number, epoch, era, closed_at, prev, Digest(book), ranges, barred)
    if opening.calls != calls:
        raise Rejected(f"the head counts {calls} calls, the receipt logs {opening.calls}")
    if calls * LEAST_SIGNED > len(body):
        raise Rejected(f"the head counts {calls} calls, more than {len(body)} bytes hold")
    signed = SignedRecords.read(np.frombuffer(body, np.uint8), calls, at)
    terms, at = _read_terms(body, int(signed.starts[-1]))
    payouts, at = _read_rows(body, at)
    debits, at = _read_rows(body, at)
    mandates, at = _read_mandates(body, at)
    roots = Roots(*map(Digest, ROOTS.unpack_from(body, at)))
    if at + ROOTS.size != len(body):
        raise Rejected(f"{len(body) - at - ROOTS.size} bytes follow the end of the batch file")
    return BatchFile(opening, signed, terms, payouts, debits, mandates, roots, Digest(hashlib.sha256(body).digest()))


def _read_ranges(body: bytes) -> tuple[Range, ...]:
    ranges = tuple(Range(number, Address(gateway), *rest) for number, gateway, *rest in _LOG_ROW.iter_unpack(body))
    if list(ranges) != sorted(ranges):
        raise Rejected("receipt logs are sorted by the number of their gateway")
    return ranges


def _read_barred(body: memoryview, at: int, calls: int) -> tuple[tuple[int, ...], int]:
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    barred = tuple(np.frombuffer(body, ">u4", count, at).tolist()) if count else ()
    if list(barred) != sorted(set(barred)) or (barred and barred[-1] >= calls):
        raise Rejected(f"barred places are ascending, each once, below {calls}")
    return barred, at + count * _COUNT.size


def _read_terms(body: memoryview, at: int) -> tuple[dict[Digest, bytes], int]:
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    terms: dict[Digest, bytes] = {}
    for _ in range(count):
        (size,) = _SIZE.unpack_from(body, at)
        one = bytes(body[at + _SIZE.size : at + _SIZE.size + size])
        terms[terms_id(one)] = one
        at += _SIZE.size + size
    if len(terms) != count or list(terms) != sorted(terms):
        raise Rejected("terms must be sorted by id, each once")
    return terms, at


def _read_mandates(body: memoryview, at: int) -> tuple[tuple[Mandate, ...], int]:
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    end = at + count * _MANDATE.size
    mandates = tuple(map(Mandate._make, _MANDATE.iter_unpack(body[at:end])))
    if len(mandates) != count or [one.consumer for one in mandates] != sorted({one.consumer for one in mandates}):
        raise Rejected("vouchers are sorted by the index of their consumer, each once")
    return mandates, end


def _read_rows(body: memoryview, at: int) -> tuple[Cumulatives, int]:
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    rows = np.frombuffer(body, ROW_DTYPE, count, at) if count else np.empty(0, ROW_DTYPE)
    return Cumulatives.unpack(rows), at + rows.nbytes
