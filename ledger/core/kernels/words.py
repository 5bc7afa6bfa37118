"""Eight bytes of a row as one number: what kernels read and compare bytes by."""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import U8, kernel

WORD = 8


@kernel
def word(rows: U8, row: int, at: np.uint64) -> np.uint64:
    """The eight bytes of a row from `at` on, in little-endian order: one load, for the compiler knows these shifts."""
    value = np.uint64(0)
    for byte in range(WORD):
        value |= np.uint64(rows[row, at + np.uint64(byte)]) << np.uint64(8 * byte)
    return value
