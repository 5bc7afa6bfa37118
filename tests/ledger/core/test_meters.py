"""Fifteen meters: where a line counts units it has no ask for, what presence means, and rounding by hand (M13)."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.catalog.bids import Line, Role, Terms
from ledger.core.catalog.lineage import Royalty
from ledger.core.pricing import epochs
from ledger.core.pricing.price import compile_terms, fixed
from ledger.core.values import meters
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import METERS, Meter, Rates, Units
from tests.ledger.core import strategies as some
from tests.rates import asks

PARTY = Address(b"\x01" * 20)
quick = settings(max_examples=200, deadline=None, database=None, derandomize=True)

TABLE = [
    ("call", 1, "call"),
    ("input_token", 10**6, "input_token"),
    ("cached_input_token", 10**6, "input_token"),
    ("cache_write_token", 10**6, "input_token"),
    ("output_token", 10**6, "output_token"),
    ("reasoning_token", 10**6, "output_token"),
    ("input_audio_token", 10**6, "input_token"),
    ("output_audio_token", 10**6, "output_token"),
    ("input_image", 1, "input_image"),
    ("output_image", 1, "output_image"),
    ("search", 1, "search"),
    ("input_character", 10**6, "input_character"),
    ("ms", 10**3, "ms"),
    ("byte", 10**9, "byte"),
    ("fuel", 10**6, "fuel"),
]


def test_the_table_of_meters_is_the_protocols() -> None:
    assert [(meter.name, meter.scale, METERS[meter.coarse].name) for meter in Meter] == TABLE
    assert [int(meter) for meter in Meter] == list(range(15))
    assert Units._fields == tuple(name for name, _, _ in TABLE)
    assert all(METERS[meter.coarse].coarse == meter.coarse for meter in Meter), "a fallback has none itself"
    assert all(METERS[meter.coarse].scale == meter.scale for meter in Meter), "units fall back one for one"


@pytest.mark.parametrize(("name", "scale", "coarse"), TABLE, ids=[name for name, _, _ in TABLE])
def test_a_line_without_an_ask_counts_finer_units_in_the_coarser_meter(name: str, scale: int, coarse: str) -> None:
    used = Units(**{name: 3 * scale})
    assert fixed(asks(**{name: 7}), used) == 21
    assert fixed(asks(**{coarse: 5}), used) == 15
    assert fixed(asks(**{coarse: 5, name: 7}), used) == 21, "its own ask comes first"
    others = {other: 9 for other, _, _ in TABLE if other not in (name, coarse)}
    assert fixed(asks(**others), used) == 0


def test_an_ask_of_0_is_free_and_no_ask_falls_back() -> None:
    used = Units(input_token=10**6, cached_input_token=10**6, reasoning_token=10**6)
    assert fixed(asks(input_token=5), used) == 10
    assert fixed(asks(input_token=5, cached_input_token=0), used) == 5
    assert fixed(asks(cached_input_token=0), used) == 0
    assert fixed(asks(output_token=2, reasoning_token=0), used) == 0
    assert meters.rates({"cached_input_token": "0", "input_token": "5"}) == ((1, 5), (2, 0))
    assert meters.quoted(((1, 5), (2, 0))) == {"input_token": "5", "cached_input_token": "0"}


def test_every_line_falls_back_for_itself() -> None:
    lines = (
        Line(PARTY, Role.maker, 0, asks(output_token=3)),
        Line(PARTY, Role.compute, 0, asks(output_token=10, reasoning_token=2)),
        Line(PARTY, Role.delivery, 0, asks(byte=1)),
    )
    claims = compile_terms(Terms(ZERO_DIGEST, lines)).claims(Units(output_token=10**6, reasoning_token=10**6))
    assert [claim.fixed for claim in claims] == [6, 12, 0]


BY_HAND = [
    # asks, units, atoms: the exact sum over 10^9, rounded up once
    ({"input_token": 1}, {"input_token": 1}, 1),  # 10^-6
    ({"input_token": 1}, {"input_token": 10**6}, 1),  # 1, nothing to round
    ({"input_token": 1}, {"input_token": 10**6 + 1}, 2),  # 1.000001
    ({"input_token": 500_000, "output_token": 500_000}, {"input_token": 1, "output_token": 1}, 1),  # 0.5 + 0.5
    ({"input_token": 500_000, "output_token": 500_001}, {"input_token": 1, "output_token": 1}, 2),  # 1.000001
    ({"ms": 999, "byte": 1}, {"ms": 1, "byte": 10**6}, 1),  # 0.999 + 0.001
    ({"ms": 999, "byte": 1}, {"ms": 1, "byte": 10**6 + 1}, 2),  # 1.000000001
    ({"byte": 1}, {"byte": 1}, 1),  # 10^-9
    ({"byte": 999_999_999}, {"byte": 1}, 1),  # 0.999999999
    ({"byte": 1_000_000_001}, {"byte": 1}, 2),  # 1.000000001
    ({"call": 7, "input_token": 333_333}, {"call": 1, "input_token": 3}, 8),  # 7 + 0.999999
    ({"call": 7, "input_token": 333_334}, {"call": 1, "input_token": 3}, 9),  # 7 + 1.000002
    ({"input_token": 250_000}, {"input_token": 3, "cached_input_token": 1}, 1),  # 4 x 0.25, in one meter
    ({"input_token": 250_000, "cached_input_token": 249_999}, {"input_token": 3, "cached_input_token": 1}, 1),
    ({"input_token": 250_000, "cached_input_token": 250_001}, {"input_token": 3, "cached_input_token": 1}, 2),
    ({"search": 3, "fuel": 1}, {"search": 2, "fuel": 999_999}, 7),  # 6 + 0.999999
    ({"input_character": 15_000_000}, {"input_character": 1_234_567}, 18_518_505),  # exact
    ({"input_character": 15_000_001}, {"input_character": 1_234_567}, 18_518_507),  # + 1.234567
    ({"output_token": 2**63 - 1}, {"output_token": 2**40 - 1}, 10141204801816611838837260),  # see below
]
"""The last: (2^63 - 1)(2^40 - 1) = 2^103 - 2^63 - 2^40 + 1 = 10141204801816611838837259239425 millionths."""


@pytest.mark.parametrize(("asked", "used", "atoms"), BY_HAND)
def test_M13_a_lines_fixed_part_is_exact_and_rounded_up_once(
    asked: dict[str, int], used: dict[str, int], atoms: int
) -> None:
    assert fixed(asks(**asked), Units(**used)) == atoms


PRICES = [
    # ratio in ppm, fixed parts, price, what the ratio gets: P is the least with ceil(r P / 10^6) + sum F <= P
    (100_000, 9, 10, 1),
    (100_000, 10, 12, 2),  # 11 pays ceil(1.1) + 10 = 12
    (500_000, 1, 2, 1),
    (333_333, 1, 2, 1),
    (900_000, 1, 10, 9),
    (900_000, 2, 20, 18),
    (1, 1, 2, 1),  # the smallest ratio takes an atom
    (1, 999_999, 1_000_000, 1),
    (1, 1_000_000, 1_000_002, 2),  # 1,000,001 pays ceil(1.000001) = 2
    (1, 0, 0, 0),
]


@pytest.mark.parametrize(("ratio", "call", "price", "share"), PRICES)
def test_M13_a_price_is_the_least_that_pays_a_ratio_rounded_up(ratio: int, call: int, price: int, share: int) -> None:
    lines = (Line(PARTY, Role.maker, ratio), Line(PARTY, Role.compute, 0, asks(call=call)))
    due = compile_terms(Terms(ZERO_DIGEST, lines)).charge(Units(call=1))
    assert (due.price, due.amounts) == (price, (share, call))


def _shuffled(chance: Random, most: Units) -> Units:
    """A use of the same units, each in any meter that may count it, or not at all."""
    counts = [0] * len(Meter)
    for meter, count in zip(Meter, meters.coarse(most), strict=True):
        for finer in [one for one in Meter if one.coarse == meter]:
            counts[finer] = chance.randint(0, count)
            count -= counts[finer]
    return Units(*counts)


@quick
@given(some.chances)
def test_M11_the_hold_covers_a_use_whichever_meters_its_units_end_in(chance: Random) -> None:
    tariff = compile_terms(some.a_terms(chance, 30))
    most = some.a_units(chance)
    used = _shuffled(chance, most)
    try:
        hold = tariff.hold(most, 5)
    except Rejected:
        return
    assert tariff.price(used, 5)[0] <= hold
    if tariff.composed and not any(tariff.dearest):
        assert hold == tariff.price(most, 5)[0]


def test_the_hold_takes_each_lines_dearest_ask_of_a_family() -> None:
    lines = (
        Line(PARTY, Role.maker, 0, asks(input_token=3, cache_write_token=9)),
        Line(PARTY, Role.compute, 0, asks(input_token=8, cached_input_token=1)),
    )
    tariff = compile_terms(Terms(ZERO_DIGEST, lines))
    assert tariff.hold(Units(input_token=10**6)) == 9 + 8
    assert tariff.hold(Units(input_token=10**6, cached_input_token=10**6)) == 2 * (9 + 8)
    assert tariff.price(Units(cached_input_token=10**6))[0] == 3 + 1


@pytest.mark.parametrize(
    "wrong",
    [
        ((0, 1), (0, 2)),
        ((1, 1), (0, 2)),
        ((15, 1),),
        ((-1, 1),),
        ((0, -1),),
        ((0, 2**63),),
        ((0, 1.0),),
        ((0, True),),
        (0, 1, 2),
        (1, 0, 0, 0, 0, 0),
    ],
)
def test_asks_that_are_not_sorted_pairs_are_refused(wrong: Rates) -> None:
    with pytest.raises(Rejected, match="pairs"):
        meters.check_rates(wrong)


def test_units_have_40_bits() -> None:
    assert meters.units({"byte": 2**40 - 1}).byte == 2**40 - 1
    for wrong in (2**40, -1, 1.0, True, "1"):
        with pytest.raises(Rejected, match="byte"):
            meters.units({"byte": wrong})
    with pytest.raises(Rejected):
        meters.counted(Units(byte=2**40))
    with pytest.raises(Rejected):
        meters.counted(Units(call=1, byte=-1))


@quick
@given(some.units)
def test_used_and_units_are_inverses_and_coarse_keeps_the_sum(measured: Units) -> None:
    assert meters.units(meters.used(measured)) == measured
    assert sum(meters.coarse(measured)) == sum(measured)
    assert all(count == 0 for meter, count in zip(Meter, meters.coarse(measured), strict=True) if meter.coarse != meter)


def test_a_bid_that_makes_a_finer_meter_dearer_is_a_raise() -> None:
    from ledger.core.catalog.bids import Bid

    whole, cheap = Bid(0, asks(input_token=10)), Bid(0, asks(input_token=10, cached_input_token=1))
    assert not epochs.raises(whole, cheap)
    assert epochs.raises(cheap, whole), "the cached units fall back to the dearer ask"
    assert not epochs.raises(whole, Bid(0, asks(input_token=9)))


@quick
@given(st.lists(st.tuples(some.chances, st.integers(0, 300_000)), min_size=2, max_size=2), some.units)
def test_two_royalties_together_pay_no_less_than_either(given_: list[tuple[Random, int]], used: Units) -> None:
    one, other = (
        Royalty(ratio, tuple((m, chance.randrange(50)) for m in Meter if chance.random() < 0.4))
        for chance, ratio in given_
    )
    both = one | other
    assert fixed(both.floor, used) >= max(fixed(one.floor, used), fixed(other.floor, used))
    assert both == other | one
