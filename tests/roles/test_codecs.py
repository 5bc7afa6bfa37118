"""The commands' way to the contracts: what does not fit is refused, and a stranger's answer never breaks a command."""

import contextlib
from typing import Any

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

import contracts
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Signer
from roles.wallet import transactions
from roles.wallet.abi import Contract, Entry

SECRET = bytes(range(1, 33))


def a_contract(*entries: Entry) -> Contract:
    """A contract with these functions."""
    return Contract("Any", Address(bytes(20)), entries)


def taking(kind: str, *outputs: str) -> Contract:
    """A contract whose function `take` takes one value and answers with these."""
    told = [{"name": str(place), "type": one} for place, one in enumerate(outputs)]
    return a_contract(
        {"type": "function", "name": "take", "inputs": [{"name": "value", "type": kind}], "outputs": told}
    )


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("uint64", 2**64),
        ("uint64", -1),
        ("bytes32", bytes(31)),
        ("bytes32", bytes(33)),
        ("address", bytes(19)),
        ("uint64[6]", (1, 2)),
    ],
)
def test_what_does_not_fit_is_refused(type: str, value: object) -> None:
    with pytest.raises(Rejected):
        taking(type).encode("take", [value])


@given(st.binary(max_size=200))
def test_an_answer_of_another_contract_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        taking("bool", "address", "uint64[]", "string", "bytes").decode("take", data)


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.binary(max_size=100))
def test_a_transaction_is_signed_as_everybody_signs_it(wei: int, gas: int, data: bytes) -> None:
    fields: list[Any] = [31337, 7, 10**9, 2 * 10**9, gas, Address(b"\x11" * 20), wei, data, []]
    raw = transactions.signed(Signer(SECRET), fields)
    assert Account.recover_transaction(raw).lower() == to_hex(Signer(SECRET).address)
    chain, nonce, tip, most, limit, to, value, body, access, *_ = rlp.decode(raw[1:])
    assert (to, body, list(access)) == (b"\x11" * 20, data, [])
    told = tuple(int.from_bytes(one, "big") for one in (chain, nonce, tip, most, limit, value))
    assert told == (31337, 7, 10**9, 2 * 10**9, gas, wei)


@pytest.mark.parametrize("name", ["AICoin", "Settlement", "StakeVault", "BidBook", "Registry"])
def test_every_type_of_our_contracts_is_known(name: str) -> None:
    from eth_abi.abi import is_encodable_type

    from roles.wallet.abi import _type

    for entry in contracts.load(name).abi:
        for row in (*entry.get("inputs", ()), *entry.get("outputs", ())):
            assert is_encodable_type(_type(row))
