"""Twin of `receipt.struct_hash`: the EIP-712 digests of many receipts at once.

A receipt's hash takes one of each of its counts, one of their array, and one of all its words. Counts are hashed four
at a time across receipts, whichever receipt they are of.
"""

import numpy as np

from ledger.core.kernels.jit import I64, U8, U64, WORD, kernel, word
from ledger.core.kernels.keccak import FIRST_PAD, LAST_PAD, RATE_LANES, WAYS, fresh, permute
from ledger.core.kernels.sum_tree import swapped
from ledger.core.receipts.receipt import RECEIPT_TYPEHASH
from ledger.core.receipts.record import Records
from ledger.core.values.meters import Meter
from ledger.core.values.typed_data import UNIT_TYPEHASH

_WIDTHS = (32, 32, 20, 20, 8, 20, 32, 8, 1, 8, 8, 8, 1, 8, 32, 32)
"""The fields of a receipt before its units, in bytes."""
_BLOCKS = 5
_LANES = _BLOCKS * RATE_LANES
_UNITS_LANE = 4 * (len(_WIDTHS) + 1)
assert _UNITS_LANE // RATE_LANES == _BLOCKS - 1
_METERS = len(Meter)
_AT_ONCE = 1024
"""Receipts whose counts are hashed together: their hashes stay in the cache."""


def _layout() -> tuple[U64, U64, U64]:
    """For each 64-bit lane of the hashed data: where in the record its word begins, its mask, its constant bits.

    A field is right-aligned in its 32 bytes, so the mask keeps the last bytes of a word that begins before the field.
    """
    begins, masks = np.zeros(_LANES, np.uint64), np.zeros(_LANES, np.uint64)
    end = 0
    for field, width in enumerate(_WIDTHS, 1):
        end += width
        for back in range((width + WORD - 1) // WORD):
            lane = 4 * field + 3 - back
            width_left = min(WORD, width - WORD * back)
            begins[lane] = end - WORD * (back + 1)
            masks[lane] = (1 << 64) - (1 << 8 * (WORD - width_left))
    always = np.zeros(_BLOCKS * 136, np.uint8)
    always[:32] = np.frombuffer(RECEIPT_TYPEHASH, np.uint8)
    always[8 * _UNITS_LANE + 32], always[-1] = 1, 0x80
    return begins, masks, always.view(np.uint64)


_BEGINS, _MASKS, _ALWAYS = _layout()
_UNIT_TYPE = np.frombuffer(UNIT_TYPEHASH, np.uint64).copy()


def struct_hashes(records: Records) -> U8:
    """The digests of receipts as (n, 32) bytes, in order."""
    digests = np.empty((len(records), 4), np.uint64)
    starts, hashes = np.zeros(_AT_ONCE + 1, np.int64), np.empty((_AT_ONCE * _METERS, 4), np.uint64)
    arrays = np.empty((_AT_ONCE, 4), np.uint64)
    for begin in range(0, len(records), _AT_ONCE):
        some = np.ascontiguousarray(records[begin : begin + _AT_ONCE])
        _hash_units(np.ascontiguousarray(some["units"], np.uint64), _UNIT_TYPE, starts, hashes)
        _hash_arrays(hashes, starts, arrays[: len(some)])
        rows = some.view(np.uint8).reshape(len(some), -1)
        _hash_structs(rows, arrays, _BEGINS, _MASKS, _ALWAYS, digests[begin : begin + _AT_ONCE])
    return digests.view(np.uint8).reshape(-1, 32)


@kernel
def _hash_units(units: U64, unit_type: U64, starts: I64, hashes: U64) -> None:
    """Hash every count above 0. The hashes of receipt i are from starts[i] to starts[i + 1]."""
    states, lanes = fresh(), np.zeros((WAYS, 2), np.uint64)
    total, waiting = 0, 0
    for i in range(len(units)):
        for meter in range(_METERS):
            if units[i, meter]:
                lanes[waiting, 0], lanes[waiting, 1] = np.uint64(meter) << np.uint64(56), swapped(units[i, meter])
                waiting += 1
                if waiting == WAYS:
                    _permute_units(states, lanes, unit_type)
                    _write(states, WAYS, hashes, total)
                    total, waiting = total + WAYS, 0
        starts[i + 1] = total + waiting
    if waiting:
        _permute_units(states, lanes, unit_type)
        _write(states, waiting, hashes, total)


@kernel
def _permute_units(states: U64, lanes: U64, unit_type: U64) -> None:
    states[:] = 0
    for k in range(WAYS):
        for lane in range(4):
            states[lane * WAYS + k] = unit_type[lane]
        states[7 * WAYS + k], states[11 * WAYS + k] = lanes[k, 0], lanes[k, 1]
        states[12 * WAYS + k], states[(RATE_LANES - 1) * WAYS + k] = FIRST_PAD, LAST_PAD
    permute(states)


@kernel
def _hash_arrays(hashes: U64, starts: I64, arrays: U64) -> None:
    """Hash the concatenated hashes of each receipt's counts."""
    states = fresh()
    for first in range(0, len(arrays), WAYS):
        last = min(first + WAYS, len(arrays))
        states[:] = 0
        blocks = 1
        for i in range(first, last):
            blocks = max(blocks, 4 * (starts[i + 1] - starts[i]) // RATE_LANES + 1)
        for block in range(blocks):
            for i in range(first, last):
                _absorb(states, i - first, hashes[starts[i] : starts[i + 1]], block)
            permute(states)
            for i in range(first, last):
                if 4 * (starts[i + 1] - starts[i]) // RATE_LANES == block:
                    for lane in range(4):
                        arrays[i, lane] = states[lane * WAYS + i - first]


@kernel
def _absorb(states: U64, k: int, hashes: U64, block: int) -> None:
    """Add a block of these hashes, padded after the last, to state k."""
    size = 4 * len(hashes)
    for lane in range(RATE_LANES):
        at = block * RATE_LANES + lane
        if at < size:
            states[lane * WAYS + k] ^= hashes[at // 4, at % 4]
        elif at == size:
            states[lane * WAYS + k] ^= FIRST_PAD
    if size // RATE_LANES == block:
        states[(RATE_LANES - 1) * WAYS + k] ^= LAST_PAD


@kernel
def _hash_structs(rows: U8, arrays: U64, begins: U64, masks: U64, always: U64, digests: U64) -> None:
    states = fresh()
    for first in range(0, len(rows), WAYS):
        count = min(WAYS, len(rows) - first)
        states[:] = 0
        for block in range(_BLOCKS):
            for k in range(count):
                for lane in range(RATE_LANES):
                    at = block * RATE_LANES + lane
                    states[lane * WAYS + k] ^= word(rows, first + k, begins[at]) & masks[at] | always[at]
                if block == _BLOCKS - 1:
                    for lane in range(4):
                        states[(_UNITS_LANE % RATE_LANES + lane) * WAYS + k] ^= arrays[first + k, lane]
            permute(states)
        _write(states, count, digests, first)


@kernel
def _write(states: U64, count: int, digests: U64, first: int) -> None:
    for k in range(count):
        for lane in range(4):
            digests[first + k, lane] = states[lane * WAYS + k]
