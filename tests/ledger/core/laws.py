"""The mechanism's invariants M1 to M12 as properties. `test_laws.py` runs them, and runs them again on broken pages."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from ledger.core.catalog import lineage
from ledger.core.catalog.bids import Deduction, Line, Role, Terms
from ledger.core.catalog.lineage import Parent, Royalty
from ledger.core.pricing import commissions, routing
from ledger.core.pricing import price as pricing
from ledger.core.pricing.price import Claim
from ledger.core.pricing.routing import Candidate
from ledger.core.values import documents
from ledger.core.values.atoms import PPM
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Meter, Units
from tests.ledger.core import strategies as some
from tests.ledger.core.examples import a_capsule, a_model, an_offer
from tests.rates import asks

law = settings(
    max_examples=150,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@law
@given(some.terms, some.units, some.atoms)
def m1_amounts_sum_to_the_price_and_through_deductions(terms: Terms, units: Units, passed: int) -> None:
    """Amounts sum to the charge, the charge and what is passed on and rebated to the price."""
    try:
        charge = pricing.price(terms, units, passed)
    except Rejected:
        assume(False)
    assert min(charge.amounts, default=0) >= 0
    assert charge.rebate >= 0
    assert sum(charge.amounts) == charge.charge
    assert charge.charge + passed + charge.rebate == charge.price
    assert len(charge.amounts) == len(pricing.payees(terms))


@law
@given(some.claims(), st.randoms(use_true_random=False))
def m2_the_order_of_lines_is_irrelevant(claims: list[Claim], chance: Any) -> None:
    """Claims in another order cost and get the same."""
    order = list(range(len(claims)))
    chance.shuffle(order)
    quote, other = pricing.compose(claims), pricing.compose([claims[i] for i in order])
    assert other.price == quote.price
    assert list(other.amounts) == [quote.amounts[i] for i in order]


@law
@given(some.claims(cap=600_000), st.data())
def m3_raising_a_bid_never_lowers_anybodys_amount(claims: list[Claim], data: st.DataObject) -> None:
    """On that call: the raiser's and all others' amounts stay or grow."""
    who = data.draw(st.integers(0, len(claims) - 1))
    raised = list(claims)
    more = data.draw(st.tuples(st.integers(0, 300_000), some.atoms))
    raised[who] = Claim(claims[who].ratio_ppm + more[0], claims[who].fixed + more[1])
    before, after = pricing.compose(claims), pricing.compose(raised)
    assert after.price >= before.price
    assert all(new >= old for new, old in zip(after.amounts, before.amounts, strict=True))


@law
@given(some.claims(), st.data())
def m4_removing_a_line_raises_nothing(claims: list[Claim], data: st.DataObject) -> None:
    """An absent role: the price falls or stays, and nobody else gains."""
    assume(len(claims) > 1)
    who = data.draw(st.integers(0, len(claims) - 1))
    before, after = pricing.compose(claims), pricing.compose(claims[:who] + claims[who + 1 :])
    rest = before.amounts[:who] + before.amounts[who + 1 :]
    assert after.price <= before.price
    assert all(new <= old for new, old in zip(after.amounts, rest, strict=True))


@law
@given(some.claims(fixed=some.small_atoms))
def m5_the_price_is_the_least_fixed_point(claims: list[Claim]) -> None:
    """No smaller natural number pays everybody: by brute force, on small calls."""
    price = pricing.compose(claims).price
    assume(price <= 3_000)
    brute = next(p for p in range(10**6) if sum(-(-c.ratio_ppm * p // PPM) + c.fixed for c in claims) <= p)
    assert price == brute


@law
@given(some.claims(cap=800_000), st.data())
def m6_one_line_posing_as_two_gains_a_few_atoms_at_most(claims: list[Claim], data: st.DataObject) -> None:
    """Two ceilings instead of one: at most 1 atom more for the line, and what n ceilings make of it in the price."""
    who = data.draw(st.integers(0, len(claims) - 1))
    line = claims[who]
    part = Claim(data.draw(st.integers(0, line.ratio_ppm)), data.draw(st.integers(0, line.fixed)))
    rest = Claim(line.ratio_ppm - part.ratio_ppm, line.fixed - part.fixed)
    whole, split = pricing.compose(claims), pricing.compose([*claims[:who], part, rest, *claims[who + 1 :]])
    ratios = sum(claim.ratio_ppm for claim in claims)
    bound = 2 + line.ratio_ppm * (len(claims) + 1) // (PPM - ratios)
    assert 0 <= split.amounts[who] + split.amounts[who + 1] - whole.amounts[who] <= bound


@law
@given(st.data())
def m7_splitting_capacity_leaves_every_routing_probability(data: st.DataObject) -> None:
    """An operator as two nodes has the same weight as one, and so has everybody else."""
    candidates = data.draw(st.lists(_candidates, min_size=1, max_size=6))
    who = data.draw(st.integers(0, len(candidates) - 1))
    part = data.draw(st.integers(0, candidates[who].capacity))
    halves = [candidates[who]._replace(capacity=c) for c in (part, candidates[who].capacity - part)]
    whole = routing.weights(candidates)
    split = routing.weights([*candidates[:who], *halves, *candidates[who + 1 :]])
    assert split[who] + split[who + 1] == whole[who]
    assert split[:who] + split[who + 2 :] == whole[:who] + whole[who + 1 :]


@law
@given(some.terms, some.units, st.sets(some.addresses))
def m8_no_coalition_with_the_consumer_recovers_more_than_price_less_fee(
    terms: Terms, units: Units, coalition: set[Address]
) -> None:
    """Whoever colludes, curators and surfaces included, the protocol's line is lost to them."""
    fee = Line(Address(b"\xfe" * 20), Role.protocol, 20_000)
    assume(terms.list_price is None)
    try:
        whole = Terms(terms.subject, (*terms.lines, fee), deduction=terms.deduction)
        charge = pricing.price(whole, units)
    except Rejected:
        assume(False)
    paid = zip(pricing.payees(whole), charge.amounts, strict=True)
    recovered = charge.rebate + sum(amount for (party, _), amount in paid if party in coalition)
    assert recovered <= charge.price - -(-20_000 * charge.price // PPM)


@law
@given(some.any_atoms, some.deductions())
def m9_a_sponsor_keeps_a_tenth_of_its_line(
    line: int, deduction: tuple[Address, int, int, int, Address, Address]
) -> None:
    """And nothing is made or lost in taking the line apart."""
    part = commissions.deduct(line, Deduction(0, *deduction))
    assert 10 * part.kept >= line
    assert part.kept + part.curator + part.rebate + part.surface + part.treasury == line
    assert min(part.curator, part.rebate, part.surface, part.treasury) >= 0


@law
@given(st.integers(0, 300_000), st.lists(st.integers(0, 40_000), max_size=4), some.atoms)
def m10_inserted_intermediates_never_lower_an_ancestors_take(ratio: int, between: list[int], floor: int) -> None:
    """base -> d1 -> ... -> leaf: base gets the same as when it is the direct parent."""
    models = [_model(f"m{place}") for place in range(len(between) + 2)]
    royalties = [Royalty(ratio, asks(call=floor)), *(Royalty(one) for one in between)]
    parents = {models[0]: (), **{m: (Parent(p, r),) for m, p, r in zip(models[1:], models, royalties, strict=False)}}
    direct = lineage.ancestors(models[1], parents)[models[0]]
    far = lineage.ancestors(models[-1], parents)
    assert far[models[0]] == direct == royalties[0]
    ask = Claim(0, 1_000)
    near_take = pricing.compose([Claim(ratio, floor), ask]).amounts[0]
    claims = [Claim(royalty.ratio_ppm, dict(royalty.floor).get(Meter.call, 0)) for royalty in far.values()]
    at = list(far).index(models[0])
    assert pricing.compose([*claims, ask]).amounts[at] >= near_take


@law
@given(some.terms, some.units, some.units, some.atoms, some.atoms)
def m11_the_charge_never_exceeds_the_hold(terms: Terms, used: Units, more: Units, passed: int, extra: int) -> None:
    """The hold is the price at the most a call can use; whatever it then uses, it costs no more."""
    most = Units(*(a + b for a, b in zip(used, more, strict=True)))
    try:
        hold = pricing.price(terms, most, passed + extra).price
    except Rejected:
        assume(False)
    charge = pricing.price(terms, used, passed)  # what fits at the most fits below it: no new refusal
    assert charge.price <= hold
    assert charge.charge + passed <= hold


@law
@given(st.sampled_from([a_model, an_offer, a_capsule]), st.data())
def m12_floats_and_unknown_fields_are_refused_in_signed_documents(make: Any, data: st.DataObject) -> None:
    """Wherever they are, and the refusal names the field."""
    document = copy.deepcopy(make())
    documents.validate(document)
    places = list(_places(document, "$"))
    holder, key, path = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()) and isinstance(holder[key], dict) and path in _CLOSED:
        holder[key]["surprise"] = 1
        path += ".surprise"
    else:
        holder[key] = data.draw(st.sampled_from([0.5, 1.0, 1e300]))
    with pytest.raises(Rejected) as refused:
        documents.validate(document)
    assert refused.value.facts["field"] == path


