"""Twin of `values.sum_tree`: leaves and levels as (n, 32) byte arrays, a million leaves a second.

Kernels view a tree node as four lanes of 64 bits; the last lane holds the sum, big endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ledger.core.kernels.jit import I64, U8, U64, kernel
from ledger.core.kernels.keccak import FIRST_PAD, LAST_PAD, RATE_LANES, WAYS, fresh, permute
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Lane
from ledger.core.values.sum_tree import EMPTY, LINE_TAG, RECEIPT_TAG, SumTree, Word

_CHUNK_HEIGHT = 6
_CHUNK = 1 << _CHUNK_HEIGHT
_EMPTY = np.frombuffer(b"".join(EMPTY), np.uint64).reshape(-1, 4).copy()


@dataclass(frozen=True, slots=True, eq=False)
class Levels(SumTree):
    """All levels of a tree, leaves first, each (n, 32) bytes. Equals the plain `Tree` over the same leaves."""

    levels: tuple[U8, ...]

    @classmethod
    def build(cls, leaves: U8) -> Levels:
        """Build the smallest tree over these leaves, in order. Rejected when a sum does not fit 64 bits."""
        levels = [np.ascontiguousarray(leaves) if len(leaves) else np.zeros((1, 32), np.uint8)]
        while len(levels[-1]) > 1:
            levels.append(parents(levels[-1], len(levels) - 1))
        return cls(tuple(levels))


class RootBuilder:
    """Computes the root over leaves that arrive in chunks: half a byte stays in memory for each leaf."""

    def __init__(self) -> None:
        self._nodes: list[U8] = []
        self._first: U8 = np.empty((0, 32), np.uint8)
        self._ended = False
        self.size = 0

    def add(self, leaves: U8) -> None:
        """Add the next leaves: a multiple of 64, except in the last chunk. Rejected after a chunk that was not."""
        if self._ended and len(leaves):
            raise Rejected("only the last chunk may end within a run of 64 leaves")
        self._ended = self._ended or len(leaves) % _CHUNK != 0
        if self.size + len(leaves) <= _CHUNK:
            self._first = np.concatenate([self._first, leaves])
        self.size += len(leaves)
        for level in range(_CHUNK_HEIGHT):
            leaves = parents(leaves, level)
        self._nodes.append(leaves)

    def root(self) -> Word:
        """The root over all leaves so far, equal to `Tree.build(leaves).root`; the zero word if there are none."""
        if self.size <= _CHUNK:
            return Levels.build(self._first).root
        *_, (_, top) = self._above()
        return bytes(top[0])

    def below_root(self, lowest: int) -> dict[tuple[int, int], Word]:
        """The tree nodes of the levels from `lowest`, at least 6, up to the one below the root, by level and index."""
        assert lowest >= _CHUNK_HEIGHT, "lower levels are not kept"
        if self.size <= _CHUNK:
            return {}
        levels = [(level, nodes) for level, nodes in self._above() if level >= lowest and len(nodes) > 1]
        return {(level, index): bytes(node) for level, nodes in levels for index, node in enumerate(nodes)}

    def _above(self) -> Iterator[tuple[int, U8]]:
        """The levels from the lowest that is kept to the root."""
        nodes, level = np.concatenate(self._nodes), _CHUNK_HEIGHT
        yield level, nodes
        while len(nodes) > 1:
            nodes, level = parents(nodes, level), level + 1
            yield level, nodes


def parents(nodes: U8, level: int) -> U8:
    """Hash the tree nodes of a level in pairs: the level above. Rejected when a sum does not fit 64 bits."""
    above = np.empty(((len(nodes) + 1) >> 1, 4), np.uint64)
    if not _parents(nodes.reshape(-1).view(np.uint64).reshape(-1, 4), above, _EMPTY[level]):
        raise Rejected("a sum does not fit 64 bits", level=level + 1)
    return above.view(np.uint8).reshape(-1, 32)


class SparseRootBuilder:
    """Computes the root of a tree of given height over leaves at ascending positions, zero words everywhere else.

    Leaves arrive in chunks; of a run of 64 positions only one tree node stays in memory.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._positions: list[U64] = []
        self._nodes: list[U64] = []

    def add(self, positions: U64, leaves: U8) -> None:
        """Add the next leaves. Positions of one run of 64 come in one chunk. Overwrites both arrays."""
        nodes = leaves.reshape(-1).view(np.uint64).reshape(-1, 4)
        count = _fold_levels(positions, nodes, 0, min(_CHUNK_HEIGHT, self._height))
        self._positions.append(positions[:count].copy())
        self._nodes.append(nodes[:count].copy())

    def root(self) -> Word:
        """The root over all leaves so far, equal to `SparseTree.build(...).root`."""
        if not self._positions:
            return EMPTY[self._height]
        positions, nodes = np.concatenate(self._positions), np.concatenate(self._nodes)
        count = _fold_levels(positions, nodes, min(_CHUNK_HEIGHT, self._height), self._height)
        return nodes[0].tobytes() if count else EMPTY[self._height]


