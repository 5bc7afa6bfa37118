"""The manipulations MECHANISM names, played out on priced calls: each loses money, whoever plays it.

The network here is the smallest that has everybody: a consumer pays a workflow's price to a weaver (the sponsor), a
maker, a provider, a gateway and the protocol; a curator refers and a surface shows. A coalition's gain is what its
members are paid minus what they pay. What a wash call costs the coalition is money that left it for good.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.catalog.bids import Deduction, Line, Role, Terms, ordered
from ledger.core.pricing.commissions import Referral, Sponsorship
from ledger.core.pricing.price import Charge, payees, price
from ledger.core.pricing.promotion import RESERVE, Bidder, Impression, auction, deduction, sells
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Units
from tests.builders import ALICE, COMPUTE, MAKER, OPERATOR, TREASURY, an_address
from tests.rates import asks

WEAVER, CURATOR, SURFACE, SYBIL = an_address(21), an_address(22), an_address(23), an_address(24)
ONE = Units(call=1)
OWN_CURATOR = (WEAVER, Role.curator)
RATIOS, ASKS = st.integers(0, 290_000), st.integers(0, 1_000_000)


def the_terms(weaver_ppm: int, weaver_floor: int, ask: int, deduction: Deduction | None = None) -> Terms:
    """A workflow's terms; `deduction.sponsor` is replaced by the weaver's line."""
    lines = ordered(
        [
            Line(MAKER, Role.maker, 100_000),
            Line(COMPUTE, Role.compute, 0, asks(call=ask)),
            Line(WEAVER, Role.weaver, weaver_ppm, asks(call=weaver_floor)),
            Line(OPERATOR, Role.gateway, 10_000),
            Line(TREASURY, Role.protocol, 20_000),
        ]
    )
    sponsor = next(index for index, line in enumerate(lines) if line.role is Role.weaver)
    if deduction is not None:
        deduction = Deduction(
            sponsor,
            deduction.curator,
            deduction.offer_ppm,
            deduction.keep_ppm,
            deduction.promotion,
            deduction.surface,
            TREASURY,
        )
    return Terms(Digest(bytes(32)), lines, deduction=deduction)


def gain(coalition: set[Address], terms: Terms, charge: Charge, consumer: Address = ALICE) -> int:
    """What the coalition has more after the call than before."""
    earned = sum(amount for (who, _), amount in zip(payees(terms), charge.amounts, strict=True) if who in coalition)
    return earned - (charge.charge if consumer in coalition else 0)


def coalitions(*members: Address) -> Iterable[set[Address]]:
    """Every set of these members."""
    return map(set, chain.from_iterable(combinations(members, size) for size in range(len(members) + 1)))


DEDUCTIONS = st.builds(
    Deduction,
    st.just(0),
    st.just(CURATOR),
    st.integers(0, 1_000_000),
    st.integers(0, 1_000_000),
    st.integers(0, 2_000_000),
    st.just(SURFACE),
)


@given(RATIOS, ASKS, ASKS, DEDUCTIONS)
def test_wash_calls_lose_money_in_every_coalition(weaver_ppm: int, floor: int, ask: int, deduction: Deduction) -> None:
    """Whoever joins the consumer pays provider, maker, gateway and protocol, and gets none of that back."""
    terms = the_terms(weaver_ppm, floor, ask, deduction)
    charge = price(terms, ONE)
    outside = sum(
        amount
        for (who, role), amount in zip(payees(terms), charge.amounts, strict=True)
        if role in (Role.protocol, Role.gateway, Role.compute, Role.maker)
    )
    for coalition in coalitions(WEAVER, CURATOR, SURFACE):
        net = gain({ALICE, *coalition}, terms, charge)
        assert net <= -outside
        assert net < 0 or charge.price == 0
    everybody_but_the_protocol = {ALICE, WEAVER, CURATOR, SURFACE, MAKER, COMPUTE, OPERATOR}
    fee = -(-20_000 * charge.price // 1_000_000)
    assert gain(everybody_but_the_protocol, terms, charge) <= -fee  # M8


@given(RATIOS, ASKS, ASKS, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_self_referral_never_pays_for_the_call(weaver_ppm: int, floor: int, ask: int, offer: int, keep: int) -> None:
    """A consumer who is its own curator under another name gets a rebate at most: less than 90 % of one line."""
    terms = the_terms(weaver_ppm, floor, ask, Deduction(0, SYBIL, offer, keep))
    charge = price(terms, ONE)
    plain = price(the_terms(weaver_ppm, floor, ask), ONE)
    assert charge.price == plain.price
    net = gain({ALICE, SYBIL}, terms, charge)
    sponsor_line = plain.amounts[next(i for i, line in enumerate(terms.lines) if line.role is Role.weaver)]
    assert net + plain.charge <= sponsor_line * 9 // 10
    assert net < 0 or charge.price == 0
    # An honest curator that rebates everything gives the consumer as much: faking one gains nothing.
    honest = the_terms(weaver_ppm, floor, ask, Deduction(0, CURATOR, offer, 0))
    assert gain({ALICE}, honest, price(honest, ONE)) == net


@given(RATIOS, ASKS, ASKS, st.integers(1, 2_000_000))
def test_click_draining_costs_the_drainer_more_than_the_sponsor(
    weaver_ppm: int, floor: int, ask: int, promotion: int
) -> None:
    """A rival buys with fresh accounts to burn the sponsor's slot budget: each sale still earns the sponsor 10 %."""
    order = Sponsorship(WEAVER, Role.weaver, 0, 0, promotion, 10 * promotion, frozenset({"chat"}))
    impression = Impression(promotion, SURFACE, 0, order)
    clicks = [sells(impression, bought_since=True, now=at) for at in range(50)]
    assert sum(clicks) == 0  # looking and clicking cost a sponsor nothing
    shown = the_terms(weaver_ppm, floor, ask, Deduction(0, promotion=sells(impression, False, 1), surface=SURFACE))
    charge = price(shown, ONE)
    drained = sum(charge.amounts[-2:])
    sponsor = gain({WEAVER}, shown, charge)
    assert sponsor * 9 >= drained  # it keeps at least a tenth of what the drainer brought
    assert sponsor + drained + charge.amounts[0] <= charge.charge  # the drainer paid for all of it, and for the rest
    assert gain({ALICE, SURFACE}, shown, charge) < 0 or charge.price == 0


