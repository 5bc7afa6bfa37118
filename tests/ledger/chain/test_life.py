"""A lane's whole life through the typed client, on a real chain, and every event it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.chain.calls import LaneTerms
from ledger.chain.errors import Reverted
from ledger.chain.reads import Books, Chain
from ledger.core.settlement import events
from ledger.core.settlement.header import EMPTY_HEADER, Header, Range, gateways_tree, heights_for
from ledger.core.values.ids import Lane, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, PAYOUT_TAG, ZERO, leaf, parent, tree_node
from ledger.core.values.typed_data import Signer
from tests.ledger.chain.conftest import FUNDS, a_chain, open_lane

OPERATOR, CONSUMER, PAYEE = (Signer(bytes(31) + bytes((n,))) for n in (1, 2, 3))
EMPTY = bytes(32)
WINDOW = 3_600
TERMS = LaneTerms(WINDOW, 60)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with a_chain(tmp_path, 60) as chain:
        for who in (OPERATOR, CONSUMER, PAYEE):
            chain.rpc("anvil_setBalance", to_hex(who.address), hex(10**20))
            chain.transact(FUNDS, chain.calls.transfer(who.address, 10**12))
            for taker in (chain.calls.settlement, chain.calls.consumers):
                chain.transact(who, chain.calls.approve(taker, 10**18))
        yield chain


def wait(chain: Chain, seconds: int) -> None:
    chain.rpc("evm_increaseTime", seconds)
    chain.rpc("evm_mine")


def a_header(chain: Chain, lane: Lane, charge: int, payee_index: int = 1, consumer_index: int = 1) -> Header:
    """One receipt that charges the only consumer for the only payee, closed now."""
    block = chain.block()
    assert block is not None
    receipts, lines = (tree_node(bytes(24), charge) for _ in range(2))
    return replace(
        EMPTY_HEADER,
        era=chain.lane(lane).era,
        closed_at=block.timestamp,
        heights=heights_for(calls=1, payees=payee_index, consumers=consumer_index, gateways=1),
        receipts_root=receipts,
        payout_root=parent(EMPTY, leaf(PAYOUT_TAG, lane, payee_index, PAYEE.address, charge)),
        debit_root=parent(EMPTY, leaf(DEBIT_TAG, lane, consumer_index, CONSUMER.address, charge)),
        lines_root=lines,
        gateways_root=gateways_tree(lane, [Range(1, OPERATOR.address, 1, 1)]).root,
    )


def test_a_lane_lives_from_bond_to_withdrawal(chain: Chain) -> None:
    calls, consumer, payee = chain.calls, CONSUMER.address, PAYEE.address
    chain.transact(FUNDS, calls.register_payee(payee))
    lane = open_lane(chain, OPERATOR, TERMS, 10**9)
    chain.transact(CONSUMER, calls.deposit(lane, consumer, 1_000))
    chain.transact(CONSUMER, calls.to("Consumers", "requestWithdraw", lane))
    wait(chain, 1)
    header = a_header(chain, lane, 300)
    until = committed_until(chain, chain.transact(OPERATOR, calls.commit(lane, header)).block)
    with pytest.raises(Reverted, match="WindowOpen"):
        chain.transact(FUNDS, calls.finalize(lane, 1, header))
    wait(chain, WINDOW)
    chain.transact(FUNDS, calls.finalize(lane, 1, header))
    chain.transact(FUNDS, calls.claim(lane, 1, payee, 300, [EMPTY]))
    chain.transact(FUNDS, calls.withdraw(lane, consumer, 300, [EMPTY]))

    assert chain.balance(payee) == 10**12 + 300
    assert chain.balance(consumer) == 10**12 - 300
    assert (chain.balance(calls.settlement), chain.balance(lane)) == (10**9, 0)
    head, account = chain.head(lane), chain.account(lane, consumer)
    assert (head.total, head.next, head.finalized, head.consumers) == (300, 2, 1, 1)
    assert (head.final_closed_at, head.last_closed_at) == (header.closed_at, header.closed_at)
    assert (account.deposited, account.withdrawn, account.requested_at) == (1_000, 700, 0)
    assert (account.left_at, account.debit_at_exit) == (header.closed_at, 300)
    assert (chain.claimed(lane, 1), chain.payee_index(payee)) == (300, 1)
    assert chain.books(lane) == Books(net=300, settled=300, paid=300, bond=10**9)
    said = [log.event for log in chain.logs(0, chain.tip())]
    assert said[-9:] == [
        events.LaneOpened(lane, OPERATOR.address, WINDOW, 60, 1, 0),
        events.BondChanged(lane, 10**9),
        events.LaneActive(lane, True),
        events.Deposited(lane, consumer, 1, 1_000),
        events.WithdrawRequested(lane, consumer, leaves=True),
        events.Committed(lane, 1, header, until),
        events.Finalized(lane, 1),
        events.Claimed(lane, 1, payee, 300),
        events.Withdrawn(lane, consumer, 700, escaped=False),
    ]


def committed_until(chain: Chain, block: int | None) -> int:
    """The end of the window of a batch committed in a block."""
    mined = chain.block(block)
    assert mined is not None
    return mined.timestamp + WINDOW


def test_a_batch_that_does_not_add_up_is_refused_in_the_contracts_words(chain: Chain) -> None:
    lane = open_lane(chain, OPERATOR, TERMS, 10**9)
    chain.transact(CONSUMER, chain.calls.deposit(lane, CONSUMER.address, 1_000))
    honest = a_header(chain, lane, 300)
    lines = replace(honest, lines_root=tree_node(bytes(24), 600))
    with pytest.raises(Reverted, match=r"LinesDiffer\(lines=600, expected=300\)"):
        chain.transact(OPERATOR, chain.calls.commit(lane, lines))
    with pytest.raises(Reverted, match="TotalsDiffer"):
        chain.transact(OPERATOR, chain.calls.commit(lane, replace(honest, payout_root=ZERO)))
    with pytest.raises(Reverted, match=r"AboveNet\(total=1001, net=1000\)"):
        chain.transact(OPERATOR, chain.calls.commit(lane, a_header(chain, lane, 1_001)))
    with pytest.raises(Reverted, match="NotOperator"):
        chain.transact(FUNDS, chain.calls.commit(lane, honest))