def _fold_levels(positions: U64, nodes: U64, low: int, high: int) -> int:
    count = len(positions)
    for level in range(low, high):
        count = _fold(positions, nodes, count, _EMPTY[level])
        if count < 0:
            raise Rejected("a sum does not fit 64 bits", level=level + 1)
    return count


def account_leaves(tag: int, lane: Lane, indexes: I64, accounts: U8, cumulatives: I64) -> U8:
    """Payout or debit leaves, one per row, at their index. Unused positions hold the zero word."""
    size = int(indexes[-1]) + 1 if len(indexes) else 0
    leaves = np.zeros((size, 4), np.uint64)
    _account_leaves(_head(tag, lane), indexes, np.ascontiguousarray(accounts), cumulatives, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def receipt_leaves(lane: Lane, digests: U8, charges: I64) -> U8:
    leaves = np.empty((len(digests), 4), np.uint64)
    _receipt_leaves(_head(RECEIPT_TAG, lane), np.ascontiguousarray(digests), charges, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def line_leaves(lane: Lane, parties: I64, runs: I64, paid: I64) -> U8:
    """Line leaves of rows (party, run), in their order."""
    leaves = np.empty((len(parties), 4), np.uint64)
    _line_leaves(_head(LINE_TAG, lane), parties, runs, paid, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def _head(tag: int, lane: Lane) -> U8:
    """The first 21 bytes of each leaf's preimage."""
    return np.frombuffer(bytes((tag,)) + lane, np.uint8)


@kernel
def swapped(value: np.uint64) -> np.uint64:
    """The bytes of a word in the other order."""
    eight, sixteen = np.uint64(8), np.uint64(16)
    value = ((value & np.uint64(0x00FF00FF00FF00FF)) << eight) | ((value >> eight) & np.uint64(0x00FF00FF00FF00FF))
    value = ((value & np.uint64(0x0000FFFF0000FFFF)) << sixteen) | ((value >> sixteen) & np.uint64(0x0000FFFF0000FFFF))
    return (value << np.uint64(32)) | (value >> np.uint64(32))


@kernel
def _parents(nodes: U64, above: U64, empty: U64) -> bool:
    states = fresh()
    for begin in range(0, len(above), WAYS):
        count = min(WAYS, len(above) - begin)
        states[8 * WAYS :] = 0
        for k in range(count):
            left = 2 * (begin + k)
            for lane in range(4):
                states[lane * WAYS + k] = nodes[left, lane]
                states[(lane + 4) * WAYS + k] = nodes[left + 1, lane] if left + 1 < len(nodes) else empty[lane]
            states[8 * WAYS + k] = FIRST_PAD
            states[16 * WAYS + k] = LAST_PAD
        permute(states)
        for k in range(count):
            left = 2 * (begin + k)
            low = swapped(nodes[left, 3])
            total = low + swapped(nodes[left + 1, 3] if left + 1 < len(nodes) else empty[3])
            if total < low:
                return False
            for lane in range(3):
                above[begin + k, lane] = states[lane * WAYS + k]
            above[begin + k, 3] = swapped(total)
    return True


@kernel
def _fold(positions: U64, nodes: U64, size: int, empty: U64) -> int:
    """Replace the first `size` tree nodes, at ascending positions, by their parents.

    Returns how many there are; -1 if a sum does not fit.
    """
    states, lefts, rights = fresh(), np.empty(WAYS, np.int64), np.empty(WAYS, np.int64)
    low, one = np.uint64(0), np.uint64(1)
    read, written = 0, 0
    while read < size:
        count = 0
        while count < WAYS and read < size:
            lefts[count], rights[count] = -1, -1
            if positions[read] & one == low:
                lefts[count] = read
                read += 1
                if read < size and positions[read] == positions[read - 1] + one:
                    rights[count] = read
                    read += 1
            else:
                rights[count] = read
                read += 1
            count += 1
        states[8 * WAYS :] = 0
        for k in range(count):
            for lane in range(4):
                states[lane * WAYS + k] = nodes[lefts[k], lane] if lefts[k] >= 0 else empty[lane]
                states[(lane + 4) * WAYS + k] = nodes[rights[k], lane] if rights[k] >= 0 else empty[lane]
            states[8 * WAYS + k] = FIRST_PAD
            states[16 * WAYS + k] = LAST_PAD
        permute(states)
        for k in range(count):
            left = swapped(nodes[lefts[k], 3]) if lefts[k] >= 0 else low
            total = left + (swapped(nodes[rights[k], 3]) if rights[k] >= 0 else low)
            if total < left:
                return -1
            positions[written] = positions[max(lefts[k], rights[k])] >> one
            for lane in range(3):
                nodes[written, lane] = states[lane * WAYS + k]
            nodes[written, 3] = swapped(total)
            written += 1
    return written


@kernel
def _account_leaves(head: U8, indexes: I64, accounts: U8, cumulatives: I64, leaves: U64) -> None:
    packed, states = np.zeros(136, np.uint8), fresh()
    lanes = packed.view(np.uint64)
    packed[:21] = head
    packed[53], packed[135] = 1, 0x80
    for begin in range(0, len(indexes), WAYS):
        count = min(WAYS, len(indexes) - begin)
        for k in range(count):
            index, cumulative = indexes[begin + k], cumulatives[begin + k]
            for byte in range(4):
                packed[21 + byte] = (index >> (24 - 8 * byte)) & 0xFF
            for byte in range(20):
                packed[25 + byte] = accounts[begin + k, byte]
            for byte in range(8):
                packed[45 + byte] = (cumulative >> (56 - 8 * byte)) & 0xFF
            _spread(states, k, lanes)
        _clear(states)
        permute(states)
        for k in range(count):
            _write_leaf(states, k, cumulatives[begin + k], leaves[indexes[begin + k]])


@kernel
def _receipt_leaves(head: U8, digests: U8, charges: I64, leaves: U64) -> None:
    packed, states = np.zeros(136, np.uint8), fresh()
    lanes = packed.view(np.uint64)
    packed[:21] = head
    packed[53], packed[135] = 1, 0x80
    for begin in range(0, len(digests), WAYS):
        count = min(WAYS, len(digests) - begin)
        for k in range(count):
            for byte in range(32):
                packed[21 + byte] = digests[begin + k, byte]
            _spread(states, k, lanes)
        _clear(states)
        permute(states)
        for k in range(count):
            _write_leaf(states, k, charges[begin + k], leaves[begin + k])


@kernel
def _line_leaves(head: U8, parties: I64, runs: I64, paid: I64, leaves: U64) -> None:
    packed, states = np.zeros(136, np.uint8), fresh()
    lanes = packed.view(np.uint64)
    packed[:21] = head
    packed[37], packed[135] = 1, 0x80
    for begin in range(0, len(parties), WAYS):
        count = min(WAYS, len(parties) - begin)
        for k in range(count):
            for byte in range(4):
                packed[21 + byte] = (parties[begin + k] >> (24 - 8 * byte)) & 0xFF
                packed[25 + byte] = (runs[begin + k] >> (24 - 8 * byte)) & 0xFF
            for byte in range(8):
                packed[29 + byte] = (paid[begin + k] >> (56 - 8 * byte)) & 0xFF
            _spread(states, k, lanes)
        _clear(states)
        permute(states)
        for k in range(count):
            _write_leaf(states, k, paid[begin + k], leaves[begin + k])


@kernel
def _spread(states: U64, k: int, lanes: U64) -> None:
    """Copy one padded block into state k."""
    for lane in range(RATE_LANES):
        states[lane * WAYS + k] = lanes[lane]


@kernel
def _clear(states: U64) -> None:
    """Zero the lanes that no block fills."""
    states[RATE_LANES * WAYS :] = 0


@kernel
def _write_leaf(states: U64, k: int, total: int, leaf: U64) -> None:
    for lane in range(3):
        leaf[lane] = states[lane * WAYS + k]
    leaf[3] = swapped(np.uint64(total))
