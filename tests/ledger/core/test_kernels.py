"""The fast twins say what the plain pages say, to the last atom and bit."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.catalog.bids import Line, Role, Terms, encode, terms_id
from ledger.core.kernels import receipt_hashes, split, totals
from ledger.core.kernels import sum_tree as fast
from ledger.core.kernels.jit import U8
from ledger.core.kernels.sum_tree import RootBuilder, SparseRootBuilder
from ledger.core.pricing import price as pricing
from ledger.core.pricing import shares
from ledger.core.receipts.receipt import EndReason, Receipt, struct_hash
from ledger.core.values import meters, sum_tree
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import METERS, Meter, Rates, Units
from tests.ledger.core import strategies as some
from tests.rates import asks

LANE = Address(bytes(19) + b"\7")

quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)
BITS = st.sampled_from([(20, 20), (40, 23), (63, 30), (63, 62)])


@quick
@given(some.chances, BITS, st.integers(1, 40))
def test_split_says_what_pricing_says(chance: Random, bits: tuple[int, int], count: int) -> None:
    known = [some.a_terms(chance, bits[0]) for _ in range(4)]
    table, slots = split.build_table(known)
    chosen = np.array([chance.randrange(4) for _ in range(count)])
    units = [some.a_units(chance, bits[1]) for _ in range(count)]
    passed = [0 if chance.random() < 0.5 else chance.randrange(1 << bits[1]) for _ in range(count)]
    price, charge = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    amounts, status = np.zeros((count, 11), np.uint64), np.zeros(count, np.int64)
    arguments = (table, chosen, np.array(units, np.uint64), np.array(passed, np.uint64), price, charge, amounts, status)
    split.split_amounts(*arguments)
    for i in range(count):
        terms = known[chosen[i]]
        try:
            due = pricing.price(terms, units[i], passed[i])
        except Rejected:
            assert status[i] in (split.TOO_LARGE, split.INFEASIBLE)
            continue
        assert (status[i] == split.TOO_LARGE) == _is_large(terms, units[i], passed[i])
        if status[i] == split.TOO_LARGE:
            continue
        assert (int(price[i]), int(charge[i])) == (due.price, due.charge)
        assert tuple(amounts[i, : len(due.amounts)].tolist()) == due.amounts
        start = table.slot_start[chosen[i]]
        assert [slots[s] for s in table.slot[start : start + len(due.amounts)]] == list(pricing.payees(terms))


def _is_large(terms: Terms, units: Units, passed: int) -> bool:
    """What the kernel leaves to the plain page: whole scales, as asked, above the reach."""
    asked = []
    for line in terms.lines:
        for meter, ask in line.asks:
            paying = [one for one in Meter if _pays(line.asks, one) == meter]
            used = sum(units[one] for one in paying)
            asked += [ask * -(-used // METERS[meter].scale)] if ask else []
            if ask and any(units[one] > meters.MAX_UNITS for one in paying):
                return True
    return passed > split.REACH or any(one * len(asked) > split.REACH for one in asked)


def _pays(asks: Rates, meter: Meter) -> int:
    return meter if meter in dict(asks) else meter.coarse


def test_a_ratio_applied_by_multiplication_is_the_ratio() -> None:
    rests = np.arange(10**6, dtype=np.uint64)
    chance = Random(3)
    ratios = [1, 2, 3, 64, 15_625, 20_000, 299_999, 300_000, 899_999, 900_000, *chance.sample(range(900_000), 20)]
    payee = Address(bytes(20))
    for ratio in ratios:
        table, _ = split.build_table([Terms(Digest(bytes(32)), (Line(payee, Role.maker, ratio, asks(call=1)),))])
        multiplied = (table.share[0] * rests + split.ROUND_UP) >> np.uint64(split.SHIFT)
        assert np.array_equal(multiplied, (np.uint64(ratio) * rests + np.uint64(999_999)) // np.uint64(10**6)), ratio


@quick
@given(some.chances, st.sampled_from([50, 58, 61]))
def test_what_is_too_large_for_the_kernel_is_split_all_the_same(chance: Random, bits: int) -> None:
    receipt, terms = a_receipt(chance, [some.a_terms(chance, bits)], 1)
    if receipt is not None:
        body = encode(terms)
        parts = shares.split(some.records([receipt]), {terms_id(body): body})
        due = pricing.of_receipt(receipt, terms)
        assert tuple(parts.amounts[0].tolist()) == due


@quick
@given(some.chances, st.integers(1, 60))
def test_shares_of_a_chunk_are_the_sum_of_the_shares_of_its_receipts(chance: Random, count: int) -> None:
    known = [some.a_terms(chance, 34) for _ in range(3)]
    receipts = [a_receipt(chance, known, seq) for seq in range(1, count + 1)]
    kept = [(receipt, terms) for receipt, terms in receipts if receipt is not None]
    records = some.records(receipt for receipt, _ in kept)
    added = shares.add_up(records, {terms_id(encode(terms)): encode(terms) for terms in known})
    spent: dict[tuple[Address, Address], int] = {}
    earned: dict[tuple[Address, object], int] = {}
    for receipt, terms in kept:
        who = (receipt.consumer, receipt.gateway)
        spent[who] = spent.get(who, 0) + receipt.charge
        for payee, amount in zip(pricing.payees(terms), pricing.of_receipt(receipt, terms), strict=True):
            earned[payee] = earned.get(payee, 0) + amount
    assert added.spent == {who: amount for who, amount in spent.items() if amount}
    assert added.earned == {who: amount for who, amount in earned.items() if amount}
    assert added.charged == sum(spent.values()) == sum(earned.values())


@pytest.mark.parametrize("field", ["price", "charge"])
def test_a_receipt_that_costs_something_else_is_named(field: str) -> None:
    chance = Random(7)
    known = [some.a_terms(chance, 20)]
    bodies = {terms_id(encode(terms)): encode(terms) for terms in known}
    records = some.records(r for r, _ in (a_receipt(chance, known, seq) for seq in range(1, 30)) if r is not None)
    records[11][field] += 1
    with pytest.raises(Rejected) as refused:
        shares.add_up(records, bodies)
    assert refused.value.facts["seq"] == records[11]["seq"]
    with pytest.raises(Rejected, match="are missing"):
        shares.add_up(records, {})


@quick
@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([20, 50, 57]))
def test_levels_say_what_the_tree_says(count: int, seed: int, bits: int) -> None:
    chance = Random(seed)
    indexes = sorted(chance.sample(range(2 * count + 1), count))
    accounts = np.frombuffer(chance.randbytes(20 * count), np.uint8).reshape(-1, 20)
    amounts = [chance.randrange(1 << bits) for _ in indexes]
    leaves = fast.account_leaves(1, LANE, np.array(indexes, np.int64), accounts, np.array(amounts, np.int64))
    plain = [sum_tree.ZERO] * len(leaves)
    for index, account, amount in zip(indexes, accounts, amounts, strict=True):
        plain[index] = sum_tree.leaf(1, LANE, index, Address(account.tobytes()), amount)
    tree, levels = sum_tree.Tree.build(plain), fast.Levels.build(leaves)
    assert levels.root == tree.root
    assert (levels.height, levels.total) == (tree.height, tree.total)
    for index in indexes[:5]:
        assert levels.proof(index) == tree.proof(index)


@quick
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_receipt_and_line_leaves(count: int, seed: int) -> None:
    chance = Random(seed)
    digests = [keccak256(chance.randbytes(8)) for _ in range(count)]
    charges = [chance.randrange(1 << 40) for _ in range(count)]
    leaves = fast.receipt_leaves(LANE, _words(digests), np.array(charges, np.int64))
    plain = [sum_tree.receipt_leaf(LANE, digest, charge) for digest, charge in zip(digests, charges, strict=True)]
    assert [leaf.tobytes() for leaf in leaves] == plain
    rows = [(chance.randrange(2**31), chance.randrange(2**20), charge + 1) for charge in charges]
    parties, runs, paid = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    made = [leaf.tobytes() for leaf in fast.line_leaves(LANE, parties, runs, paid)]
    assert made == [sum_tree.line_leaf(LANE, *row) for row in rows]


@quick
@given(st.integers(0, 51), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_sparse_roots_are_those_of_the_plain_tree(height: int, count: int, seed: int) -> None:
    chance = Random(seed)
    places = sorted({chance.randrange(1 << height) for _ in range(count)})
    leaves = {at: sum_tree.line_leaf(LANE, 1, at & 0xFFFFF, chance.randrange(1, 1 << 40)) for at in places}
    builder, at = SparseRootBuilder(height), 0
    while at < len(places):
        end = at + chance.randint(1, 90)
        while end < len(places) and places[end] >> 6 == places[end - 1] >> 6:
            end += 1
        some = places[at:end]
        builder.add(np.array(some, np.uint64), _words([leaves[place] for place in some]).copy())
        at = end
    assert builder.root() == sum_tree.SparseTree.build(leaves, height).root


@pytest.mark.parametrize("sizes", [[0], [1], [63], [64], [65], [64, 64], [128, 5], [64, 64, 64, 1], [192, 0, 64, 33]])
def test_a_growing_tree_has_the_root_of_the_whole_one(sizes: list[int]) -> None:
    words = [sum_tree.receipt_leaf(LANE, keccak256(bytes((at >> 8, at & 255))), at) for at in range(sum(sizes))]
    tree, at = RootBuilder(), 0
    for size in sizes:
        tree.add(_words(words[at : at + size]))
        at += size
    assert tree.root() == sum_tree.Tree.build(words).root


def test_a_sum_above_64_bits_is_refused_by_both() -> None:
    leaves = [sum_tree.leaf(1, LANE, index, Address(bytes(20)), 2**64 - 1) for index in range(2)]
    with pytest.raises(Rejected, match="64 bits"):
        sum_tree.Tree.build(leaves)
    with pytest.raises(Rejected, match="64 bits"):
        fast.Levels.build(_words(leaves))


@quick
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_struct_hashes_of_records(count: int, seed: int) -> None:
    some_receipts = [some.a_receipt(Random(seed + at)) for at in range(count)]
    digests = receipt_hashes.struct_hashes(some.records(some_receipts))
    assert [digest.tobytes() for digest in digests] == [struct_hash(one) for one in some_receipts]


@quick
@given(st.integers(8, 33), st.lists(st.tuples(st.integers(0, 32), st.integers(0, 2)), max_size=60))
def test_groups_number_equal_rows_in_order_of_appearance(width: int, marks: list[tuple[int, int]]) -> None:
    rows = [bytes(value * (place % width == at) for at in range(width)) for place, value in marks]
    numbers, firsts = totals.group_rows(np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width))
    seen: list[bytes] = list(dict.fromkeys(rows))
    assert numbers.tolist() == [seen.index(row) for row in rows]
    assert firsts.tolist() == [rows.index(row) for row in seen]


def a_receipt(chance: Random, known: list[Terms], seq: int) -> tuple[Receipt | None, Terms]:
    """A receipt priced by one of the terms; None where they cannot price it."""
    terms, units = chance.choice(known), some.a_units(chance, 20)
    try:
        due = pricing.price(terms, units)
    except Rejected:
        return None, terms
    zero, gateway = Digest(bytes(32)), Address(b"\x09" * 20)
    consumer = Address(bytes(19) + bytes((chance.randint(1, 5),)))
    who = (keccak256(bytes((seq,))), zero, LANE, gateway, seq, consumer, terms_id(encode(terms)))
    return Receipt(*who, 0, 0, 0, due.price, due.charge, EndReason.normal, 1_000, units=units), terms


def _words(words: list[Digest] | list[bytes]) -> U8:
    return np.frombuffer(b"".join(words), np.uint8).reshape(-1, 32)
