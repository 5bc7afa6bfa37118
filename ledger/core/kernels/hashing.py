"""Twin of `receipts.struct_hash`: the EIP-712 digests of many records at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ledger.core.kernels.jit import U8, kernel
from ledger.core.kernels.keccak import RATE_LANES, WAYS, fresh, permute
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
    lanes, states = packed.view(np.uint64), fresh()
    blocks = np.zeros((_BLOCKS * RATE_LANES, WAYS), np.uint64)
    word = np.zeros(1, np.uint64)
    bytes_of_word = word.view(np.uint8)
    for begin in range(0, len(rows), WAYS):
        count = min(WAYS, len(rows) - begin)
        for k in range(count):
            for byte in range(rows.shape[1]):
                packed[to[byte]] = rows[begin + k, byte]
            for lane in range(_BLOCKS * RATE_LANES):
                blocks[lane, k] = lanes[lane]
        states[:] = 0
        for block in range(_BLOCKS):
            for lane in range(RATE_LANES):
                for k in range(count):
                    states[lane * WAYS + k] ^= blocks[block * RATE_LANES + lane, k]
            permute(states, count)
        for k in range(count):
            for lane in range(4):
                word[0] = states[lane * WAYS + k]
                for byte in range(8):
                    digests[begin + k, 8 * lane + byte] = bytes_of_word[byte]
