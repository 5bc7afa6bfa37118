"""Sponsored slots: second price with a reserve, three at most, and paid by a sale alone, by whoever earns a line."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.core.catalog.bids import Deduction, Line, Role, Terms, ordered
from ledger.core.pricing.commissions import Referral, Sponsorship, deduct
from ledger.core.pricing.price import price
from ledger.core.pricing.promotion import (
    MAX_SLOTS,
    RESERVE,
    WINDOW_MS,
    Bidder,
    Impression,
    Slot,
    auction,
    deduction,
    most_of,
    sells,
)
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.values.meters import Units
from tests.builders import ALICE, COMPUTE, MAKER, OPERATOR, TREASURY, an_address
from tests.rates import asks

CURATOR, DELIVERER, SURFACE = an_address(31), an_address(32), an_address(33)
SUBJECT = Digest(b"\x51" * 32)
TERMS = Terms(
    SUBJECT,
    ordered(
        [
            Line(MAKER, Role.maker, 100_000, asks(call=500)),
            Line(COMPUTE, Role.compute, 0, asks(call=1_000)),
            Line(DELIVERER, Role.delivery, 0, asks(call=300)),
            Line(OPERATOR, Role.gateway, 10_000),
            Line(TREASURY, Role.protocol, 20_000),
        ]
    ),
)
ONE = Units(call=1)
PLAIN = price(TERMS, ONE)


def line_of(role: Role) -> int:
    return next(place for place, line in enumerate(TERMS.lines) if line.role is role)


def an_order(party: Address = MAKER, role: Role = Role.maker, **more: Any) -> Sponsorship:
    chosen = {"slot_bid": 400, "slot_daily_cap": 4_000, "slot_tasks": frozenset({"chat"}), **more}
    return Sponsorship(party, role, chosen.pop("offer_ppm", 0), 1_000, **chosen)


def shown(order: Sponsorship, cost: int = 40) -> Impression:
    return Impression(cost, SURFACE, 0, order)


def a_referral(curator: Address = CURATOR, keep_ppm: int = PPM) -> Referral:
    return Referral(curator, SUBJECT, keep_ppm, 1_000, 10**15)


def deducted(owner: Sponsorship | None, referral: Referral | None, impression: Impression | None) -> Deduction | None:
    return deduction(TERMS, PLAIN.amounts, owner, referral, impression, TREASURY)


def a_bidder(number: int, bid: int, left: int = 10**9, relevance: int = 10**6, quality: int = 10**6) -> Bidder:
    """Bidder `number` on its own subject."""
    return Bidder(Digest(number.to_bytes(32, "big")), bid, left, relevance, quality)


def price_of(bidder: Bidder, rows: list[Slot]) -> int:
    """What the row of a bidder's subject costs; 0 without one."""
    return next((row.price for row in rows if row.subject == bidder.subject), 0)


def beside(bidder: Bidder, sponsor: Address, **more: Any) -> Bidder:
    """Another order for the same subject."""
    return bidder._replace(sponsor=sponsor, **more)


