"""Split amounts, added up: by payee, by group, and by payee or consumer within runs of consecutive receipts."""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import I64, U64, kernel
from ledger.core.kernels.tables import Table

_ZERO = np.uint64(0)


@kernel
def add_up(table: Table, terms: I64, amounts: U64, earned: U64) -> None:
    """Add every receipt's amounts to the totals of their slots."""
    for i in range(len(terms)):
        start = table.slot_start[terms[i]]
        for k in range(table.slot_start[terms[i] + 1] - start):
            earned[table.slot[start + k]] += amounts[i, k]


@kernel
def runs_of(
    table: Table, terms: I64, amounts: U64, owner: I64, first_place: int, length: int, scratch: U64, rows: U64
) -> int:
    """What each run of `length` receipts pays each payee, as rows (run, payee index, amount). Returns how many rows.

    `owner` maps a slot to its payee's index; `first_place` begins a run. `scratch` has one zero per payee index, and is
    zero again afterwards; a payee that a run pays nothing has no row.
    """
    touched = np.zeros(length * amounts.shape[1], np.int64)
    count = 0
    for begin in range(0, len(terms), length):
        marks = 0
        for i in range(begin, min(begin + length, len(terms))):
            start = table.slot_start[terms[i]]
            for k in range(table.slot_start[terms[i] + 1] - start):
                if amounts[i, k] != _ZERO:
                    payee = owner[table.slot[start + k]]
                    if scratch[payee] == _ZERO:
                        touched[marks] = payee
                        marks += 1
                    scratch[payee] += amounts[i, k]
        for mark in range(marks):
            payee = touched[mark]
            rows[count, 0], rows[count, 1], rows[count, 2] = (first_place + begin) // length, payee, scratch[payee]
            scratch[payee] = _ZERO
            count += 1
    return count


@kernel
def run_totals(groups: I64, amounts: U64, first_place: int, length: int, touched: I64, scratch: U64, rows: U64) -> int:
    """What each run adds to each group, as rows (run, group, amount). `touched`, `scratch`: one place a group."""
    count = 0
    for begin in range(0, len(groups), length):
        marks = 0
        for i in range(begin, min(begin + length, len(groups))):
            if amounts[i] != _ZERO:
                if scratch[groups[i]] == _ZERO:
                    touched[marks] = groups[i]
                    marks += 1
                scratch[groups[i]] += amounts[i]
        for mark in range(marks):
            one = touched[mark]
            rows[count, 0], rows[count, 1], rows[count, 2] = (first_place + begin) // length, one, scratch[one]
            scratch[one] = _ZERO
            count += 1
    return count


@kernel
def accumulate(groups: I64, amounts: U64, totals: U64) -> None:
    """Add each amount to its group's total."""
    for i in range(len(groups)):
        totals[groups[i]] += amounts[i]
