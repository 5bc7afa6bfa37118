"""Numbers for equal rows of bytes, in order of first appearance: how receipts are grouped by terms or consumer."""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import I64, U8, kernel


def group(rows: U8) -> tuple[I64, I64]:
    """For (n, width) bytes: the group of each row, and the first row of each group."""
    packed = np.ascontiguousarray(rows)
    groups = np.empty(len(packed), np.int64)
    firsts = np.empty(len(packed), np.int64)
    size = 1 << max(4, (2 * len(packed)).bit_length())
    count = _group(packed, groups, firsts, np.full(size, -1, np.int64))
    return groups, firsts[:count].copy()


@kernel
def _group(rows: U8, groups: I64, firsts: I64, table: I64) -> int:
    count = 0
    mask = np.uint64(len(table) - 1)
    for i in range(len(rows)):
        row = rows[i]
        hashed = np.uint64(0xCBF29CE484222325)
        for byte in row:
            hashed = (hashed ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        slot = (hashed ^ (hashed >> np.uint64(29))) & mask
        while True:
            found = table[slot]
            if found < 0:
                table[slot] = count
                firsts[count] = i
                groups[i] = count
                count += 1
                break
            if _equal(rows[firsts[found]], row):
                groups[i] = found
                break
            slot = (slot + np.uint64(1)) & mask
    return count


@kernel
def _equal(left: U8, right: U8) -> bool:
    for byte in range(len(left)):  # noqa: SIM110 - a generator expression does not compile
        if left[byte] != right[byte]:
            return False
    return True
