"""Totals of receipts: rows grouped by equal bytes, and amounts added by payee, by group, and by run.

Groups are numbered in order of first appearance. A run is a fixed number of consecutive receipts.
"""

import numpy as np

from ledger.core.kernels.jit import I64, U8, U64, WORD, kernel, word
from ledger.core.kernels.split import Table

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ZERO = np.uint64(0)


def group_rows(rows: U8) -> tuple[I64, I64]:
    """For (n, width) bytes, width 8 or more: the group of each row, and the first row of each group."""
    assert rows.shape[1] >= WORD, "a row is at least a word wide"
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
    """Hash all bytes. Each step folds the high bits down first, so that a difference in the last bytes spreads too."""
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


@kernel
def add_by_slot(table: Table, terms: I64, amounts: U64, earned: U64) -> None:
    """Add the amounts of each receipt to the totals of their slots."""
    for i in range(len(terms)):
        start = table.slot_start[terms[i]]
        for k in range(table.slot_start[terms[i] + 1] - start):
            earned[table.slot[start + k]] += amounts[i, k]


@kernel
def add_runs(rows: I64, owners: I64, amounts: U64, first_place: int, length: int, totals: U64, lines: U64) -> int:
    """Add amounts by owner within runs of `length` rows: lines (run, owner, total), zero amounts left out.

    The owner of amounts[i, k] is owners[rows[i], k]. `first_place`, of the first row, begins a run. `totals` holds one
    zero per owner, before and after. Returns the number of lines.
    """
    touched = np.zeros(length * amounts.shape[1], np.int64)
    count = 0
    for begin in range(0, len(rows), length):
        marks = 0
        for i in range(begin, min(begin + length, len(rows))):
            for k in range(amounts.shape[1]):
                if amounts[i, k] != _ZERO:
                    owner = owners[rows[i], k]
                    if totals[owner] == _ZERO:
                        touched[marks] = owner
                        marks += 1
                    totals[owner] += amounts[i, k]
        for mark in range(marks):
            owner = touched[mark]
            lines[count, 0], lines[count, 1], lines[count, 2] = (first_place + begin) // length, owner, totals[owner]
            totals[owner] = _ZERO
            count += 1
    return count


@kernel
def add_by_group(groups: I64, amounts: U64, totals: U64) -> None:
    """Add each amount to the total of its group."""
    for i in range(len(groups)):
        totals[groups[i]] += amounts[i]
