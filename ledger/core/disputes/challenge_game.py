"""The challenge game: request withheld tree nodes on chain until a bad leaf can be proven.

A posted root that is not over the expected leaves differs in some leaf. Each answer on chain opens a tree node into its
two children, and the leftmost one that differs is requested next, down to a leaf: height + 1 requests for a tree.
Everything left of the divergent leaf is as expected, so the leaf before it can be proven without a request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger.core.disputes.proofs import FraudProof, Opened, bad_sum, demand, uneven
from ledger.core.disputes.recomputation import DEBITS, LINES, PAYOUTS, RECEIPTS, Answers
from ledger.core.settlement.header import Header
from ledger.core.values.sum_tree import EMPTY, ZERO, Tree, Word, parent


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first posted leaf, or tree node, that differs. `tree` is the expected one, at the posted height."""

    index: int
    word: Word
    proof: list[Word]
    tree: Tree

    def proof_before(self) -> list[Word]:
        """The proof of the leaf before it, in the posted tree."""
        posted, siblings = self.word, []
        for level, sibling in enumerate(self.proof):
            here, before = self.index >> level, self.index - 1 >> level
            if here == before:
                siblings.append(sibling)
            else:  # siblings: the posted one; or a tree node further left, where all is as expected
                siblings.append(self.tree.at(level, before - 1) if before & 1 else posted)
            posted = parent(sibling, posted) if here & 1 else parent(posted, sibling)
        return siblings


def compare(
    tree: int, leaves: Sequence[Word], root: Word, answers: Answers, height: int | None = None
) -> FraudProof | Divergence | Tree:
    """Compare a posted root with expected leaves: the tree if equal, the first divergent leaf, or what to send next.

    `height` is the posted tree's, where the protocol fixes it. Otherwise its leftmost leaf tells, once it is open.
    """
    spine = _spine(root, answers)
    is_fixed, known = height is not None, _is_leaf(spine.word, answers)
    if height is None:
        height = len(spine.proof) if known else max(0, len(leaves) - 1).bit_length()
    expected = of_height(leaves, height)
    if expected.root == root:
        return expected
    at = _descend(expected, root, answers)
    depth = len(at.proof)
    if depth == height and (tree == RECEIPTS or _is_leaf(at.word, answers)):
        return at
    if not _is_leaf(at.word, answers):
        if depth < height:
            pair = (expected.at(height - depth - 1, 2 * at.index), expected.at(height - depth - 1, 2 * at.index + 1))
            if _hash(pair) == at.word[:24]:
                return bad_sum(tree, at.word, pair, at.index, at.proof)
        return _ask_for(tree, at)
    if not is_fixed and not known:
        return _ask_for(tree, spine)
    return uneven(tree, _opened(at, answers), _opened(at if is_fixed else spine, answers))


def withheld(header: Header, answers: Answers) -> FraudProof | None:
    """The next request when the file is withheld: the receipts first. None when everything is open."""
    roots = (header.receipts_root, header.payout_root, header.debit_root, header.lines_root)
    for tree in (RECEIPTS, LINES, PAYOUTS, DEBITS):
        for at in _closed(Divergence(0, roots[tree], [], Tree.build([])), answers):
            why = f"the batch file is withheld: tree node {at.index} at depth {len(at.proof)} of tree {tree}"
            return demand(tree, at.word, at.index, at.proof, why)
    return None


def of_height(leaves: Sequence[Word], height: int) -> Tree:
    """The tree of this height over these leaves. Leaves beyond its width are left out."""
    tree = Tree.build(list(leaves)[: 1 << height])
    levels = list(tree.levels)
    while len(levels) <= height:
        levels.append((parent(levels[-1][0], EMPTY[len(levels) - 1]),))
    return Tree(tuple(levels))


def _descend(expected: Tree, root: Word, answers: Answers) -> Divergence:
    """Descend the posted tree to the leftmost child that differs, as far as it is open."""
    at = Divergence(0, root, [], expected)
    while at.word in answers.children:
        left, _ = answers.children[at.word]
        level = expected.height - len(at.proof) - 1
        side = 1 if level >= 0 and expected.at(level, 2 * at.index) == left else 0
        at = _child(at, side, answers)
    return at


def _spine(root: Word, answers: Answers) -> Divergence:
    """Descend to the leftmost leaf, as far as it is open."""
    at = Divergence(0, root, [], Tree.build([]))
    while at.word in answers.children:
        at = _child(at, 0, answers)
    return at


def _closed(at: Divergence, answers: Answers) -> Iterator[Divergence]:
    """The tree nodes below one that are not open yet, from the left."""
    if at.word in answers.children:
        for side in (0, 1):
            yield from _closed(_child(at, side, answers), answers)
    elif not _is_leaf(at.word, answers):
        yield at


def _child(at: Divergence, side: int, answers: Answers) -> Divergence:
    pair = answers.children[at.word]
    return Divergence(2 * at.index + side, pair[side], [pair[1 - side], *at.proof], at.tree)


def _is_leaf(word: Word, answers: Answers) -> bool:
    return word == ZERO or word in answers.leaves


def _opened(at: Divergence, answers: Answers) -> Opened:
    preimage, terms = answers.leaves.get(at.word, (b"", b""))
    return preimage, terms, at.index, at.proof


def _ask_for(tree: int, at: Divergence) -> FraudProof:
    why = f"tree node {at.index} at depth {len(at.proof)} of tree {tree} does not follow from the file"
    return demand(tree, at.word, at.index, at.proof, why)


def _hash(pair: tuple[Word, Word]) -> bytes:
    return parent(*pair)[:24]


LEVELS = 22
"""The tallest tree whose requests must fit a challenge window: four million receipts, payees, consumers or lines."""


def too_short_to_challenge(window: int, answer_time: int) -> str:
    """Why this window (seconds) is too short for a whole challenge game; empty if it is not.

    A game takes one request per level and one for the leaf, one after the other; each may take `answer_time`. The
    contract allows shorter windows: a lane may have short trees.
    """
    needed = (LEVELS + 1) * answer_time
    if window >= needed:
        return ""
    return f"{LEVELS + 1} answers of {answer_time} s take {needed} s, and a batch can be challenged for {window} s"
