"""Movements and their postings: balanced, once by cause, never overdrawn; the frozen book, routing and bonds."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.accounts import movements, postings
from ledger.core.accounts.accounts import CUSTODY, accrued, available, claimable, leased, withdrawing
from ledger.core.accounts.postings import Balance, Kind, Posting, Transaction
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing import epochs, routing
from ledger.core.pricing.epochs import BidInForce
from ledger.core.pricing.routing import Candidate
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import Address, Digest, to_hex
from tests.builders import applied
from tests.rates import asks

LANE = Address(bytes(19) + b"\1")
ALICE, BOB, GATEWAY, MAKER = (Address(bytes((n,)) * 20) for n in (1, 2, 3, 4))
quick = settings(max_examples=80, deadline=None, database=None, derandomize=True)


def test_a_life_of_money_from_deposit_to_withdrawal() -> None:
    earned = {(MAKER, Role.maker): 200, (GATEWAY, Role.gateway): 50}
    life = [
        movements.deposit(LANE, b"log 1", ALICE, 1_000, 0),
        movements.lease(LANE, b"lease 1", ALICE, GATEWAY, 600, 0),
        movements.charge(
            LANE, b"chunk 1", {(ALICE, GATEWAY): 250}, {(MAKER, Role.maker): 200, (GATEWAY, Role.gateway): 50}, 0
        ),
        movements.release(LANE, b"lease 1", ALICE, GATEWAY, 350, 0),
        movements.settle(LANE, b"batch 1", earned, 0),
        movements.claim(LANE, b"log 2", MAKER, 200, 0),
        movements.request_withdrawal(LANE, b"log 3", ALICE, 750, 0),
        movements.withdraw(LANE, b"log 4", ALICE, 700, 50, 0),
    ]
    balances: dict[str, Balance] = {}
    for transaction in life:
        balances |= applied(balances, transaction)
    left = {name: postings.balance(name, entries) for name, entries in balances.items()}
    assert {name: amount for name, amount in left.items() if amount} == {
        CUSTODY: 100,
        available(ALICE): 50,
        claimable(GATEWAY): 50,
    }
    assert left[leased(ALICE, GATEWAY)] == left[withdrawing(ALICE)] == left[accrued(MAKER, Role.maker)] == 0


def test_no_account_is_overdrawn() -> None:
    balances = applied({}, movements.deposit(LANE, b"log", ALICE, 10, 0))
    with pytest.raises(Rejected, match="is short by 5 atoms") as refused:
        applied(balances, movements.lease(LANE, b"lease", ALICE, GATEWAY, 15, 0))
    lease = movements.lease(LANE, b"lease", ALICE, GATEWAY, 15, 0)
    assert refused.value.facts == {"account": available(ALICE), "short_by": 5, "transaction": to_hex(lease.id)}
    funded = {available(ALICE): Balance(0, 1)}
    with pytest.raises(Rejected, match="custody is short"):
        applied(funded, Transaction(LANE, Kind.claim, b"", (Posting(available(ALICE), CUSTODY, 1),), 0))


def test_the_same_cause_is_the_same_transaction_and_other_content_a_conflict() -> None:
    first, again = movements.deposit(LANE, b"log", ALICE, 10, 0), movements.deposit(LANE, b"log", ALICE, 10, 99)
    other = movements.deposit(LANE, b"log", ALICE, 11, 0)
    assert first.id == again.id == other.id
    postings.repeated(first.digest, again)
    with pytest.raises(Conflict):
        postings.repeated(first.digest, other)
    assert movements.lease(LANE, b"log", ALICE, GATEWAY, 10, 0).id != first.id


@quick
@given(st.integers(0, 2**32 - 1))
def test_a_charge_carries_both_sides_with_few_postings(seed: int) -> None:
    chance = Random(seed)
    spent = {(_party(chance), _party(chance)): chance.randrange(100) for _ in range(6)}
    total, earned = sum(spent.values()), {}
    for role in Role:
        part = chance.randint(0, total)
        earned[_party(chance), role] = part
        total -= part
    earned[MAKER, Role.maker] = earned.get((MAKER, Role.maker), 0) + total
    charge = movements.charge(LANE, b"chunk", spent, earned, 0)
    effect = postings.effect(charge.postings)
    assert {name: entries.debits for name, entries in effect.items() if entries.debits} == {
        leased(*who): amount for who, amount in spent.items() if amount
    }
    assert {name: entries.credits for name, entries in effect.items() if entries.credits} == {
        accrued(*who): amount for who, amount in earned.items() if amount
    }
    assert len(charge.postings) < max(1, len(effect))
    undone = movements.correct(charge, 1)
    after = postings.effect((*charge.postings, *undone.postings))
    assert all(entries.debits == entries.credits for entries in after.values())
    assert undone.reverses == charge.id


def test_a_charge_that_does_not_balance_is_refused() -> None:
    with pytest.raises(Rejected, match="takes 5 atoms and gives 4"):
        movements.charge(LANE, b"", {(ALICE, GATEWAY): 5}, {(MAKER, Role.maker): 4}, 0)
    for wrong in (0, -1, 1.5, 2**63):
        with pytest.raises(Rejected):
            Posting("custody", "x", wrong)  # type: ignore[arg-type]


def test_a_lower_bid_enters_next_epoch_a_raise_one_later_and_silence_is_exit() -> None:
    low, high = Bid(100, asks(call=1)), Bid(100, asks(call=2))
    subject = Digest(b"\x05" * 32)

    def after(bid: Bid, first: int = 5, role: Role = Role.compute) -> BidInForce:
        return BidInForce(subject, role, ALICE, bid, first, epochs.lapse(role, first))

    assert epochs.place(Role.compute, None, low, 7) == (8, 32)
    assert epochs.place(Role.compute, after(high), low, 7) == (8, 32)
    assert epochs.place(Role.compute, after(high, 9), low, 7) == (9, 33), "not before the bid it replaces"
    assert epochs.place(Role.compute, after(low), high, 7) == (9, 33)
    assert epochs.place(Role.compute, after(low), Bid(101, asks()), 7) == (9, 33)
    assert epochs.place(Role.compute, after(low), high, 29) == (30, 54), "the last one has lapsed"
    assert epochs.place(Role.maker, None, low, 7) == (8, epochs.NEVER)
    assert epochs.place(Role.maker, after(low, role=Role.maker), high, 10**6) == (10**6 + 2, epochs.NEVER)
    placed = [
        BidInForce(subject, Role.compute, ALICE, low, 8, 32),
        BidInForce(subject, Role.compute, ALICE, high, 10, 34),
        BidInForce(subject, Role.compute, BOB, high, 9, 33),
    ]
    bids = [
        [row.bid for row in epochs.freeze(placed, epoch).bidders(subject, Role.compute)] for epoch in (7, 8, 9, 10, 33)
    ]
    assert bids == [[], [low], [low, high], [high, high], [high]]
    assert epochs.freeze(placed, 34).rows == ()
    assert epochs.freeze([placed[2], *placed[:2]], 10).root == epochs.freeze(placed, 10).root
    assert epochs.freeze(placed, 9).root != epochs.freeze(placed, 10).root
    assert epochs.freeze(placed, 9).bid(subject, Role.compute, BOB) == high
    with pytest.raises(Rejected):
        BidInForce(subject, Role.compute, BOB, low, 5, 30)


def test_a_value_roles_bid_stands_and_a_resource_roles_lapses() -> None:
    subject = Digest(b"\x01" * 32)
    placed = [
        BidInForce(subject, role, BOB, Bid(1, asks()), *epochs.place(role, None, Bid(1, asks()), 7))
        for role in (Role.maker, Role.compute, Role.gateway)
    ]
    roles = [[row.role for row in epochs.freeze(placed, epoch).rows] for epoch in (8, 31, 32, 10**6)]
    assert roles == [[Role.maker, Role.compute, Role.gateway]] * 2 + [[Role.maker, Role.gateway]] * 2


def test_epochs_start_inclusive_and_end_exclusive() -> None:
    assert [epochs.epoch_at(at, 3_600) for at in (0, 3_599, 3_600)] == [0, 0, 1]


@pytest.mark.parametrize(("block", "private", "epoch"), [(7_200, False, 2), (None, False, 0), (7_200, True, 5)])
def test_the_epoch_follows_the_chain_and_without_a_chain_the_clock(
    block: int | None, private: bool, epoch: int
) -> None:
    assert epochs.current_epoch(block, 18_000, epochs.Calendar(3_600, 0, private)) == epoch


@pytest.mark.parametrize(("block", "now", "epoch"), [(10_499, 10_900, 2), (10_500, 10_799, 2), (10_500, 10_800, 3)])
def test_an_epoch_begins_when_the_block_that_closed_its_book_is_known(block: int, now: int, epoch: int) -> None:
    assert epochs.current_epoch(block, now, epochs.Calendar(3_600, 300)) == epoch


def test_greed_gets_no_traffic_and_a_free_call_goes_by_capacity() -> None:
    fair, greedy = Candidate(1_000, 10**6, 80, 100, 10), Candidate(2_500, 10**6, 20, 100, 500)
    assert routing.weights([fair, greedy])[1] == 0
    assert routing.choose([greedy, fair], b"seed") == 1
    free = Candidate(0, 10**6, 1, 1, 3)
    assert routing.choose([free, greedy], b"seed") == 0
    with pytest.raises(Unavailable):
        routing.choose([fair._replace(capacity=0)], b"seed")
    with pytest.raises(Unavailable):
        routing.choose([], b"seed")
    assert routing.collateralised(1_000, 300, 99) == 3


@pytest.mark.parametrize("price", [0, 1, 2])
def test_a_price_too_small_to_round_still_finds_its_provider(price: int) -> None:
    cheap, dear = Candidate(price, 10**6, 1, 10, 4), Candidate(100, 10**6, 1, 10, 9)
    assert routing.weights([cheap, dear]) == [0, 0], "the horizon rounds down to the price itself"
    assert routing.odds([cheap, dear]) == [4, 0]
    assert routing.choose([dear, cheap], b"seed") == 1


def _party(chance: Random) -> Address:
    return Address(bytes((chance.randint(1, 3),)) * 20)
