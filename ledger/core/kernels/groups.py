"""Numbers for equal rows of bytes, in order of first appearance: how receipts are grouped by terms or consumer."""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import I64, U8, kernel
from ledger.core.kernels.words import WORD, word

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def group(rows: U8) -> tuple[I64, I64]:
    """For (n, width) bytes, 8 or wider: the group of each row, and the first row of each group."""
    assert rows.shape[1] >= WORD, "a row holds a word"
    packed = np.ascontiguousarray(rows)
    groups = np.empty(len(packed), np.int64)
    firsts = np.empty(len(packed), np.int64)
    size = 1 << max(4, (2 * len(packed) - 1).bit_length())
    count = _group(packed, groups, firsts, np.full(size, -1, np.int64))
    return groups, firsts[:count].copy()


@kernel
def _group(rows: U8, groups: I64, firsts: I64, table: I64) -> int:
    count = 0
    mask = np.uint64(len(table) - 1)
    for i in range(len(rows)):
        slot = _hashed(rows, i) & mask
        while True:
            found = table[slot]
            if found < 0:
                table[slot] = count
                firsts[count] = i
                groups[i] = count
                count += 1
                break
            if _equal(rows, firsts[found], i):
                groups[i] = found
                break
            slot = (slot + np.uint64(1)) & mask
    return count


@kernel
def _hashed(rows: U8, i: int) -> np.uint64:
    """Every byte counts, also where rows differ in a few last ones: they are folded down before they are spread up."""
    hashed = np.uint64(0)
    last = rows.shape[1] - WORD
    for at in range(0, last, WORD):
        hashed = _mixed(hashed ^ word(rows, i, np.uint64(at)))
    hashed = _mixed(hashed ^ word(rows, i, np.uint64(last)))
    return hashed ^ (hashed >> _HALF)


@kernel
def _mixed(value: np.uint64) -> np.uint64:
    return (value ^ (value >> _HALF)) * _FACTOR


@kernel
def _equal(rows: U8, one: int, other: int) -> bool:
    last = rows.shape[1] - WORD
    for at in range(0, last, WORD):
        if word(rows, one, np.uint64(at)) != word(rows, other, np.uint64(at)):
            return False
    return bool(word(rows, one, np.uint64(last)) == word(rows, other, np.uint64(last)))
