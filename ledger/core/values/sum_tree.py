"""The packed Merkle-sum tree: a tree node is one word that holds its sum, so a contract compares totals as integers.

    tree node = hash (high 192 bits) | sum (low 64 bits)
    parent    = keccak256(left . right) in the high 192 bits, left sum + right sum in the low 64

A leaf sits at its index. An absent leaf is the zero word, and can be proven. A header states the height of each tree,
so a proof is one sibling per level, leaf level first; the left siblings on a path add up to the sum of all leaves
before it. A leaf's preimage begins with its tag and its lane, and follows from its position and its sum, except for a
receipt. A sum above 64 bits is Rejected. This module is plain; `kernels.sum_tree` builds the same words at a million
leaves a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane

Word: TypeAlias = bytes
"""32 bytes: 24 of hash, 8 of sum."""
TreePosition: TypeAlias = tuple[int, int]
"""Level (0 is the leaves) and index within it."""

ZERO: Word = bytes(32)
PAYOUT_TAG, DEBIT_TAG, RECEIPT_TAG, LINE_TAG, GATEWAY_TAG = 1, 2, 3, 4, 5
INDEX_END = 1 << 31
"""Indexes of payees and consumers are below this."""
MAX_HEIGHT = 51
"""The height of the tallest lines tree: 31 levels of parties over 20 of runs."""
MAX_SUM = 2**64 - 1


def tree_node(hashed: bytes, amount: int) -> Word:
    """Pack a hash and a sum into one word."""
    if not 0 <= amount <= MAX_SUM:
        raise Rejected(f"a sum of {amount} does not fit 64 bits", amount=amount)
    return hashed[:24] + amount.to_bytes(8, "big")


def amount(word: Word) -> int:
    """The sum in a word."""
    return int.from_bytes(word[24:], "big")


def leaf(tag: int, lane: Lane, index: int, account: Address, cumulative: int) -> Word:
    """A payout (tag 1) or debit (tag 2) leaf. The zero word for nothing. Its preimage has 53 bytes."""
    if not cumulative:
        return ZERO
    packed = bytes((tag,)) + lane + index.to_bytes(4, "big") + account + cumulative.to_bytes(8, "big")
    return tree_node(keccak256(packed), cumulative)


def receipt_leaf(lane: Lane, digest: bytes, charge: int) -> Word:
    """A receipt's leaf. Its index is the receipt's place in the batch."""
    return tree_node(keccak256(bytes((RECEIPT_TAG,)), lane, digest), charge)


def line_leaf(lane: Lane, party: int, run: int, paid: int) -> Word:
    """A leaf for what one run of 16 receipts pays the payee at Registry index `party`. The zero word for nothing.

    It stands at `party << runs_height | run`.
    """
    if not paid:
        return ZERO
    packed = party.to_bytes(4, "big") + run.to_bytes(4, "big") + paid.to_bytes(8, "big")
    return tree_node(keccak256(bytes((LINE_TAG,)), lane, packed), paid)


def gateway_leaf(lane: Lane, number: int, gateway: Address, first: int, count: int) -> Word:
    """A leaf for receipts [first, first + count) of a gateway. Its index is the key's number in the lane."""
    packed = number.to_bytes(4, "big") + gateway + first.to_bytes(8, "big") + count.to_bytes(8, "big")
    return tree_node(keccak256(bytes((GATEWAY_TAG,)), lane, packed), count)


def parent(left: Word, right: Word) -> Word:
    """The tree node above two tree nodes. Rejected when the sum does not fit 64 bits."""
    return tree_node(keccak256(left, right), amount(left) + amount(right))


def _zeros() -> list[Word]:
    words = [ZERO]
    while len(words) <= MAX_HEIGHT:
        words.append(parent(words[-1], words[-1]))
    return words


EMPTY = _zeros()
"""The root of an empty subtree of each height."""


def boundary(start: int, count: int, height: int) -> list[TreePosition]:
    """The siblings at the boundaries of leaves [start, start + count): per level the left one, then the right one."""
    siblings: list[TreePosition] = []
    end = start + count
    for level in range(height):
        siblings += [(level, start - 1)] if start & 1 else []
        siblings += [(level, end)] if end & 1 else []
        start, end = start >> 1, (end + 1) >> 1
    return siblings