_candidates = st.builds(
    Candidate,
    price=some.atoms,
    quality_ppm=st.integers(1, PPM),
    latency_ms=st.integers(1, 1_000),
    slo_ms=st.integers(1, 1_000),
    capacity=st.integers(0, 1_000),
)
_CLOSED = {"$.derivative_terms", "$.capabilities[0]", "$.execution", "$.bid", "$.serve", "$.distribution", "$.steps[0]"}


def _places(value: Any, path: str) -> list[tuple[Any, Any, str]]:
    """Every place of a document: its holder, its key there, and its path."""
    found: list[tuple[Any, Any, str]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = f"{path}.{key}" if isinstance(value, dict) else f"{path}[{key}]"
        found += [(value, key, here), *_places(item, here)]
    return found


def _model(name: str) -> Digest:
    return keccak256(name.encode())


LAWS = [
    m1_amounts_sum_to_the_price_and_through_deductions,
    m2_the_order_of_lines_is_irrelevant,
    m3_raising_a_bid_never_lowers_anybodys_amount,
    m4_removing_a_line_raises_nothing,
    m5_the_price_is_the_least_fixed_point,
    m6_one_line_posing_as_two_gains_a_few_atoms_at_most,
    m7_splitting_capacity_leaves_every_routing_probability,
    m8_no_coalition_with_the_consumer_recovers_more_than_price_less_fee,
    m9_a_sponsor_keeps_a_tenth_of_its_line,
    m10_inserted_intermediates_never_lower_an_ancestors_take,
    m11_the_charge_never_exceeds_the_hold,
    m12_floats_and_unknown_fields_are_refused_in_signed_documents,
]
