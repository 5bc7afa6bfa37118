"""What a payee's calls would have paid at other asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.core.catalog.bids import Line, Role, Terms
from ledger.core.pricing import routing, what_if
from ledger.core.pricing.price import payees, price
from ledger.core.pricing.what_if import CHANGES_PPM, Call, Earned, Point
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Meter, by_meter, rates

SUBJECT = Digest(b"\x01" * 32)
PAT, RIVAL, MAKER = (Address(bytes((n,)) * 20) for n in (1, 2, 3))
ONE = by_meter({Meter.call: 1})


def a_call(ask: int = 1_000, party: Address = PAT, ratio_ppm: int = 100_000) -> Call:
    """A call that a party served for an ask, and of whose price the maker has a ratio."""
    lines = (Line(MAKER, Role.maker, ratio_ppm), Line(party, Role.compute, 0, rates({"call": str(ask)})))
    return Call(Terms(SUBJECT, lines), ONE, 0)


def alone(subject: Digest, change_ppm: int) -> tuple[int, int]:
    """Odds where nothing is drawn."""
    return 1, 1


def test_five_per_cent_less_on_the_same_calls_is_five_per_cent_less() -> None:
    calls = [a_call(), a_call(), a_call(party=RIVAL)]
    assert what_if.replay(calls, PAT).earned == {Earned(SUBJECT, Role.compute): 2_000}
    assert what_if.replay(calls, PAT, -50_000).earned == {Earned(SUBJECT, Role.compute): 1_900}
    assert what_if.replay(calls, PAT, -50_000).calls == {Earned(SUBJECT, Role.compute): 2}


def test_a_makers_ratio_is_of_the_price_that_it_makes() -> None:
    was, would = (what_if.replay([a_call(900)], MAKER, change).total for change in (0, 100_000))
    assert was == 100  # a tenth of 1000
    assert would == 112  # 0.11 of the least price that leaves 900: 1012, rounded up


def test_what_a_cap_or_a_list_price_forbids_is_left_out_and_counted() -> None:
    high = a_call(ratio_ppm=850_000)
    assert what_if.replay([high], MAKER, 100_000).left_out == 1
    left_out = {one.change_ppm: one.left_out for one in what_if.points([high, a_call()], MAKER, alone)}
    assert left_out == {change: int(change > 50_000) for change in CHANGES_PPM}
    listed = Call(Terms(SUBJECT, a_call(900).terms.lines, list_price=1_000, seller=0), ONE, 0)
    assert what_if.replay([listed], PAT).total == 900
    found = what_if.replay([listed], PAT, 200_000)
    assert (found.total, found.left_out) == (0, 1)


def test_an_ask_of_one_atom_stays_one_atom_or_more() -> None:
    assert what_if.replay([a_call(1)], PAT, -300_000).total == 1


def test_a_lower_ask_is_drawn_more_often_and_a_dear_one_never() -> None:
    def odds(subject: Digest, change_ppm: int) -> tuple[int, int]:
        own = routing.Candidate(1_000_000 + change_ppm, 1_000_000, 1, 1, 1)
        return what_if.drawn(own, [routing.Candidate(1_000_000, 1_000_000, 1, 1, 1)])

    found = {one.change_ppm: one for one in what_if.points([a_call()], PAT, odds)}
    assert tuple(found) == CHANGES_PPM
    assert found[0] == Point(0, 1_000, 1_000)
    assert found[-50_000].expected > found[-50_000].earned == 950
    assert found[50_000].expected < found[50_000].earned == 1_050
    assert found[300_000].expected < found[50_000].expected


def test_where_nothing_is_drawn_the_same_calls_are_all_there_is() -> None:
    assert all(one.expected == one.earned for one in what_if.points([a_call()], PAT, alone))


@given(st.integers(0, 10**9), st.integers(0, 800_000), st.integers(0, 10**6))
def test_as_it_was_is_what_the_receipt_paid(ask: int, ratio_ppm: int, sub: int) -> None:
    call = a_call(ask, ratio_ppm=ratio_ppm)._replace(subcall_total=sub)
    due = price(call.terms, call.units, sub)
    paid = sum(amount for amount, (who, _) in zip(due.amounts, payees(call.terms), strict=True) if who == PAT)
    assert what_if.replay([call], PAT).total == paid
