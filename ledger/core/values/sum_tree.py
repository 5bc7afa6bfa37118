"""The packed Merkle-sum tree: one word a node, its sum inside, so totals are integers a contract can compare.

    node   = hash (high 192 bits) | sum (low 64 bits)
    parent = keccak256(left . right) in the high 192 bits, left sum + right sum in the low 64

Leaves sit at their index; an absent one is the zero word, and provable. A proof is one sibling a level, leaf level
first. The left siblings of a path add up to a prefix sum. A parent's sum must fit 64 bits: overflow is refused.
This page is plain; `kernels.sumtree` builds the same levels at a million leaves a second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address

Word: TypeAlias = bytes
"""32 bytes: 24 of hash, 8 of sum."""
Place: TypeAlias = tuple[int, int]
"""Level (0 is the leaves) and position within it."""

ZERO: Word = bytes(32)
PAYOUT_TAG, DEBIT_TAG, RECEIPT_TAG, LINE_TAG = 1, 2, 3, 4
MAX_HEIGHT = 32
MAX_SUM = 2**64 - 1


def node(hashed: bytes, amount: int) -> Word:
    """A hash and a sum in one word."""
    if not 0 <= amount <= MAX_SUM:
        raise Rejected(f"a sum of {amount} does not fit 64 bits", amount=amount)
    return hashed[:24] + amount.to_bytes(8, "big")


def amount(word: Word) -> int:
    """The sum inside a word."""
    return int.from_bytes(word[24:], "big")


def leaf(tag: int, index: int, account: Address, cumulative: int) -> Word:
    """A payout (tag 1) or debit (tag 2) leaf. The preimage has 33 bytes, so it is never taken for a node's 64."""
    packed = bytes((tag,)) + index.to_bytes(4, "big") + account + cumulative.to_bytes(8, "big")
    return node(keccak256(packed), cumulative)


def receipt_leaf(digest: bytes, charge: int) -> Word:
    """A receipt's leaf, at its place in the batch."""
    return node(keccak256(bytes((RECEIPT_TAG,)), digest), charge)


def line_leaf(party: int, run: int, paid: int) -> Word:
    """What one run of 64 receipts pays a payee, or charges a consumer (its index with the top bit of 32 set).

    Leaves stand at their rank among (party, run): payees first, and a party's leaves side by side.
    """
    packed = party.to_bytes(4, "big") + run.to_bytes(4, "big") + paid.to_bytes(8, "big")
    return node(keccak256(bytes((LINE_TAG,)), packed), paid)


def parent(left: Word, right: Word) -> Word:
    """The node above two nodes. Rejected when the sum does not fit 64 bits."""
    return node(keccak256(left, right), amount(left) + amount(right))


def _zeros() -> list[Word]:
    words = [ZERO]
    while len(words) <= MAX_HEIGHT:
        words.append(parent(words[-1], words[-1]))
    return words


EMPTY = _zeros()
"""The root of an empty subtree of each height."""


class Leveled(ABC):
    """Levels of nodes, leaves first; what lies right of a level's end is empty. How they are kept is the subclass's."""

    __slots__ = ()

    @property
    @abstractmethod
    def height(self) -> int:
        """Levels above the leaves."""

    @abstractmethod
    def at(self, level: int, index: int) -> Word:
        """The node at a level (0 is the leaves) and a position within it."""

    @property
    def root(self) -> Word:
        """The committed word."""
        return self.at(self.height, 0)

    @property
    def total(self) -> int:
        """The sum of all leaves."""
        return amount(self.root)

    def leaf(self, index: int) -> Word:
        """The word at a position: the zero word where nothing is."""
        return self.at(0, index)

    def proof(self, index: int) -> list[Word]:
        """The siblings of a position, leaf level first."""
        if not 0 <= index < 1 << self.height:
            raise Rejected(f"no position {index} in a tree of height {self.height}", index=index)
        return [self.at(level, (index >> level) ^ 1) for level in range(self.height)]

    def range_proof(self, start: int, count: int) -> list[Word]:
        """The boundary siblings of positions [start, start + count): per level the left one, then the right one."""
        end = start + count
        if not (0 <= start < end <= 1 << self.height):
            raise Rejected(f"no range [{start}, {end}) in a tree of height {self.height}", start=start, count=count)
        siblings: list[Word] = []
        for level in range(self.height):
            if start & 1:
                siblings.append(self.at(level, start - 1))
            if end & 1:
                siblings.append(self.at(level, end))
            start, end = start >> 1, (end + 1) >> 1
        return siblings

    def prefix(self, index: int) -> int:
        """The sum of all leaves left of a position: the left siblings of its path."""
        return sum(amount(self.at(level, (index >> level) - 1)) for level in range(self.height) if index >> level & 1)