@given(RATIOS, ASKS, ASKS, st.integers(0, 1_000_000), st.integers(0, 1_000_000), st.integers(RESERVE, 2_000_000))
def test_a_sponsor_gains_by_its_slot_with_no_accomplice(
    weaver_ppm: int, floor: int, ask: int, offer: int, keep: int, cost: int
) -> None:
    """Whoever stands with the sponsor, as consumer, surface or curator: without the slot they would have as much, and
    the treasury's part of its price is lost to them. Also for an owner that is its own curator. With a curator's slot
    rounding may move a ppm of the line, and an atom, between the consumer and the owner.
    """
    plain_terms = the_terms(weaver_ppm, floor, ask)
    plain = price(plain_terms, ONE)
    owner = Sponsorship(WEAVER, Role.weaver, offer, 10)
    for sponsor, role in ((WEAVER, Role.weaver), (COMPUTE, Role.compute), (CURATOR, Role.curator), OWN_CURATOR):
        refers = role is Role.curator
        referral = Referral(sponsor, plain_terms.subject, keep, 10, 2**62) if refers else None
        order = Sponsorship(sponsor, role, 0, 0, cost, cost, frozenset({"chat"}))
        both = []
        for impression in (None, Impression(cost, SURFACE, 0, order)):
            given_up = deduction(plain_terms, plain.amounts, owner, referral, impression, TREASURY)
            terms = replace(plain_terms, deduction=given_up)
            both.append((terms, price(terms, ONE)))
        (without, charge), (shown, sold) = both
        treasury = sold.amounts[-1] if shown.deduction is not None else 0
        moved = 1 + charge.price // 1_000_000 if refers else 0
        for friends in coalitions(ALICE, SURFACE, WEAVER, CURATOR, COMPUTE):
            group = friends | {sponsor}
            slack = 0 if ALICE in group else moved
            assert gain(group, shown, sold) <= gain(group, without, charge) - treasury + slack, (role, group)
        assert sold.price == charge.price


@given(RATIOS, ASKS, ASKS, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_an_owner_that_refers_to_itself_earns_no_more(
    weaver_ppm: int, floor: int, ask: int, offer: int, keep: int
) -> None:
    plain = the_terms(weaver_ppm, floor, ask)
    own = the_terms(weaver_ppm, floor, ask, Deduction(0, WEAVER, offer, keep))
    assert gain({WEAVER}, own, price(own, ONE)) <= gain({WEAVER}, plain, price(plain, ONE))


@given(RATIOS, ASKS, ASKS, st.integers(0, 900_000), st.integers(1, 40), st.integers(1, 5))
def test_splitting_a_curator_in_many_earns_no_more(
    weaver_ppm: int, floor: int, ask: int, offer: int, calls: int, faces: int
) -> None:
    """The window counts a consumer's calls of a subject, whoever referred them: more curators share the same window."""
    window_calls = 10

    def earned(curators: list[Address]) -> int:
        total = 0
        for number in range(calls):
            referred = number < window_calls
            curator = curators[number % len(curators)]
            terms = the_terms(weaver_ppm, floor, ask, Deduction(0, curator, offer, 1_000_000) if referred else None)
            total += gain(set(curators), terms, price(terms, ONE))
        return total

    assert earned([an_address(100 + face) for face in range(faces)]) <= earned([CURATOR])


@pytest.mark.parametrize("faces", [1, 2, 3])
def test_flooding_the_slots_with_ones_own_faces_costs_more_than_it_shows(faces: int) -> None:
    """A sponsor behind several subjects still sells once a consumer and pays at least what one face would."""
    rival = Bidder(Digest(b"\x01" * 32), 80, 10**9, 10**6, 10**6)
    own = [Bidder(Digest(bytes((2 + face,)) * 32), 100, 10**9, 10**6, 10**6) for face in range(faces)]
    rows = {row.subject: row.price for row in auction([rival, *own])}
    assert rows[own[0].subject] == (80 if faces == 1 else 100)
