"""Twin of `receipt.struct_hash`: the EIP-712 digests of many records at once."""

import numpy as np
import numpy.typing as npt

from ledger.core.kernels.jit import U8, U64, WORD, kernel, word
from ledger.core.kernels.keccak import RATE_LANES, WAYS, fresh, permute
from ledger.core.receipts.receipt import RECEIPT_TYPEHASH

_BLOCKS = 6
_LANES = _BLOCKS * RATE_LANES
_SIZE = 22 * 32


def _layout() -> tuple[U64, U64, U64]:
    """For each 64-bit lane of the hashed data: where in the record its word begins, its mask, its constant bits.

    A field is right-aligned in its 32 bytes, so the mask keeps the last bytes of a word that begins before the field.
    """
    begins, masks = np.zeros(_LANES, np.uint64), np.zeros(_LANES, np.uint64)
    end = 0
    for field, width in enumerate([32, 32, 20, 20, 8, 20, 32, *[8] * 10, 1, 8, 32, 32], 1):
        end += width
        for back in range((width + WORD - 1) // WORD):
            lane = 4 * field + 3 - back
            width_left = min(WORD, width - WORD * back)
            begins[lane] = end - WORD * (back + 1)
            masks[lane] = (1 << 64) - (1 << 8 * (WORD - width_left))
    always = np.zeros(_BLOCKS * 136, np.uint8)
    always[:32] = np.frombuffer(RECEIPT_TYPEHASH, np.uint8)
    always[_SIZE], always[-1] = 1, 0x80
    return begins, masks, always.view(np.uint64)


_BEGINS, _MASKS, _ALWAYS = _layout()


def struct_hashes(records: npt.NDArray[np.void]) -> U8:
    """The digests of records (RECEIPT_DTYPE, or SIGNED_DTYPE, which begins with one) as (n, 32) bytes, in order."""
    rows = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), -1)
    digests = np.empty((len(records), 4), np.uint64)
    _struct_hashes(rows, _BEGINS, _MASKS, _ALWAYS, digests)
    return digests.view(np.uint8).reshape(-1, 32)


@kernel
def _struct_hashes(rows: U8, begins: U64, masks: U64, always: U64, digests: U64) -> None:
    states = fresh()
    for first in range(0, len(rows), WAYS):
        count = min(WAYS, len(rows) - first)
        states[:] = 0
        for block in range(_BLOCKS):
            for k in range(count):
                for lane in range(RATE_LANES):
                    at = block * RATE_LANES + lane
                    states[lane * WAYS + k] ^= word(rows, first + k, begins[at]) & masks[at] | always[at]
            permute(states)
        for k in range(count):
            for lane in range(4):
                digests[first + k, lane] = states[lane * WAYS + k]
