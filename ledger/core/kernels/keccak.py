"""Keccak-f[1600] and its sponge for numba: twenty-five lanes in local names, so that they stay in registers.

The plain twin is `ledger.core.keccak`. A state is 25 lanes of 64 bits, a rate block 17 lanes (136 bytes); bytes fill
lanes in little-endian order, so a byte buffer viewed as uint64 is a row of lanes.
"""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import U64, kernel

RATE_LANES = 17
FIRST_PAD = np.uint64(1)
LAST_PAD = np.uint64(1 << 63)
ROUNDS = np.array(
    [
        0x0000000000000001,
        0x0000000000008082,
        0x800000000000808A,
        0x8000000080008000,
        0x000000000000808B,
        0x0000000080000001,
        0x8000000080008081,
        0x8000000000008009,
        0x000000000000008A,
        0x0000000000000088,
        0x0000000080008009,
        0x000000008000000A,
        0x000000008000808B,
        0x800000000000008B,
        0x8000000000008089,
        0x8000000000008003,
        0x8000000000008002,
        0x8000000000000080,
        0x000000000000800A,
        0x800000008000000A,
        0x8000000080008081,
        0x8000000000008080,
        0x0000000080000001,
        0x8000000080008008,
    ],
    np.uint64,
)


@kernel
def _rotated(lane: np.uint64, bits: int) -> np.uint64:
    return (lane << np.uint64(bits)) | (lane >> np.uint64(64 - bits))


@kernel
def permute(state: U64) -> None:
    """The permutation, in place."""
    a00, a01, a02, a03, a04 = state[0], state[1], state[2], state[3], state[4]
    a05, a06, a07, a08, a09 = state[5], state[6], state[7], state[8], state[9]
    a10, a11, a12, a13, a14 = state[10], state[11], state[12], state[13], state[14]
    a15, a16, a17, a18, a19 = state[15], state[16], state[17], state[18], state[19]
    a20, a21, a22, a23, a24 = state[20], state[21], state[22], state[23], state[24]
    for constant in ROUNDS:
        c0 = a00 ^ a05 ^ a10 ^ a15 ^ a20
        c1 = a01 ^ a06 ^ a11 ^ a16 ^ a21
        c2 = a02 ^ a07 ^ a12 ^ a17 ^ a22
        c3 = a03 ^ a08 ^ a13 ^ a18 ^ a23
        c4 = a04 ^ a09 ^ a14 ^ a19 ^ a24
        d0 = c4 ^ _rotated(c1, 1)
        d1 = c0 ^ _rotated(c2, 1)
        d2 = c1 ^ _rotated(c3, 1)
        d3 = c2 ^ _rotated(c4, 1)
        d4 = c3 ^ _rotated(c0, 1)
        b00 = a00 ^ d0
        b10 = _rotated(a01 ^ d1, 1)
        b20 = _rotated(a02 ^ d2, 62)
        b05 = _rotated(a03 ^ d3, 28)
        b15 = _rotated(a04 ^ d4, 27)
        b16 = _rotated(a05 ^ d0, 36)
        b01 = _rotated(a06 ^ d1, 44)
        b11 = _rotated(a07 ^ d2, 6)
        b21 = _rotated(a08 ^ d3, 55)
        b06 = _rotated(a09 ^ d4, 20)
        b07 = _rotated(a10 ^ d0, 3)
        b17 = _rotated(a11 ^ d1, 10)
        b02 = _rotated(a12 ^ d2, 43)
        b12 = _rotated(a13 ^ d3, 25)
        b22 = _rotated(a14 ^ d4, 39)
        b23 = _rotated(a15 ^ d0, 41)
        b08 = _rotated(a16 ^ d1, 45)
        b18 = _rotated(a17 ^ d2, 15)
        b03 = _rotated(a18 ^ d3, 21)
        b13 = _rotated(a19 ^ d4, 8)
        b14 = _rotated(a20 ^ d0, 18)
        b24 = _rotated(a21 ^ d1, 2)
        b09 = _rotated(a22 ^ d2, 61)
        b19 = _rotated(a23 ^ d3, 56)
        b04 = _rotated(a24 ^ d4, 14)
        a00 = b00 ^ (~b01 & b02) ^ constant
        a01 = b01 ^ (~b02 & b03)
        a02 = b02 ^ (~b03 & b04)
        a03 = b03 ^ (~b04 & b00)
        a04 = b04 ^ (~b00 & b01)
        a05 = b05 ^ (~b06 & b07)
        a06 = b06 ^ (~b07 & b08)
        a07 = b07 ^ (~b08 & b09)
        a08 = b08 ^ (~b09 & b05)
        a09 = b09 ^ (~b05 & b06)
        a10 = b10 ^ (~b11 & b12)
        a11 = b11 ^ (~b12 & b13)
        a12 = b12 ^ (~b13 & b14)
        a13 = b13 ^ (~b14 & b10)
        a14 = b14 ^ (~b10 & b11)
        a15 = b15 ^ (~b16 & b17)
        a16 = b16 ^ (~b17 & b18)
        a17 = b17 ^ (~b18 & b19)
        a18 = b18 ^ (~b19 & b15)
        a19 = b19 ^ (~b15 & b16)
        a20 = b20 ^ (~b21 & b22)
        a21 = b21 ^ (~b22 & b23)
        a22 = b22 ^ (~b23 & b24)
        a23 = b23 ^ (~b24 & b20)
        a24 = b24 ^ (~b20 & b21)
    state[0], state[1], state[2], state[3], state[4] = a00, a01, a02, a03, a04
    state[5], state[6], state[7], state[8], state[9] = a05, a06, a07, a08, a09
    state[10], state[11], state[12], state[13], state[14] = a10, a11, a12, a13, a14
    state[15], state[16], state[17], state[18], state[19] = a15, a16, a17, a18, a19
    state[20], state[21], state[22], state[23], state[24] = a20, a21, a22, a23, a24


@kernel
def absorb(state: U64, lanes: U64, blocks: int) -> None:
    """Fill a fresh state with whole, already padded rate blocks; the digest is then its first four lanes."""
    state[:] = 0
    for block in range(blocks):
        for lane in range(RATE_LANES):
            state[lane] ^= lanes[block * RATE_LANES + lane]
        permute(state)
