"""The challenge game: ask for what a posted tree hides, eight levels at a time, down to the first leaf that differs.

Every leaf but a receipt's follows from its position and its sum, so a word is enough to prove it wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.core.disputes.proofs import FraudProof, ask_words
from ledger.core.disputes.questions import Answers, height_of, root_of
from ledger.core.settlement.header import Header
from ledger.core.values.sum_tree import ZERO, SparseTree, SumTree, Word, parent


class OpenTree(SumTree):
    """A tree of a header's height over expected leaves, corrected leaf by leaf as the posted one is shown."""

    __slots__ = ("levels",)
    levels: tuple[dict[int, Word], ...]

    def __init__(self, leaves: Mapping[int, Word], height: int) -> None:
        """Leaves beyond the tree's width are left out."""
        inside = {index: word for index, word in leaves.items() if word != ZERO and not index >> height}
        self.levels = tuple(map(dict, SparseTree.build(inside, height).levels))

    def at(self, level: int, index: int) -> Word:
        return SparseTree.at(self, level, index)  # type: ignore[arg-type]

    def put(self, index: int, word: Word) -> None:
        """Replace a leaf."""
        self.levels[0][index] = word
        for level in range(1, self.height + 1):
            index >>= 1
            self.levels[level][index] = parent(self.at(level - 1, 2 * index), self.at(level - 1, 2 * index + 1))


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first posted leaf that differs from the expected one, and its path in the posted tree."""

    index: int
    word: Word
    path: list[Word]


def first_difference(tree: int, expected: OpenTree, header: Header, answers: Answers) -> Divergence | FraudProof | None:
    """Compare a posted tree with the expected one: None if equal, the first leaf that differs, or what to ask next."""
    word, depth, position = root_of(header, tree), 0, 0
    if expected.root == word:
        return None
    while depth < expected.height:
        pair = answers.children(tree, (depth, position))
        if pair is None:
            return ask_words(tree, depth, position)
        side = 1 if pair[0] == expected.at(expected.height - depth - 1, 2 * position) else 0
        word, depth, position = pair[side], depth + 1, 2 * position + side
    return Divergence(position, word, answers.path(tree, (depth, position)))


def open_tree(tree: int, leaves: Mapping[int, Word], header: Header) -> OpenTree:
    """The tree over expected leaves, of the height that the header states."""
    return OpenTree(leaves, height_of(header, tree))
