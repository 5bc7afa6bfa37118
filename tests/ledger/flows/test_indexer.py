"""Indexing: once per log, behind the confirmations, and back again when the chain changes its mind."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core.accounts.accounts import CUSTODY, available, claimable, withdrawing
from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement import events
from ledger.core.settlement.header import EMPTY_HEADER
from ledger.core.values.errors import Conflict
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest
from ledger.flows import indexer
from ledger.flows.indexer import Network
from ledger.store.chain import bids, chain_time, lanes, parties
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from tests import builders as b
from tests.fakechain import FakeChain

NETWORK = Network(chain_id=31337, lane=b.LANE, start_block=0, confirmations=2, epoch_seconds=100)
DEPOSIT = events.Deposited(b.LANE, b.ALICE, 1, 500)


def index(engine: Engine, chain: FakeChain, network: Network = NETWORK) -> int:
    """Index until nothing is left."""
    total = 0
    while True:
        with unit_of_work(engine) as session:
            done = indexer.index_next(session, chain, network, now=1)
        total += done
        if not done:
            return total


def see(engine: Engine, chain: FakeChain, *happened: events.Event, **block: Any) -> None:
    """Mine a block with these events and index it, without waiting for others upon it."""
    chain.mine(*happened, **block)
    index(engine, chain, replace(NETWORK, confirmations=0))


def balance(engine: Engine, name: str) -> int:
    """An account's balance."""
    with unit_of_work(engine) as session:
        return postings.balance(session, b.LANE, name)


def test_a_deposit_counts_once_it_has_its_confirmations(engine: Engine) -> None:
    chain = FakeChain()
    chain.mine(DEPOSIT)
    chain.mine()
    index(engine, chain)
    assert balance(engine, available(b.ALICE)) == 0
    chain.mine()
    index(engine, chain)
    assert balance(engine, available(b.ALICE)) == balance(engine, CUSTODY) == 500
    index(engine, chain)
    assert balance(engine, available(b.ALICE)) == 500
    with unit_of_work(engine) as session:
        consumer = lanes.get_consumer(session, b.LANE, b.ALICE)
        assert consumer == lanes.Consumer(b.LANE, b.ALICE, 1, 500)
        assert chain_time.get(session) == chain.blocks[1].block


def test_another_lanes_deposit_is_not_our_money(engine: Engine) -> None:
    chain = FakeChain()
    see(engine, chain, replace(DEPOSIT, lane=b.OTHER_LANE))
    assert balance(engine, CUSTODY) == 0


def test_ranges_are_read_in_spans(engine: Engine) -> None:
    chain = FakeChain()
    for _ in range(9):
        chain.mine(DEPOSIT)
    assert index(engine, chain, replace(NETWORK, span=3)) == 8
    assert balance(engine, available(b.ALICE)) == 7 * 500


def test_a_deposit_that_moves_to_another_block_is_never_missed(engine: Engine) -> None:
    chain = FakeChain()
    same = keccak256(b"the same transaction")
    see(engine, chain, DEPOSIT, transaction=same)
    with unit_of_work(engine) as session:
        b.lease(session, b.ALICE, 500)
    chain.fork(1)
    chain.mine()
    see(engine, chain, DEPOSIT, transaction=same)
    assert balance(engine, CUSTODY) == 500
    with unit_of_work(engine) as session:
        assert lanes.consumers(session, b.LANE)[b.ALICE].deposited == 500


def test_a_deposit_the_chain_takes_back_is_taken_back_and_may_return(engine: Engine) -> None:
    chain = FakeChain()
    same = keccak256(b"the same transaction")
    see(engine, chain, DEPOSIT, transaction=same)
    chain.fork(1)
    see(engine, chain)
    assert balance(engine, CUSTODY) == balance(engine, available(b.ALICE)) == 0
    with unit_of_work(engine) as session:
        assert lanes.consumers(session, b.LANE) == {}
    see(engine, chain, DEPOSIT, transaction=same)
    assert balance(engine, CUSTODY) == balance(engine, available(b.ALICE)) == 500