@dataclass(frozen=True, slots=True)
class Tree(Leveled):
    """All levels, leaves first; what lies right of a level's end is empty. An empty tree has the zero word as root."""

    levels: tuple[tuple[Word, ...], ...]

    @classmethod
    def build(cls, leaves: Sequence[Word]) -> Tree:
        """The least tree that holds these leaves at positions 0, 1, 2, ..."""
        levels = [tuple(leaves) or (ZERO,)]
        while len(levels[-1]) > 1:
            levels.append(_above(levels[-1], len(levels) - 1))
        return cls(tuple(levels))

    @property
    def height(self) -> int:
        """Levels above the leaves."""
        return len(self.levels) - 1

    def updated(self, changes: Mapping[int, Word]) -> Tree:
        """This tree with some leaves replaced or added; only their paths are hashed again."""
        size = max([len(self.levels[0]), *(index + 1 for index in changes)])
        levels = [list(level) for level in self.levels]
        dirty = {index >> 1 for index in changes}
        while size > 1 << (len(levels) - 1):
            levels.append([EMPTY[len(levels)]])
            dirty.add(0)  # the old root's path grows upwards
        _grow(levels[0], size, ZERO)
        for index, word in changes.items():
            levels[0][index] = word
        for level in range(1, len(levels)):
            below, here = levels[level - 1], levels[level]
            _grow(here, (len(below) + 1) >> 1, EMPTY[level])
            for index in dirty:
                right = below[2 * index + 1] if 2 * index + 1 < len(below) else EMPTY[level - 1]
                here[index] = parent(below[2 * index], right)
            dirty = {index >> 1 for index in dirty}
        return Tree(tuple(map(tuple, levels)))

    def at(self, level: int, index: int) -> Word:
        """The node at a level (0 is the leaves) and a position within it."""
        nodes = self.levels[level]
        return nodes[index] if index < len(nodes) else EMPTY[level]


def verify(root: Word, word: Word, index: int, proof: Sequence[Word]) -> bool:
    """True when `word` is at `index` below `root`, and no sum on the way overflows."""
    try:
        for sibling in proof:
            word = parent(sibling, word) if index & 1 else parent(word, sibling)
            index >>= 1
    except Rejected:
        return False
    return index == 0 and word == root


def range_root(words: Sequence[Word], start: int, height: int, proof: Sequence[Word]) -> Word:
    """The root above contiguous leaves from `start` and their boundary siblings. Rejected if they do not fit."""
    nodes, siblings = list(words), list(proof)
    try:
        for _ in range(height):
            if start & 1:
                nodes.insert(0, siblings.pop(0))
            if len(nodes) & 1:
                nodes.append(siblings.pop(0))
            nodes = [parent(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
            start >>= 1
    except IndexError as error:
        raise Rejected("the range proof is too short") from error
    if len(nodes) != 1 or start or siblings:
        raise Rejected("the range does not fit its proof", nodes=len(nodes), left_over=len(siblings))
    return nodes[0]


def height_for(size: int) -> int:
    """The height of the least tree with this many positions."""
    return max(size - 1, 0).bit_length()


def read_places(changes: Iterable[int], old_height: int) -> tuple[int, set[Place]]:
    """The new height, and the nodes to read before `rehash`: what lies beside the changed paths, and the old root."""
    indexes = set(changes)
    height = max([old_height, *(height_for(index + 1) for index in indexes)])
    places = {(level, (index >> level) ^ 1) for index in indexes for level in range(height)}
    places |= {(level, 1) for level in range(old_height, height)}
    places |= {(old_height, 0)} if height > old_height else set()
    return height, places - {(level, index >> level) for index in indexes for level in range(height)}


def rehash(changes: Mapping[int, Word], old_height: int, height: int, known: Mapping[Place, Word]) -> dict[Place, Word]:
    """Every node a change of leaves writes, root at (height, 0), for a tree that lives in a store.

    `known` are the nodes at `read_places`; places that were never written are left out and count as empty.
    """
    written: dict[Place, Word] = {(0, index): word for index, word in changes.items()}

    def at(level: int, position: int) -> Word:
        return written.get((level, position)) or known.get((level, position)) or EMPTY[level]

    dirty = set(changes)
    for level in range(1, height + 1):
        dirty = {index >> 1 for index in dirty} | ({0} if level > old_height else set())
        for index in dirty:
            written[level, index] = parent(at(level - 1, 2 * index), at(level - 1, 2 * index + 1))
    return written


def _above(nodes: Sequence[Word], level: int) -> tuple[Word, ...]:
    paired = [*nodes, EMPTY[level]] if len(nodes) & 1 else nodes
    return tuple(parent(paired[i], paired[i + 1]) for i in range(0, len(paired), 2))


def _grow(words: list[Word], size: int, filler: Word) -> None:
    words.extend([filler] * (size - len(words)))
