"""Twin of `ledger.core.sumtree`: leaves and levels as (n, 32) byte arrays, a million leaves a second.

Nodes are kept as bytes, viewed as four lanes of 64 bits; the last lane holds the sum, big endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ledger.core.errors import Rejected
from ledger.core.kernels.jit import I64, U8, U64, kernel
from ledger.core.kernels.keccak import FIRST_PAD, LAST_PAD, permute
from ledger.core.sumtree import EMPTY, Word, amount, parent

_EMPTY = np.frombuffer(b"".join(EMPTY), np.uint64).reshape(-1, 4).copy()


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """All levels of a tree, leaves first, each (n, 32) bytes. Answers like `sumtree.Tree`."""

    levels: tuple[U8, ...]

    @classmethod
    def build(cls, leaves: U8) -> Levels:
        """The least tree with these leaves, in order. Rejected when a sum does not fit 64 bits."""
        levels = [np.ascontiguousarray(leaves) if len(leaves) else np.zeros((1, 32), np.uint8)]
        while len(levels[-1]) > 1:
            levels.append(above(levels[-1], len(levels) - 1))
        return cls(tuple(levels))

    @property
    def root(self) -> Word:
        """The committed word."""
        return self._at(self.height, 0)

    @property
    def total(self) -> int:
        """The sum of all leaves."""
        return amount(self.root)

    @property
    def height(self) -> int:
        """Levels above the leaves."""
        return len(self.levels) - 1

    def leaf(self, index: int) -> Word:
        """The word at a position: the zero word where nothing is."""
        return self._at(0, index)

    def proof(self, index: int) -> list[Word]:
        """The siblings of a position, leaf level first."""
        if not 0 <= index < 1 << self.height:
            raise Rejected(f"no position {index} in a tree of height {self.height}", index=index)
        return [self._at(level, (index >> level) ^ 1) for level in range(self.height)]

    def updated(self, changes: Mapping[int, Word]) -> Levels:
        """This tree with some existing leaves replaced; only their paths are hashed again."""
        levels = [level.copy() for level in self.levels]
        for index, word in changes.items():
            levels[0][index] = np.frombuffer(word, np.uint8)
        dirty = {index >> 1 for index in changes}
        for level in range(1, len(levels)):
            below = levels[level - 1]
            for index in dirty:
                right = below[2 * index + 1].tobytes() if 2 * index + 1 < len(below) else EMPTY[level - 1]
                levels[level][index] = np.frombuffer(parent(below[2 * index].tobytes(), right), np.uint8)
            dirty = {index >> 1 for index in dirty}
        return Levels(tuple(levels))

    def _at(self, level: int, index: int) -> Word:
        nodes = self.levels[level]
        return bytes(nodes[index]) if index < len(nodes) else EMPTY[level]


def above(nodes: U8, level: int) -> U8:
    """The level above `nodes`, which are at `level`."""
    parents = np.empty(((len(nodes) + 1) >> 1, 4), np.uint64)
    if not _above(nodes.reshape(-1).view(np.uint64).reshape(-1, 4), parents, _EMPTY[level]):
        raise Rejected("a sum does not fit 64 bits", level=level + 1)
    return parents.view(np.uint8).reshape(-1, 32)


def account_leaves(tag: int, indexes: I64, accounts: U8, cumulatives: I64) -> U8:
    """Payout or debit leaves, one per row, at their index; positions nobody has are the zero word."""
    size = int(indexes[-1]) + 1 if len(indexes) else 0
    leaves = np.zeros((size, 4), np.uint64)
    _account_leaves(tag, indexes, np.ascontiguousarray(accounts), cumulatives, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def receipt_leaves(digests: U8, charges: I64) -> U8:
    """Receipt leaves from their digests (n, 32)."""
    leaves = np.empty((len(digests), 4), np.uint64)
    _receipt_leaves(np.ascontiguousarray(digests), charges, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def line_leaves(payees: I64, runs: I64, paid: I64) -> U8:
    """Line leaves, already sorted by (payee index, run)."""
    leaves = np.empty((len(payees), 4), np.uint64)
    _line_leaves(payees, runs, paid, leaves)
    return leaves.view(np.uint8).reshape(-1, 32)


def stack(roots: Sequence[Word], level: int) -> Word:
    """The root above whole subtrees of height `level`, given by their roots in order."""
    nodes = np.frombuffer(b"".join(roots), np.uint8).reshape(-1, 32)
    while len(nodes) > 1:
        nodes, level = above(nodes, level), level + 1
    return bytes(nodes[0])


@kernel
def _swapped(value: np.uint64) -> np.uint64:
    eight, sixteen = np.uint64(8), np.uint64(16)
    value = ((value & np.uint64(0x00FF00FF00FF00FF)) << eight) | ((value >> eight) & np.uint64(0x00FF00FF00FF00FF))
    value = ((value & np.uint64(0x0000FFFF0000FFFF)) << sixteen) | ((value >> sixteen) & np.uint64(0x0000FFFF0000FFFF))
    return (value << np.uint64(32)) | (value >> np.uint64(32))


@kernel
def _above(nodes: U64, parents: U64, empty: U64) -> bool:
    state = np.zeros(25, np.uint64)
    for i in range(len(parents)):
        state[:] = 0
        left, right = nodes[2 * i], nodes[2 * i + 1] if 2 * i + 1 < len(nodes) else empty
        state[0:4] = left
        state[4:8] = right
        state[8] = FIRST_PAD
        state[16] = LAST_PAD
        permute(state)
        low = _swapped(left[3])
        total = low + _swapped(right[3])
        if total < low:
            return False
        parents[i, 0:3] = state[0:3]
        parents[i, 3] = _swapped(total)
    return True


@kernel
def _account_leaves(tag: int, indexes: I64, accounts: U8, cumulatives: I64, leaves: U64) -> None:
    packed = np.zeros(136, np.uint8)
    lanes = packed.view(np.uint64)
    state = np.zeros(25, np.uint64)
    packed[0], packed[33], packed[135] = tag, 1, 0x80
    for i in range(len(indexes)):
        index, cumulative = indexes[i], cumulatives[i]
        for byte in range(4):
            packed[1 + byte] = (index >> (24 - 8 * byte)) & 0xFF
        packed[5:25] = accounts[i]
        for byte in range(8):
            packed[25 + byte] = (cumulative >> (56 - 8 * byte)) & 0xFF
        _sealed(state, lanes, cumulative, leaves[index])


@kernel
def _receipt_leaves(digests: U8, charges: I64, leaves: U64) -> None:
    packed = np.zeros(136, np.uint8)
    lanes = packed.view(np.uint64)
    state = np.zeros(25, np.uint64)
    packed[0], packed[33], packed[135] = 3, 1, 0x80
    for i in range(len(digests)):
        packed[1:33] = digests[i]
        _sealed(state, lanes, charges[i], leaves[i])


@kernel
def _line_leaves(payees: I64, runs: I64, paid: I64, leaves: U64) -> None:
    packed = np.zeros(136, np.uint8)
    lanes = packed.view(np.uint64)
    state = np.zeros(25, np.uint64)
    packed[0], packed[17], packed[135] = 4, 1, 0x80
    for i in range(len(payees)):
        for byte in range(4):
            packed[1 + byte] = (payees[i] >> (24 - 8 * byte)) & 0xFF
            packed[5 + byte] = (runs[i] >> (24 - 8 * byte)) & 0xFF
        for byte in range(8):
            packed[9 + byte] = (paid[i] >> (56 - 8 * byte)) & 0xFF
        _sealed(state, lanes, paid[i], leaves[i])


@kernel
def _sealed(state: U64, lanes: U64, total: int, leaf: U64) -> None:
    state[17:] = 0
    state[:17] = lanes
    permute(state)
    leaf[0:3] = state[0:3]
    leaf[3] = _swapped(np.uint64(total))
