"""The commands' own ABI and RLP say what everybody else's do."""

import contextlib
from typing import Any

import pytest
import rlp as theirs
from eth_abi.abi import decode, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contracts
from ledger.core.errors import Rejected
from roles import rlp, words

LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=70),
    "bytes32": st.binary(min_size=32, max_size=32),
    "int256": st.integers(-(2**255), 2**255 - 1),
    "string": st.text("aé€😀", max_size=20),
    "uint8": st.integers(0, 255),
    "uint64": st.integers(0, 2**64 - 1),
}
Typed = tuple[str, st.SearchStrategy[Any]]


def arrays(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Lists, fixed arrays and tuples of something."""
    return st.one_of(
        inner.map(lambda one: (f"{one[0]}[]", st.lists(one[1], max_size=3).map(tuple))),
        inner.map(lambda one: (f"{one[0]}[2]", st.tuples(one[1], one[1]))),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda rows: (f"({','.join(row[0] for row in rows)})", st.tuples(*(row[1] for row in rows)))
        ),
    )


TYPED = st.recursive(st.sampled_from(sorted(LEAVES)).map(lambda name: (name, LEAVES[name])), arrays, max_leaves=6)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_words_are_those_of_eth_abi(data: st.DataObject) -> None:
    rows = data.draw(st.lists(TYPED, min_size=1, max_size=4))
    types, values = [row[0] for row in rows], [data.draw(row[1]) for row in rows]
    packed = encode(types, values)
    assert words.encode(types, values) == packed
    assert words.decode(types, packed) == decode(types, packed) == tuple(values)


ITEMS = st.recursive(st.integers(0, 2**256) | st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4))


@given(ITEMS)
def test_a_transaction_is_written_as_everybody_writes_it(item: rlp.Item) -> None:
    assert rlp.encode(item) == theirs.encode(item)


@pytest.mark.parametrize(
    ("type", "value"),
    [("uint64", 2**64), ("uint64", -1), ("bytes32", bytes(31)), ("address", bytes(19)), ("uint64[6]", (1, 2))],
)
def test_what_does_not_fit_is_refused(type: str, value: object) -> None:
    with pytest.raises(Rejected):
        words.encode([type], [value])


@given(st.binary(max_size=200))
def test_an_answer_of_another_contract_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        words.decode(["(address,uint64[],string)", "bytes"], data)


@pytest.mark.parametrize("name", ["AICoin", "Settlement", "StakeVault", "BidBook", "Registry"])
def test_every_type_of_our_contracts_is_known(name: str) -> None:
    from roles.abi import _type

    for entry in contracts.load(name).abi:
        for row in (*entry.get("inputs", ()), *entry.get("outputs", ())):
            words.kind(_type(row)).head  # noqa: B018