class SumTree:
    """Levels of tree nodes, leaves first; everything right of a level's end is empty. Subclasses store the levels."""

    __slots__ = ()
    levels: tuple[Any, ...]

    @property
    def height(self) -> int:
        """Levels above the leaves."""
        return len(self.levels) - 1

    def at(self, level: int, index: int) -> Word:
        """The tree node at a level (0 is the leaves) and an index within it."""
        nodes = self.levels[level]
        return bytes(nodes[index]) if index < len(nodes) else EMPTY[level]

    @property
    def root(self) -> Word:
        """The word a header commits to."""
        return self.at(self.height, 0)

    @property
    def total(self) -> int:
        """The sum of all leaves."""
        return amount(self.root)

    def leaf(self, index: int) -> Word:
        """The leaf at an index; the zero word if there is none."""
        return self.at(0, index)

    def proof(self, index: int, level: int = 0) -> list[Word]:
        """The siblings on the path of a leaf, or of the tree node at `index` of a level, lowest first."""
        if not 0 <= index < 1 << self.height - level:
            raise Rejected(f"a tree of height {self.height} has no index {index} at level {level}", index=index)
        return [self.at(level + up, (index >> up) ^ 1) for up in range(self.height - level)]

    def range_proof(self, start: int, count: int) -> list[Word]:
        """The words at the `boundary` of leaves [start, start + count)."""
        end = start + count
        if not (0 <= start < end <= 1 << self.height):
            raise Rejected(f"a tree of height {self.height} has no range [{start}, {end})", start=start, count=count)
        return [self.at(level, index) for level, index in boundary(start, count, self.height)]


@dataclass(frozen=True, slots=True)
class Tree(SumTree):
    """All levels in memory. The root of an empty tree is the zero word."""

    levels: tuple[tuple[Word, ...], ...]

    @classmethod
    def build(cls, leaves: Sequence[Word], height: int = 0) -> Tree:
        """Build the smallest tree, of at least this height, that holds these leaves at indexes 0, 1, 2, ..."""
        levels = [tuple(leaves) or (ZERO,)]
        while len(levels[-1]) > 1 or len(levels) <= height:
            levels.append(above(levels[-1], len(levels) - 1))
        return cls(tuple(levels))


@dataclass(frozen=True, slots=True)
class SparseTree(SumTree):
    """A tree whose leaves lie far apart, as those of lines do: only the tree nodes above a leaf are in memory."""

    levels: tuple[Mapping[int, Word], ...]

    @classmethod
    def build(cls, leaves: Mapping[int, Word], height: int) -> SparseTree:
        """Build the tree of this height over leaves by index. Rejected when one lies beyond it."""
        beyond = [index for index in leaves if index >> height]
        if beyond:
            raise Rejected(f"a tree of height {height} has no index {beyond[0]}", index=beyond[0])
        levels: list[dict[int, Word]] = [{} for _ in range(height + 1)]
        for (level, index), word in rehash(leaves, height, height, {}).items():
            levels[level][index] = word
        return cls(tuple(levels))

    def at(self, level: int, index: int) -> Word:
        return self.levels[level].get(index, EMPTY[level])


def verify(root: Word, word: Word, index: int, proof: Sequence[Word]) -> bool:
    """Whether `word` is the leaf at `index` below `root`, with no sum on the path above 64 bits."""
    try:
        for sibling in proof:
            word = parent(sibling, word) if index & 1 else parent(word, sibling)
            index >>= 1
    except Rejected:
        return False
    return index == 0 and word == root


def range_root(words: Sequence[Word], start: int, height: int, proof: Sequence[Word]) -> Word:
    """The root above contiguous leaves from `start` and their boundary siblings. Rejected if they do not match."""
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
    """The height of the smallest tree with this many leaves: ceil(log2(size)), 0 for none."""
    return max(size - 1, 0).bit_length()


def positions_to_read(changes: Iterable[int], old_height: int) -> tuple[int, set[TreePosition]]:
    """The new height, and the tree nodes to read before `rehash`: siblings of the changed paths, and the old root."""
    indexes = set(changes)
    height = max([old_height, *(height_for(index + 1) for index in indexes)])
    positions = {(level, (index >> level) ^ 1) for index in indexes for level in range(height)}
    positions |= {(level, 1) for level in range(old_height, height)}
    positions |= {(old_height, 0)} if height > old_height else set()
    return height, positions - {(level, index >> level) for index in indexes for level in range(height)}


def rehash(
    changes: Mapping[int, Word], old_height: int, height: int, known: Mapping[TreePosition, Word]
) -> dict[TreePosition, Word]:
    """Every tree node that changed leaves rewrite, for a tree in a store. The root is at (height, 0).

    `known` are the tree nodes at `positions_to_read`. Positions never written are absent from it and count as empty.
    """
    written: dict[TreePosition, Word] = {(0, index): word for index, word in changes.items()}

    def at(level: int, index: int) -> Word:
        return written.get((level, index)) or known.get((level, index)) or EMPTY[level]

    dirty = set(changes)
    for level in range(1, height + 1):
        dirty = {index >> 1 for index in dirty} | ({0} if level > old_height else set())
        for index in dirty:
            written[level, index] = parent(at(level - 1, 2 * index), at(level - 1, 2 * index + 1))
    return written


def above(nodes: Sequence[Word], level: int) -> tuple[Word, ...]:
    """The level above the first nodes of a level, of which the others are empty."""
    paired = [*nodes, EMPTY[level]] if len(nodes) & 1 else nodes
    return tuple(parent(paired[i], paired[i + 1]) for i in range(0, len(paired), 2))