BIDDERS = st.lists(
    st.builds(
        a_bidder,
        st.integers(1, 6),
        st.integers(0, 1000),
        st.integers(0, 1200),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    max_size=8,
)


def test_each_slot_costs_the_next_rank_over_its_own_quality() -> None:
    good, fair, poor = a_bidder(1, 100), a_bidder(2, 90, quality=800_000), a_bidder(3, 100, relevance=500_000)
    assert auction([poor, good, fair]) == [
        Slot(good.subject, 72),  # 90 * 0.8 / 1
        Slot(fair.subject, 63),  # ceil(100 * 0.5 / 0.8)
        Slot(poor.subject, RESERVE),  # nobody below
    ]
    assert auction([poor, good, fair], reserve=80)[1].price == 80


def test_the_fourth_prices_the_third_and_is_not_shown() -> None:
    rows = auction([a_bidder(number, 100 - number) for number in range(1, 5)])
    assert [(row.subject[-1], row.price) for row in rows] == [(1, 98), (2, 97), (3, 96)]


@given(BIDDERS)
def test_no_slot_costs_more_than_its_bid(bidders: list[Bidder]) -> None:
    rows = auction(bidders)
    assert len(rows) <= MAX_SLOTS
    assert len({row.subject for row in rows}) == len(rows)
    for row in rows:
        own = max(bidder.bid for bidder in bidders if bidder.subject == row.subject)
        assert 0 <= row.price <= own


@given(BIDDERS, st.randoms(use_true_random=False))
def test_the_order_of_bidders_changes_nothing(bidders: list[Bidder], random: object) -> None:
    alone = list({bidder.subject: bidder for bidder in bidders}.values())
    assert auction(alone) == auction(alone[::-1])


@given(BIDDERS, st.integers(1, 1000), st.integers(1, 10**6))
def test_a_second_face_never_makes_a_sponsors_slot_cheaper(bidders: list[Bidder], bid: int, quality: int) -> None:
    """Sybil split: a sponsor that lists itself twice competes with itself, and pays at least as much where it is."""
    own = a_bidder(50, bid, quality=quality)
    alone = {row.subject: row.price for row in auction([*bidders, own])}
    doubled = {row.subject: row.price for row in auction([*bidders, own, a_bidder(51, bid, quality=quality)])}
    if own.subject in alone and own.subject in doubled:
        assert doubled[own.subject] >= alone[own.subject]


def test_bidding_under_the_worth_wins_nothing_and_over_it_nothing_cheaper() -> None:
    """Second price: the winner's own bid does not move what it pays."""
    other = a_bidder(2, 60)
    prices = {auction([a_bidder(1, bid), other])[0].price for bid in range(61, 1000, 13)}
    assert prices == {60}


def test_a_bidder_that_could_not_pay_is_not_shown() -> None:
    assert auction([a_bidder(1, 100, left=99), a_bidder(2, 0), a_bidder(3, 5, quality=0)]) == []


def test_a_slot_is_charged_once_on_the_first_paid_call_in_the_window() -> None:
    order = Sponsorship(ALICE, Role.maker, 0, 0, 40, 400, frozenset({"chat"}))
    shown = Impression(40, ZERO_ADDRESS, 1_000, order)
    assert sells(shown, bought_since=False, now=1_000) == 40
    assert sells(shown, bought_since=False, now=1_000 + WINDOW_MS) == 0
    assert sells(shown, bought_since=True, now=2_000) == 0
    assert sells(None, bought_since=False, now=2_000) == 0


def test_a_lone_sponsor_pays_the_reserve_whoever_it_is() -> None:
    for role in (Role.maker, Role.oem, Role.weaver, Role.compute, Role.delivery, Role.curator):
        alone = a_bidder(1, 400)._replace(sponsor=ALICE, role=role)
        assert auction([alone]) == [Slot(alone.subject, RESERVE, ALICE, role)]
    assert auction([a_bidder(1, RESERVE - 1)]) == [], "who does not bid the reserve is not shown"


def test_a_provider_that_serves_one_sale_in_four_pays_four_times_the_reserve_for_it() -> None:
    """So the slot brings the reserve on average, and a provider that is never drawn cannot take it for nothing."""
    quarter = a_bidder(1, 400)._replace(odds_ppm=250_000)
    assert auction([quarter]) == [Slot(quarter.subject, 4 * RESERVE)]
    assert auction([quarter._replace(odds_ppm=300_000)])[0].price == 34, "ceil(10 / 0.3)"
    assert auction([quarter._replace(odds_ppm=0)]) == []
    assert auction([quarter._replace(odds_ppm=20_000)]) == [], "500 atoms a sale, and it bids 400"
    rival = a_bidder(2, 101)
    assert [row.subject for row in auction([quarter, rival])] == [rival.subject, quarter.subject], "100 on average"


def test_a_bid_counts_for_no_more_than_the_line_can_pay() -> None:
    """Else a line of 5 atoms that bids a million takes every slot, and pays 4."""
    boaster, honest = a_bidder(1, 10**6)._replace(most=most_of(50)), a_bidder(2, 60)
    assert auction([boaster, honest]) == [Slot(honest.subject, 45), Slot(boaster.subject, RESERVE)]
    assert auction([boaster._replace(most=RESERVE - 1)]) == []


@given(BIDDERS, st.integers(1, 1000), st.integers(1, 1000), st.integers(1, PPM))
def test_a_second_order_for_one_subject_dodges_no_reserve_and_makes_nothing_cheaper(
    bidders: list[Bidder], bid: int, other: int, odds: int
) -> None:
    """A sponsor with two roles counts once, by its best; two parties that work together price each other."""
    own = a_bidder(50, max(bid, other))
    alone = next(
        row.price for row in [*auction([*bidders, own], slots=9), Slot(own.subject, 0)] if row[0] == own.subject
    )
    twice = beside(own, own.sponsor, bid=min(bid, other), role=Role.compute, odds_ppm=odds)
    accomplice = beside(own, ALICE, bid=min(bid, other), role=Role.compute, odds_ppm=odds)
    for second in (twice, accomplice):
        rows = auction([*bidders, own, second], slots=9)
        assert len({row.subject for row in rows}) == len(rows), "one row a subject"
        assert second is accomplice or price_of(own, rows) == alone, "its own other order is nobody to outbid"
        assert price_of(own, rows) >= max(alone, RESERVE if max(bid, other) >= RESERVE else 0)


def test_two_sponsors_of_one_model_price_each_other_and_not_who_would_not_take_the_place() -> None:
    first, third = a_bidder(1, 400), a_bidder(2, 50)
    second = beside(first, ALICE, bid=300)
    assert auction([first, second, third]) == [Slot(first.subject, 300), Slot(third.subject, RESERVE)]
    between = a_bidder(2, 350)
    assert [row.price for row in auction([first, second, between])] == [350, RESERVE], "the row of `first` is sold"


def test_each_role_pays_for_its_slot_out_of_its_own_line() -> None:
    for party, role in ((MAKER, Role.maker), (COMPUTE, Role.compute), (DELIVERER, Role.delivery)):
        made = deducted(None, None, shown(an_order(party, role)))
        assert made == Deduction(line_of(role), promotion=40, surface=SURFACE, treasury=TREASURY)
        after = price(replace(TERMS, deduction=made), ONE)
        assert (after.price, after.charge) == (PLAIN.price, PLAIN.charge)
        changed = {n: a - b for n, (a, b) in enumerate(zip(after.amounts, PLAIN.amounts, strict=False)) if a != b}
        assert changed == {line_of(role): -40}
        assert after.amounts[-3:] == (0, 28, 12)


def test_a_sale_that_another_provider_serves_is_not_paid_by_who_promoted_it() -> None:
    assert deducted(None, None, shown(an_order(ALICE, Role.compute))) is None


def test_a_curator_pays_its_slot_out_of_its_commission_and_the_owner_gives_nothing_more() -> None:
    owner, order = an_order(offer_ppm=200_000, slot_bid=0), an_order(CURATOR, Role.curator)
    line = PLAIN.amounts[line_of(Role.maker)]
    made = deducted(owner, a_referral(), shown(order))
    assert made is not None
    part = deduct(line, made)
    assert (line, line * 2 // 10) == (707, 141)
    assert made.offer_ppm == 142_857, "floor((141 - 40) * 10^6 / 707), of which the line's part is 100.99"
    assert (part.kept, part.curator, part.rebate, part.surface, part.treasury) == (567, 100, 0, 28, 12)
    of_another = a_referral(ALICE)
    assert deducted(owner, of_another, shown(order)) == deducted(owner, of_another, None)


@given(st.integers(0, 10**12), st.integers(0, PPM), st.integers(0, PPM), st.integers(RESERVE, 10**12), st.booleans())
def test_a_curators_slot_leaves_owner_and_consumer_what_they_had_and_the_curator_a_tenth(
    floor: int, offer: int, keep: int, cost: int, by_owner: bool
) -> None:
    """The bound on what rounding moves: a ppm of the line and an atom, to the owner and the consumer."""
    lines = ordered([Line(MAKER, Role.maker, 0, asks(call=floor)), Line(TREASURY, Role.protocol, 20_000)])
    terms = Terms(SUBJECT, lines)
    plain = price(terms, ONE)
    line = plain.amounts[0]
    owner = an_order(offer_ppm=offer, slot_bid=0)
    referral = a_referral(MAKER if by_owner else CURATOR, keep)
    order = an_order(referral.curator, Role.curator)
    without = deduction(terms, plain.amounts, owner, referral, None, TREASURY)
    made = deduction(terms, plain.amounts, owner, referral, shown(order, cost), TREASURY)
    assert made is not None
    assert without is not None
    before, after = deduct(line, without), deduct(line, made)
    slack = line // PPM + 2
    paid = after.surface + after.treasury
    assert before.kept <= after.kept <= before.kept + slack, "the owner"
    assert before.rebate - line // PPM - 1 <= after.rebate <= before.rebate + slack, "the consumer"
    assert after.curator <= before.curator - paid, "the curator paid it"
    assert paid == min(cost, before.curator * 9 // 10)