def test_a_consumer_that_leaves_is_set_aside_and_paid(engine: Engine) -> None:
    chain = FakeChain()
    see(engine, chain, DEPOSIT)
    with unit_of_work(engine) as session:
        b.lease(session, b.ALICE, 200)
    see(engine, chain, events.WithdrawRequested(b.LANE, b.ALICE, True))
    assert (balance(engine, available(b.ALICE)), balance(engine, withdrawing(b.ALICE))) == (0, 300)
    with unit_of_work(engine) as session:
        b.release(session, b.ALICE, 200)
        assert indexer.set_aside(session, b.LANE, now=2) == 200
    see(engine, chain, events.Withdrawn(b.LANE, b.ALICE, 500, False))
    assert (balance(engine, withdrawing(b.ALICE)), balance(engine, CUSTODY)) == (0, 0)


def test_claims_leave_custody(engine: Engine) -> None:
    chain = FakeChain()
    see(engine, chain, DEPOSIT)
    with unit_of_work(engine) as session:
        b.earn(session, b.ALICE, b.MAKER, 120)
    see(engine, chain, events.Claimed(b.LANE, 3, b.MAKER, 100))
    assert (balance(engine, claimable(b.MAKER)), balance(engine, CUSTODY)) == (20, 400)
    with unit_of_work(engine) as session:
        assert lanes.claimed(session, b.LANE) == {3: 100}


def test_parties_stakes_keys_and_lanes_are_mirrored(engine: Engine) -> None:
    chain = FakeChain()
    see(
        engine,
        chain,
        events.PayeeRegistered(7, b.MAKER),
        events.StakeChanged(b.COMPUTE, 900, 100, 55),
        events.SessionKeySet(b.ALICE, b.BOB),
        events.SessionKeySet(b.ALICE, b.MAKER),
        events.SessionKeyRevoked(b.ALICE, b.MAKER, 5_000),
        events.LaneOpened(b.LANE, b.OPERATOR, 60, 30, 2, 7),
        events.GatewayAdded(b.LANE, b.GATEWAY.address, 1),
        events.UrlSet(b.LANE, "https://lane.example"),
        events.Fell(b.LANE, 1, 2, b.BOB),
        events.BondChanged(b.LANE, 2_000),
        events.LaneActive(b.LANE, False),
    )
    with unit_of_work(engine) as session:
        assert parties.index_of(session, b.MAKER) == 7
        assert parties.stakes(session)[b.COMPUTE] == parties.Stake(b.COMPUTE, 900, 100, 55)
        assert parties.signers_of(session, b.ALICE) == {b.ALICE, b.BOB}
        known = lanes.Lane(
            lane=b.LANE,
            operator=b.OPERATOR,
            window=60,
            answer_time=30,
            leverage=2,
            min_deposit=7,
            bond=2_000,
            era=2,
            active=False,
            url="https://lane.example",
        )
        assert lanes.get(session, b.LANE) == known
        assert lanes.gateways(session, b.LANE) == {b.GATEWAY.address: 1}


def test_the_book_of_an_epoch_is_frozen_when_chain_time_enters_it(engine: Engine) -> None:
    chain = FakeChain()  # the first block is at 1,000 s: epoch 10
    model = Digest(b"\x07" * 32)
    see(engine, chain, events.BidPlaced(model, Role.compute, b.COMPUTE, Bid(0, b.ASKS), 11, 35))
    with unit_of_work(engine) as session:
        frozen = bids.book(session, 10)
        assert frozen is not None
        assert frozen.bid(model, Role.compute, b.COMPUTE) is None
        assert bids.book(session, 11) is None
    see(engine, chain, seconds=200)
    with unit_of_work(engine) as session:
        assert bids.latest_epoch(session) == 12
        frozen = bids.book(session, 12)
        assert frozen is not None
        assert frozen.bid(model, Role.compute, b.COMPUTE) == Bid(0, b.ASKS)
        assert bids.root(session, 11) == frozen.root


def test_a_batch_we_did_not_build_wakes_a_person(engine: Engine) -> None:
    chain = FakeChain()
    chain.mine(events.Committed(b.LANE, 1, replace(EMPTY_HEADER, data_ref=keccak256(b"whose?")), 100))
    with pytest.raises(Conflict, match="did not build"):
        index(engine, chain, replace(NETWORK, confirmations=0))


def test_a_chain_that_does_not_answer_changes_nothing(engine: Engine) -> None:
    chain = FakeChain()
    chain.mine(DEPOSIT)
    chain.down = True
    with pytest.raises(Exception, match="does not answer"):
        index(engine, chain)
    assert balance(engine, CUSTODY) == 0
