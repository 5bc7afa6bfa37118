"""x402's `upto` on a chain with our token and lanes, by the payload of the stock client: why an account of the
operator's own advances it (`docs/decisions/gateway.md`).

The contracts of others are not part of this project. `TOLLWAY_X402_CONTRACTS` names a folder with the code that is at
their fixed addresses, a file `0xADDRESS.hex` each, as `eth_getCode` of a public chain answers it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from x402.mechanisms.evm.constants import PERMIT2_ADDRESS, X402_UPTO_PERMIT2_PROXY_ADDRESS
from x402.mechanisms.evm.upto import UptoEvmScheme
from x402.schemas import PaymentRequirements

from ledger.chain.abi import encode
from ledger.chain.errors import Reverted
from ledger.core.settlement.transactions import Call
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, address, to_hex
from ledger.core.values.typed_data import Signer
from tests.ledger.chain.conftest import FUNDS, Stage

FOLDER = os.environ.get("TOLLWAY_X402_CONTRACTS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="TOLLWAY_X402_CONTRACTS names no folder with x402's contracts")
MOST, PRICE, TOKENS = 1_000, 115, 10**6
PERMIT = "((address,uint256),uint256,uint256)"
SETTLE = (PERMIT, "uint256", "address", "(address,address,uint256)", "bytes")
SELECTOR = keccak256(f"settle({','.join(SETTLE)})".encode())[:4]


@pytest.fixture
def payer(stage: Stage) -> LocalAccount:
    """An account with tokens that Permit2 may move."""
    chain = stage.chain
    for page in Path(FOLDER).glob("0x*.hex"):
        chain.rpc("anvil_setCode", page.stem, page.read_text().strip())
    account: LocalAccount = Account.create()
    chain.rpc("anvil_setBalance", account.address, hex(10**18))
    chain.transact(FUNDS, chain.calls.transfer(party(account), TOKENS))
    chain.transact(Signer(bytes(account.key)), chain.calls.approve(address(PERMIT2_ADDRESS.lower()), 2**256 - 1))
    return account


def party(account: LocalAccount) -> Address:
    return address(account.address.lower())


def permitted(stage: Stage, payer: LocalAccount, payee: Address) -> Mapping[str, Any]:
    """What the stock client signs to pay a payee at most `MOST`, as the operator says."""
    token = stage.chain.deployment
    asked = PaymentRequirements(
        scheme="upto",
        network=f"eip155:{token.chain_id}",
        asset=token.token,
        amount=str(MOST),
        pay_to=to_hex(payee),
        max_timeout_seconds=900,
        extra={"name": token.token_name, "version": token.token_version, "facilitatorAddress": to_hex(FUNDS.address)},
    )
    return UptoEvmScheme(payer).create_payment_payload(asked)  # type: ignore[arg-type]  # it wraps an account itself


def settle(signed: Mapping[str, Any], amount: int) -> Call:
    """The transaction that takes an amount of what was signed."""
    permit = signed["permit2Authorization"]
    tokens, witness = permit["permitted"], permit["witness"]
    values = (
        ((tokens["token"], int(tokens["amount"])), int(permit["nonce"]), int(permit["deadline"])),
        amount,
        permit["from"],
        (witness["to"], witness["facilitator"], int(witness["validAfter"])),
        bytes.fromhex(signed["signature"].removeprefix("0x")),
    )
    return address(X402_UPTO_PERMIT2_PROXY_ADDRESS.lower()), SELECTOR + encode(SETTLE, values)


def test_the_price_is_settled_once_and_by_the_facilitator_alone(stage: Stage, payer: LocalAccount) -> None:
    chain, wallet = stage.chain, Address(b"\x77" * 20)
    signed = permitted(stage, payer, wallet)
    for sender, amount in ((FUNDS, MOST + 1), (stage.key(stage.auditor), PRICE)):
        with pytest.raises(Reverted):
            chain.transact(sender, settle(signed, amount))
    chain.transact(FUNDS, settle(signed, PRICE))
    with pytest.raises(Reverted):
        chain.transact(FUNDS, settle(signed, 1))
    assert (chain.balance(wallet), chain.balance(party(payer))) == (PRICE, TOKENS - PRICE)


def test_what_a_payer_moves_away_meanwhile_cannot_be_settled(stage: Stage, payer: LocalAccount) -> None:
    chain = stage.chain
    signed = permitted(stage, payer, Address(b"\x77" * 20))
    chain.transact(Signer(bytes(payer.key)), chain.calls.transfer(FUNDS.address, TOKENS))
    with pytest.raises(Reverted):
        chain.transact(FUNDS, settle(signed, PRICE))


def test_what_is_settled_to_a_lane_is_nobodys_deposit(stage: Stage, payer: LocalAccount) -> None:
    chain = stage.chain
    before = chain.balance(stage.lane)
    chain.transact(FUNDS, settle(permitted(stage, payer, stage.lane), PRICE))
    assert chain.balance(stage.lane) == before + PRICE
    assert chain.account(stage.lane, party(payer)).deposited == 0
