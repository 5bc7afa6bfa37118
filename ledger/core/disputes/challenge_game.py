"""What a batch hides, asked for on chain node by node, until the lie is in the open.

A posted root that is not over the leaves an auditor expects differs in some leaf. Each answer on chain opens a node
into its two children; the leftmost that differs is opened next, down to a leaf. So a tree of height h takes h + 1
questions. Left of the leaf found everything is as expected, so its neighbour can be proven without asking.

Is a lane's window long enough to ask to the end? Settlement does not say: a lane may have short trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger.core.disputes.proofs import FraudProof, Opened, bad_sum, demand, uneven
from ledger.core.disputes.recomputation import DEBITS, LINES, PAYOUTS, RECEIPTS, Answers
from ledger.core.settlement.header import Header
from ledger.core.values.sum_tree import EMPTY, ZERO, Tree, Word, parent


@dataclass(frozen=True, slots=True)
class Found:
    """A posted leaf that is not the one expected; all before it are. `tree` is as expected, at the posted height."""

    index: int
    word: Word
    proof: list[Word]
    tree: Tree

    def proof_before(self) -> list[Word]:
        """The proof of the leaf before, in the posted tree."""
        posted, siblings = self.word, []
        for level, sibling in enumerate(self.proof):
            here, before = self.index >> level, self.index - 1 >> level
            if here == before:
                siblings.append(sibling)
            else:  # neighbours: the one's sibling is the other, or lies left of both, where all is as expected
                siblings.append(self.tree.at(level, before - 1) if before & 1 else posted)
            posted = parent(sibling, posted) if here & 1 else parent(posted, sibling)
        return siblings


def compare(
    tree: int, leaves: Sequence[Word], root: Word, answers: Answers, height: int | None = None
) -> FraudProof | Found | Tree:
    """The posted tree when it is the expected one at its own height; the first leaf that differs; or what to send next.

    `height`: of the posted tree, when it is a law. Otherwise it is that of its leftmost leaf, once that is open.
    """
    spine = _spine(root, answers)
    law, known = height, _is_leaf(spine.word, answers)
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
        return _ask(tree, at)
    if law is None and not known:
        return _ask(tree, spine)
    return uneven(tree, _opened(at, answers), _opened(at if law is not None else spine, answers))


def withheld(header: Header, answers: Answers) -> FraudProof | None:
    """Nobody shows the file: ask for all of it, receipts first. None when everything is open."""
    roots = (header.receipts_root, header.payout_root, header.debit_root, header.lines_root)
    for tree in (RECEIPTS, LINES, PAYOUTS, DEBITS):
        for at in _closed(Found(0, roots[tree], [], Tree.build([])), answers):
            why = f"the batch file is withheld: node {at.index} at depth {len(at.proof)} of tree {tree}"
            return demand(tree, at.word, at.index, at.proof, why)
    return None


def of_height(leaves: Sequence[Word], height: int) -> Tree:
    """The tree of this height over these leaves; those it has no place for are left out."""
    tree = Tree.build(list(leaves)[: 1 << height])
    levels = list(tree.levels)
    while len(levels) <= height:
        levels.append((parent(levels[-1][0], EMPTY[len(levels) - 1]),))
    return Tree(tuple(levels))


def _descend(expected: Tree, root: Word, answers: Answers) -> Found:
    """Down the posted tree, always to the leftmost child that is not as expected, as far as it is open."""
    at = Found(0, root, [], expected)
    while at.word in answers.nodes:
        left, _ = answers.nodes[at.word]
        level = expected.height - len(at.proof) - 1
        side = 1 if level >= 0 and expected.at(level, 2 * at.index) == left else 0
        at = _child(at, side, answers)
    return at


def _spine(root: Word, answers: Answers) -> Found:
    """Down to the leftmost leaf, as far as it is open."""
    at = Found(0, root, [], Tree.build([]))
    while at.word in answers.nodes:
        at = _child(at, 0, answers)
    return at


def _closed(at: Found, answers: Answers) -> Iterator[Found]:
    """What is not open yet below a node, from the left."""
    if at.word in answers.nodes:
        for side in (0, 1):
            yield from _closed(_child(at, side, answers), answers)
    elif not _is_leaf(at.word, answers):
        yield at


def _child(at: Found, side: int, answers: Answers) -> Found:
    pair = answers.nodes[at.word]
    return Found(2 * at.index + side, pair[side], [pair[1 - side], *at.proof], at.tree)


def _is_leaf(word: Word, answers: Answers) -> bool:
    return word == ZERO or word in answers.leaves


def _opened(at: Found, answers: Answers) -> Opened:
    preimage, terms = answers.leaves.get(at.word, (b"", b""))
    return preimage, terms, at.index, at.proof


def _ask(tree: int, at: Found) -> FraudProof:
    why = f"node {at.index} at depth {len(at.proof)} of tree {tree} is not what the file makes"
    return demand(tree, at.word, at.index, at.proof, why)


def _hash(pair: tuple[Word, Word]) -> bytes:
    return parent(*pair)[:24]


LEVELS = 22
"""How tall a tree may be for every question about it to fit: four million receipts, payees, consumers or lines."""


def too_short_to_challenge(window: int, answer_time: int) -> str:
    """Why an auditor could not ask to the end in this window (seconds), in words; empty if it could.

    A tree takes a question a level and one for the leaf; each may take `answer_time`, and only its answer says what to
    ask next.
    """
    needed = (LEVELS + 1) * answer_time
    if window >= needed:
        return ""
    return f"{LEVELS + 1} answers of {answer_time} s take {needed} s, and a batch can be challenged for {window} s"
