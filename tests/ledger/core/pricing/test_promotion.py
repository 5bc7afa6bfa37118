"""Sponsored slots: second price, three at most, and paid by a sale alone."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.core.pricing.promotion import MAX_SLOTS, WINDOW_MS, Bidder, Impression, Slot, auction, sells
from ledger.core.values.ids import ZERO_ADDRESS, Digest


def a_bidder(number: int, bid: int, left: int = 10**9, relevance: int = 10**6, quality: int = 10**6) -> Bidder:
    """Bidder `number` on its own subject."""
    return Bidder(Digest(number.to_bytes(32, "big")), bid, left, relevance, quality)


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
        Slot(poor.subject, 0),  # nobody below
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
    shown = Impression(40, ZERO_ADDRESS, 1_000)
    assert sells(shown, bought_since=False, now=1_000) == 40
    assert sells(shown, bought_since=False, now=1_000 + WINDOW_MS) == 0
    assert sells(shown, bought_since=True, now=2_000) == 0
    assert sells(None, bought_since=False, now=2_000) == 0
