"""Twin of `receipts.struct_hash`: the EIP-712 digests of many records at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ledger.core.kernels.jit import U8, kernel
from ledger.core.kernels.keccak import absorb
from ledger.core.receipts import RECEIPT_TYPEHASH

_BLOCKS = 6
_SIZE = 22 * 32


def _layout() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each byte of a 301-byte record goes in the 704 that are hashed: numbers and addresses to the right."""
    widths = [32, 32, 4, 20, 8, 20, 32, *[8] * 10, 1, 8, 32, 32]
    starts = np.cumsum([0, *widths[:-1]])
    to = [np.arange(32 * (word + 2) - width, 32 * (word + 2)) for word, width in enumerate(widths)]
    return np.concatenate([np.arange(s, s + w) for s, w in zip(starts, widths, strict=True)]), np.concatenate(to)


_FROM, _TO = _layout()
_PADDED = np.zeros(_BLOCKS * 136, np.uint8)
_PADDED[:32] = np.frombuffer(RECEIPT_TYPEHASH, np.uint8)
_PADDED[_SIZE], _PADDED[-1] = 1, 0x80


def struct_hashes(records: npt.NDArray[np.void]) -> U8:
    """The digests of records (RECEIPT_DTYPE), as (n, 32) bytes, in order."""
    rows = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), -1)
    digests = np.empty((len(records), 32), np.uint8)
    _struct_hashes(rows, _TO, _PADDED.copy(), digests)
    return digests


@kernel
def _struct_hashes(rows: U8, to: npt.NDArray[np.int64], packed: U8, digests: U8) -> None:
    lanes = packed.view(np.uint64)
    state = np.zeros(25, np.uint64)
    out = state.view(np.uint8)
    for i in range(len(rows)):
        for byte in range(rows.shape[1]):
            packed[to[byte]] = rows[i, byte]
        absorb(state, lanes, _BLOCKS)
        digests[i] = out[:32]
