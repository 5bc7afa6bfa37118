"""A lane's whole life through the typed client, on a real chain, and every event it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.errors import Reverted
from ledger.chain.reads import Chain
from ledger.core.settlement import events
from ledger.core.settlement.header import EMPTY_HEADER, Header
from ledger.core.values.ids import ZERO_DIGEST, Digest, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, PAYOUT_TAG, leaf, parent
from ledger.core.values.typed_data import Signer
from tests import builders as b
from tests.conftest import an_anvil

OPERATOR, CONSUMER, PAYEE = (Signer(bytes(31) + bytes((n,))) for n in (1, 2, 3))
FUNDS_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
FUNDS = Signer(FUNDS_KEY)
EMPTY = bytes(32)
WINDOW = 60


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with an_anvil() as url:
        chain = Chain(url, deploy(url, FUNDS, Parameters(60), tmp_path))
        for who in (OPERATOR, CONSUMER, PAYEE):
            chain.rpc("anvil_setBalance", to_hex(who.address), hex(10**20))
            chain.transact(FUNDS, chain.calls.transfer(who.address, 10**12))
            chain.transact(who, chain.calls.approve(chain.calls.settlement, 10**18))
        yield chain


def wait(chain: Chain, seconds: int) -> None:
    chain.rpc("evm_increaseTime", seconds)
    chain.rpc("evm_mine")


def a_header(charge: int, payee_index: int = 1, consumer_index: int = 1) -> Header:
    """One receipt that charges the only consumer for the only payee."""
    payout = parent(EMPTY, leaf(PAYOUT_TAG, payee_index, PAYEE.address, charge))
    debit = parent(EMPTY, leaf(DEBIT_TAG, consumer_index, CONSUMER.address, charge))
    receipts, lines = (Digest(bytes(24) + total.to_bytes(8, "big")) for total in (charge, 2 * charge))
    header = replace(EMPTY_HEADER, receipts_root=receipts, lines_root=lines, calls=1)
    return replace(header, payout_root=Digest(payout), debit_root=Digest(debit))


def test_a_lane_lives_from_bond_to_withdrawal(chain: Chain) -> None:
    calls, consumer, payee = chain.calls, CONSUMER.address, PAYEE.address
    chain.transact(FUNDS, calls.register_payee(payee))
    chain.transact(OPERATOR, calls.open_lane(WINDOW, 60, 10**9))
    chain.transact(CONSUMER, calls.deposit(b.LANE, consumer, 1_000))
    chain.transact(CONSUMER, calls.request_withdraw(b.LANE))
    wait(chain, 1)
    header = a_header(300)
    chain.transact(OPERATOR, calls.commit(b.LANE, header))
    with pytest.raises(Reverted, match="WindowOpen"):
        chain.transact(FUNDS, calls.finalize(b.LANE, 1, header))
    wait(chain, WINDOW)
    chain.transact(FUNDS, calls.finalize(b.LANE, 1, header))
    chain.transact(FUNDS, calls.claim(b.LANE, 1, payee, 300, [EMPTY]))
    chain.transact(FUNDS, calls.withdraw(b.LANE, consumer, 300, [EMPTY]))

    assert chain.balance(payee) == 10**12 + 300
    assert chain.balance(consumer) == 10**12 - 300
    assert chain.balance(calls.settlement) == 10**9
    head, account = chain.head(b.LANE), chain.account(b.LANE, consumer)
    assert (head.cumulative, head.next, head.finalized, head.calls) == (300, 2, 1, 1)
    assert (account.deposited, account.withdrawn, account.requested_at) == (1_000, 700, 0)
    assert (chain.claimed(b.LANE, 1), chain.lane(b.LANE).net, chain.payee_index(payee)) == (300, 300, 1)
    said = [log.event for log in chain.logs(0, chain.tip())]
    assert said[-7:] == [
        events.LaneOpened(b.LANE, OPERATOR.address, WINDOW, 60, 10**9),
        events.Deposited(b.LANE, consumer, 1, 1_000),
        events.WithdrawRequested(b.LANE, consumer),
        events.Committed(b.LANE, 1, header.hash),
        events.Finalized(b.LANE, 1),
        events.Claimed(b.LANE, 1, payee, 300),
        events.Withdrawn(b.LANE, consumer, 700),
    ]


def test_a_batch_that_does_not_add_up_is_refused_in_the_contracts_words(chain: Chain) -> None:
    chain.transact(OPERATOR, chain.calls.open_lane(WINDOW, 60, 10**9))
    chain.transact(CONSUMER, chain.calls.deposit(b.LANE, CONSUMER.address, 1_000))
    honest = a_header(300)
    lines = replace(honest, lines_root=honest.receipts_root)
    with pytest.raises(Reverted, match=r"LinesDiffer\(lines=300, expected=600\)"):
        chain.transact(OPERATOR, chain.calls.commit(b.LANE, lines))
    with pytest.raises(Reverted, match="TotalsDiffer"):
        chain.transact(OPERATOR, chain.calls.commit(b.LANE, replace(honest, payout_root=ZERO_DIGEST)))
    with pytest.raises(Reverted, match=r"Insolvent\(total=1000000000000, held=1000001000\)"):
        chain.transact(OPERATOR, chain.calls.commit(b.LANE, a_header(10**12)))
    with pytest.raises(Reverted, match="NotOperator"):
        chain.transact(FUNDS, chain.calls.commit(b.LANE, honest))
