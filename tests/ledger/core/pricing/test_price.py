"""Compiled terms price by the rule's definition: hand-computed cases, and brute force over exact fractions."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import assume, given, settings

from ledger.core.catalog.bids import Deduction, Line, Role, Terms, encode, terms_id
from ledger.core.pricing.price import Tariff, compile_terms, price
from ledger.core.values.atoms import PPM
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import Meter, Units
from tests.ledger.core import strategies as some
from tests.rates import asks

PARTY, CURATOR, TREASURY = (Address(bytes((n,)) * 20) for n in (1, 2, 3))
MAKER = Line(PARTY, Role.maker, 100_000, asks(call=40))
COMPUTE = Line(PARTY, Role.compute, 0, asks(input_token=1_000_000, output_token=3_000_000))
PROTOCOL = Line(TREASURY, Role.protocol, 20_000)
USED = Units(call=1, input_token=101, output_token=7)
quick = settings(max_examples=200, deadline=None, database=None, derandomize=True)


def tariff(list_price: int | None = None, seller: int = 0, deduction: Deduction | None = None) -> Tariff:
    """The three lines above, compiled. They ask for 40 + (101 + 21) = 162 atoms of `USED` and 12 % of the price."""
    return compile_terms(Terms(ZERO_DIGEST, (MAKER, COMPUTE, PROTOCOL), list_price, seller, deduction))


def test_a_composed_price_computed_by_hand() -> None:
    # 162 / 0.88 = 184.09; at 185 the lines get ceil(18.5) + 40 = 59, 122 and ceil(3.7) = 4: 185 in all.
    assert tariff().price(USED) == (185, 185)
    assert tariff().charge(USED).amounts == (59, 122, 4)
    # 1,000 atoms of sub-calls: 1,162 / 0.88 = 1,320.45; at 1,322 it is 133 + 40, 122, 27 and the 1,000.
    assert tariff().price(USED, 1_000) == (1_322, 322)
    assert tariff().charge(USED, 1_000).amounts == (173, 122, 27)
    assert tariff().metered == {Meter.call, Meter.input_token, Meter.output_token}


def test_a_list_price_leaves_the_rest_to_its_seller() -> None:
    # Of 1,000 the compute gets 122 and the protocol 20; the maker would get 140 and sells for the 858 left.
    assert tariff(list_price=1_000).price(USED) == (1_000, 1_000)
    assert tariff(list_price=1_000).charge(USED).amounts == (858, 122, 20)
    with pytest.raises(Rejected, match="residual 38 < reserve 57"):
        tariff(list_price=164).price(USED)


def test_a_rebate_lowers_the_charge_and_not_the_price() -> None:
    # The maker's 59 atoms: half, 29, is the commission; the curator keeps 14 of it, the consumer the other 15.
    referred = tariff(deduction=Deduction(0, CURATOR, 500_000, 500_000, treasury=TREASURY))
    assert referred.price(USED) == (185, 170)
    assert referred.charge(USED).amounts == (30, 122, 4, 14, 0, 0)


def test_terms_are_compiled_with_their_id_and_bytes() -> None:
    made = tariff()
    assert (made.body, made.id) == (encode(made.terms), terms_id(encode(made.terms)))


def test_a_price_above_63_bits_is_refused() -> None:
    dear = compile_terms(Terms(ZERO_DIGEST, (Line(PARTY, Role.compute, 0, asks(call=2**62)),)))
    assert dear.price(Units(call=1), 2**62 - 1) == (2**63 - 1, 2**62)
    for refused in (dear.price, dear.charge):
        with pytest.raises(Rejected, match=r"above 2\^63-1"):
            refused(Units(call=1), 2**62)


@quick
@given(some.chances.map(lambda chance: some.a_terms(chance, bits=8)), some.cheap_units, some.small_atoms)
def test_the_price_is_the_least_that_pays_every_line_by_brute_force(terms: Terms, units: Units, total: int) -> None:
    """Every line's exact part is rounded up once; the price is looked for from 0 upward."""
    assume(terms.list_price is None)
    asked = total
    for line in terms.lines:
        own, exact = dict(line.asks), Fraction(0)
        for meter, used in zip(Meter, units, strict=True):
            paid = own[meter] if meter in own else own.get(meter.coarse, 0)
            exact += Fraction(paid * used, meter.scale)
        asked += ceil(exact)
    assume(asked <= 2_000)
    least = next(
        p for p in range(10**6) if asked + sum(ceil(Fraction(line.ratio_ppm * p, PPM)) for line in terms.lines) <= p
    )
    made = compile_terms(terms)
    assert made.price(units, total)[0] == made.charge(units, total).price == price(terms, units, total).price == least


@quick
@given(some.terms, some.units, some.atoms)
def test_price_and_charge_say_the_same_of_listed_and_deducted_terms_too(terms: Terms, units: Units, total: int) -> None:
    made = compile_terms(terms)
    try:
        due = made.charge(units, total)
    except Rejected:
        with pytest.raises(Rejected):
            made.price(units, total)
        return
    assert made.price(units, total) == (due.price, due.charge)


@pytest.mark.parametrize("used", [{}, {"call": 2}, {"input_token": 10**9}])
def test_a_line_that_asks_for_nothing_claims_its_ratio_alone(used: dict[str, int]) -> None:
    assert [claim.fixed for claim in tariff().claims(Units(**used))][2] == 0
