"""Twin of `receipt.unpack`: many records at once, with their signatures, as they stand in the log and in batch files.

Records have different lengths, so `starts` says where each begins. The bytes stay as they are for the file and its
hash; the decoded form is what the other kernels read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ledger.core.kernels.jit import I64, U8, U64, WORD, kernel, word
from ledger.core.receipts.receipt import COUNT_SIZE, MAX_SUBCALLS, RECORD_HEAD, EndReason, Receipt, unpack
from ledger.core.receipts.record import FIELDS_SIZE, RECEIPT_DTYPE, Records, receipts_of
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Meter

SIGNATURE = 65
"""Bytes of a signature; it follows its record."""
_HEAD = RECORD_HEAD.size
_METERS = len(Meter)
_FIELD_WORDS = -(-FIELDS_SIZE // WORD)
_LAST_WORD = np.uint64((1 << 8 * (FIELDS_SIZE % WORD)) - 1)
"""Keeps of the last word of the fields what is theirs."""
_LAST_END = max(EndReason)
_SUBCALLS_AT, _END_AT = 172, 197
assert RECEIPT_DTYPE.fields is not None
assert (RECEIPT_DTYPE.fields["subcalls"][1], RECEIPT_DTYPE.fields["end"][1]) == (_SUBCALLS_AT, _END_AT)


@dataclass(frozen=True, eq=False)
class SignedRecords:
    """Receipts with their signatures: record | signature, one after the other. `starts` has one more than there are."""

    body: U8
    starts: I64

    @classmethod
    def read(cls, body: U8, count: int, at: int = 0) -> SignedRecords:
        """The `count` receipts that begin at `at`. Rejected when they are malformed, or cut off."""
        starts = np.empty(count + 1, np.int64)
        wrong = _scan(body, at, starts)
        if wrong >= 0:
            raise Rejected(f"malformed receipt record at place {wrong}, byte {starts[wrong]}", place=wrong)
        return cls(body, starts)

    @classmethod
    def join(cls, parts: list[SignedRecords]) -> SignedRecords:
        """The receipts of all parts, in order."""
        ends = np.cumsum([0, *(part.raw.size for part in parts)])
        starts = [part.starts[:-1] - part.starts[0] + begin for part, begin in zip(parts, ends[:-1], strict=True)]
        return cls(
            np.concatenate([np.empty(0, np.uint8), *(part.raw for part in parts)]),
            np.concatenate([*starts, ends[-1:]]).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def raw(self) -> U8:
        """All of these bytes."""
        return self.body[self.starts[0] : self.starts[-1]]

    @cached_property
    def records(self) -> Records:
        """The receipts, decoded."""
        rows = np.empty((len(self), RECEIPT_DTYPE.itemsize // WORD), np.uint64)
        _decode(self.body.reshape(1, -1), self.starts, rows)
        return rows.view(RECEIPT_DTYPE).reshape(-1)

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts as values."""
        return receipts_of(self.records)

    def part(self, start: int, stop: int) -> SignedRecords:
        """Receipts [start, stop), counted from 0."""
        start = min(start, len(self))
        stop = max(start, min(stop, len(self)))
        part = SignedRecords(self.body, self.starts[start : stop + 1])
        if "records" in self.__dict__:
            part.__dict__["records"] = self.records[start:stop]
        return part

    def receipt(self, place: int) -> Receipt:
        """The receipt at a place."""
        return unpack(self.record(place))

    def record(self, place: int) -> bytes:
        """The bytes of a receipt, without its signature."""
        return self._at(place)[:-SIGNATURE]

    def signature(self, place: int) -> bytes:
        """The signature at a place."""
        return self._at(place)[-SIGNATURE:]

    def _at(self, place: int) -> bytes:
        return self.body[self.starts[place] : self.starts[place + 1]].tobytes()


@kernel
def _scan(body: U8, at: int, starts: I64) -> int:
    """Fill in `starts` from `at` on. Returns the place of the first malformed record, or -1."""
    for place in range(len(starts) - 1):
        starts[place] = at
        if at + _HEAD > len(body):
            return place
        size = int(body[at + _HEAD - 1])
        end = at + _HEAD + COUNT_SIZE * size
        if size > _METERS or end + SIGNATURE > len(body):
            return place
        if body[at + _SUBCALLS_AT] > MAX_SUBCALLS or body[at + _END_AT] > _LAST_END:
            return place
        last = -1
        for count_at in range(at + _HEAD, end, COUNT_SIZE):
            meter, count = int(body[count_at]), 0
            for byte in range(1, COUNT_SIZE):
                count = count << 8 | int(body[count_at + byte])
            if meter <= last or meter >= _METERS or count == 0:
                return place
            last = meter
        at = end + SIGNATURE
    starts[-1] = at
    return -1


@kernel
def _decode(body: U8, starts: I64, rows: U64) -> None:
    """Fill in rows of words: the fields as they are, then the counts."""
    for place in range(len(rows)):
        at = np.uint64(starts[place])
        for lane in range(_FIELD_WORDS):
            rows[place, lane] = word(body, 0, at + np.uint64(WORD * lane))
        rows[place, _FIELD_WORDS - 1] &= _LAST_WORD
        for lane in range(_FIELD_WORDS, rows.shape[1]):
            rows[place, lane] = 0
        begin = starts[place] + _HEAD
        for count_at in range(begin, begin + COUNT_SIZE * np.int64(body[0, begin - 1]), COUNT_SIZE):
            count = np.uint64(0)
            for byte in range(1, COUNT_SIZE):
                count = count << np.uint64(8) | np.uint64(body[0, count_at + byte])
            rows[place, _FIELD_WORDS + np.int64(body[0, count_at])] = count
