"""The sum tree: proofs that hold and proofs that must not, prefix sums, and trees that grow in a store."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.values import sum_tree
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address
from ledger.core.values.sum_tree import SparseTree, Tree, Word

quick = settings(max_examples=80, deadline=None, database=None, derandomize=True)
PAYEE = Address(b"\x07" * 20)
LANE = Address(b"\x0a" * 20)
leaves = st.lists(st.integers(0, 2**50), min_size=1, max_size=40).map(
    lambda amounts: [sum_tree.leaf(1, LANE, i, PAYEE, a) for i, a in enumerate(amounts)]
)


@quick
@given(leaves, st.data())
def test_a_leaf_is_proved_at_its_index_and_nowhere_else(words: list[Word], data: st.DataObject) -> None:
    tree = Tree.build(words)
    index = data.draw(st.integers(0, (1 << tree.height) - 1))
    proof, word = tree.proof(index), tree.leaf(index)
    assert sum_tree.verify(tree.root, word, index, proof)
    assert not sum_tree.verify(tree.root, word, index + (1 << tree.height), proof)
    other = data.draw(st.integers(0, (1 << tree.height) - 1))
    if tree.leaf(other) != word:
        assert not sum_tree.verify(tree.root, word, other, proof)
    richer = sum_tree.tree_node(word, sum_tree.amount(word) + 1)
    assert not sum_tree.verify(tree.root, richer, index, proof)
    left = [sibling for level, sibling in enumerate(proof) if index >> level & 1]
    assert sum(map(sum_tree.amount, left)) == sum(map(sum_tree.amount, words[:index]))
    if proof:
        assert not sum_tree.verify(tree.root, word, index, proof[:-1])


@quick
@given(leaves, st.data())
def test_a_range_is_proved_by_its_boundary(words: list[Word], data: st.DataObject) -> None:
    tree = Tree.build(words)
    start = data.draw(st.integers(0, (1 << tree.height) - 1))
    count = data.draw(st.integers(1, (1 << tree.height) - start))
    part, proof = [tree.leaf(i) for i in range(start, start + count)], tree.range_proof(start, count)
    assert sum_tree.range_root(part, start, tree.height, proof) == tree.root
    for wrong in (proof[:-1], [*proof, sum_tree.ZERO]):
        if wrong != proof:
            with pytest.raises(Rejected):
                sum_tree.range_root(part, start, tree.height, wrong)
    with pytest.raises(Rejected):
        tree.range_proof(start, (1 << tree.height) - start + 1)


@quick
@given(st.integers(0, 2**32 - 1))
def test_changes_in_a_store_give_the_tree_built_anew(seed: int) -> None:
    chance = Random(seed)
    words = [_word(chance, index) for index in range(chance.randint(1, 30))]
    tree = Tree.build(words)
    store = {(level, at): word for level, row in enumerate(tree.levels) for at, word in enumerate(row)}
    for _ in range(3):
        changes = {chance.randrange(80): _word(chance, 5) for _ in range(chance.randint(0, 4))}
        height, positions = sum_tree.positions_to_read(changes, tree.height)
        store |= sum_tree.rehash(changes, tree.height, height, {at: store[at] for at in positions if at in store})
        words += [sum_tree.ZERO] * (max([len(words), *(index + 1 for index in changes)]) - len(words))
        for index, word in changes.items():
            words[index] = word
        tree = Tree.build(words)
        assert (height, store[height, 0]) == (tree.height, tree.root)


@quick
@given(st.integers(0, 51), st.integers(0, 2**32 - 1))
def test_a_sparse_tree_is_the_tree_with_zero_words_between(height: int, seed: int) -> None:
    chance = Random(seed)
    leaves = {
        chance.randrange(1 << height): sum_tree.line_leaf(LANE, at, 0, chance.randrange(1, 1 << 30)) for at in range(9)
    }
    tree = SparseTree.build(leaves, height)
    assert tree.total == sum(map(sum_tree.amount, leaves.values()))
    for index, word in leaves.items():
        assert sum_tree.verify(tree.root, word, index, tree.proof(index))
    level = chance.randint(0, height)
    above = {index >> level for index in leaves}
    for index in above:
        assert sum_tree.verify(tree.root, tree.at(level, index), index, tree.proof(index, level))
    if height <= 8:
        assert tree.root == Tree.build([leaves.get(at, sum_tree.ZERO) for at in range(1 << height)]).root
    with pytest.raises(Rejected, match="has no index"):
        SparseTree.build({1 << height: PAYEE}, height)


def test_leaves_of_nothing_are_the_zero_word_and_all_others_name_their_lane() -> None:
    assert sum_tree.leaf(1, LANE, 7, PAYEE, 0) == sum_tree.line_leaf(LANE, 7, 1, 0) == sum_tree.ZERO
    assert sum_tree.gateway_leaf(LANE, 1, PAYEE, 5, 0) != sum_tree.ZERO, "an idle gateway has its row"
    made: set[Word] = set()
    for lane in (LANE, PAYEE):
        made |= {sum_tree.leaf(1, lane, 7, PAYEE, 9), sum_tree.leaf(2, lane, 7, PAYEE, 9)}
        made |= {sum_tree.receipt_leaf(lane, bytes(32), 9), sum_tree.line_leaf(lane, 7, 1, 9)}
        made.add(sum_tree.gateway_leaf(lane, 7, PAYEE, 1, 9))
    assert len(made) == 10


def test_a_path_whose_sum_passes_64_bits_is_no_proof() -> None:
    big = sum_tree.tree_node(bytes(32), 2**63)
    forged = sum_tree.tree_node(keccak256(big, big), 0)
    assert not sum_tree.verify(forged, big, 0, [big])
    with pytest.raises(Rejected):
        sum_tree.parent(big, big)


def test_an_empty_tree_is_the_zero_word() -> None:
    tree = Tree.build([])
    assert (tree.root, tree.height, tree.total) == (sum_tree.ZERO, 0, 0)


def _word(chance: Random, index: int) -> Word:
    return sum_tree.leaf(2, LANE, index, Address(chance.randbytes(20)), chance.randrange(1 << 40))
