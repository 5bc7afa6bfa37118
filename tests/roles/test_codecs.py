"""The one ABI coder and the one signer: what does not fit is refused, and no answer of a stranger breaks a command."""

import contextlib
from typing import Any

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

import contracts
from ledger.chain.abi import Interface, interface
from ledger.chain.rpc import sign_transaction
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Signer

SECRET = bytes(range(1, 33))


def taking(kind: str, *outputs: str) -> Interface:
    """A contract whose function `take` takes one value and answers with these."""
    answers = [{"name": str(place), "type": one} for place, one in enumerate(outputs)]
    inputs = [{"name": "value", "type": kind}]
    return Interface([{"type": "function", "name": "take", "inputs": inputs, "outputs": answers}])


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
        taking(type).call_data("take", value)


@given(st.binary(max_size=200))
def test_an_answer_of_another_contract_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        taking("bool", "address", "uint64[]", "string", "bytes").result("take", 1, data)


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.binary(max_size=100))
def test_a_transaction_is_signed_as_everybody_signs_it(wei: int, gas: int, data: bytes) -> None:
    fields: dict[str, Any] = {"chainId": 31337, "nonce": 7, "to": Address(b"\x11" * 20), "value": wei, "data": data}
    fees = {"maxPriorityFeePerGas": 10**9, "maxFeePerGas": 2 * 10**9, "gas": gas}
    raw, hashed = sign_transaction(Signer(SECRET), fields | fees)
    assert hashed == keccak256(raw)
    assert raw == bytes(Account.sign_transaction({**fields, **fees, "type": 2}, SECRET).raw_transaction)
    assert Account.recover_transaction(raw).lower() == to_hex(Signer(SECRET).address)
    chain, nonce, tip, most, limit, to, value, body, access, *_ = rlp.decode(raw[1:])
    assert (to, body, list(access)) == (b"\x11" * 20, data, [])
    told = tuple(int.from_bytes(one, "big") for one in (chain, nonce, tip, most, limit, value))
    assert told == (31337, 7, 10**9, 2 * 10**9, gas, wei)


@pytest.mark.parametrize("name", ["AICoin", "Settlement", "StakeVault", "BidBook", "Registry"])
def test_every_type_of_our_contracts_is_known(name: str) -> None:
    from eth_abi.abi import is_encodable_type

    known = interface(name)
    entries = [
        *known.events.values(),
        *known.errors.values(),
        *(one for row in known.functions.values() for one in row),
    ]
    assert len(entries) == sum(entry["type"] in ("function", "event", "error") for entry in contracts.load(name).abi)
    for entry in entries:
        assert all(is_encodable_type(kind) for kind in (*entry.types, *entry.outputs))
