"""Who stands in a call's terms: every line with its reason, and what keeps a model or a capsule from being sold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.core.catalog.bids import Bid, Line, Role
from ledger.core.catalog.capsules import Capsule, capsule
from ledger.core.catalog.lineage import Registration, parents_hash
from ledger.core.catalog.models import Model, model
from ledger.core.pricing import epochs, terms
from ledger.core.pricing.commissions import Sponsorship, sponsorship
from ledger.core.pricing.epochs import BidInForce
from ledger.core.pricing.terms import CallTerms, Market, Operator
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, did, lane_subject
from tests.ledger.core.examples import OWNER, WEAVER, a_base, a_capsule, a_model
from tests.rates import asks

OPERATOR, TREASURY, PROVIDER, NEAR, FAR = (Address(bytes((n,)) * 20) for n in (1, 2, 3, 4, 5))
OUR_LANE = Address(bytes(19) + b"\7")
LANE = lane_subject(OUR_LANE)
BASE, CHILD, CAPSULE = model(a_base()), model(a_model()), capsule(a_capsule())
RATE = asks(call=200)
OWNER_LINE = Line(WEAVER, Role.oem, 150_000)
ANCESTOR = Line(OWNER, Role.maker, 120_000, asks(call=40))
COMPUTE = Line(PROVIDER, Role.compute, 0, RATE)
GATEWAY = Line(OPERATOR, Role.gateway, 10_000)
PROTOCOL = Line(TREASURY, Role.protocol, 20_000)
BIDS = {
    (CHILD.id, Role.oem, WEAVER): Bid(150_000),
    (CHILD.id, Role.compute, PROVIDER): Bid(0, RATE),
    (LANE, Role.gateway, OPERATOR): Bid(10_000),
}


def market(bids: Mapping[tuple[Digest, Role, Address], Bid] = BIDS, **changed: Any) -> Market:
    """Everything published, registered by its owner and staked, with these bids in the book of epoch 1."""
    book = epochs.freeze([BidInForce(*key, bid, 1, 2) for key, bid in bids.items()], 1)
    published: dict[Digest, Model | Capsule] = {BASE.id: BASE, CHILD.id: CHILD, CAPSULE.id: CAPSULE}
    owners = {BASE.id: OWNER, CHILD.id: WEAVER, CAPSULE.id: WEAVER}
    parents = {key: one.parents for key, one in published.items()}
    registered = {key: Registration(owner, parents_hash(key, parents), 1) for key, owner in owners.items()}
    operator = Operator(OPERATOR, OUR_LANE, TREASURY, 100, False)
    made = Market(operator, book, published, registered, owners, {PROVIDER: 250})
    return replace(made, **changed)


def registered(model: Model | Capsule, **changed: Any) -> dict[Digest, Registration]:
    """The registrations, with another one of this model."""
    known = market().registered
    return {**known, model.id: replace(known[model.id], **changed)}


def private() -> Operator:
    """The same operator without a chain."""
    return replace(market().operator, private=True)


def of_child(market: Market) -> CallTerms:
    """The terms of the child's call, served by its first provider."""
    provider = market.book.bidders(CHILD.id, Role.compute)[0]
    return terms.of_provider(market, CHILD, terms.model_lines(market, CHILD), provider)


def test_a_models_call_pays_owner_ancestors_provider_gateway_and_protocol() -> None:
    made = of_child(market())
    assert made.root.lines == (ANCESTOR, OWNER_LINE, COMPUTE, GATEWAY, PROTOCOL)
    assert made.root.subject == CHILD.id


def test_a_sub_call_pays_neither_gateway_nor_protocol() -> None:
    assert of_child(market()).sub.lines == (ANCESTOR, OWNER_LINE, COMPUTE)


def test_an_operator_without_a_bid_has_no_line() -> None:
    bids = {key: bid for key, bid in BIDS.items() if key[1] is not Role.gateway}
    assert of_child(market(bids)).root.lines == (ANCESTOR, OWNER_LINE, COMPUTE, PROTOCOL)


def delivered(
    bids: Mapping[Address, Bid], named: Sequence[Address] = (), owner: Address = WEAVER, **changed: Any
) -> list[Line]:
    """The delivery lines of a child's call with these bids to deliver it, whose document names these deliverers."""
    child = model(a_model() | ({"delivery": [did(1, one) for one in named]} if named else {}))
    known = {**market().published, child.id: child}
    row = Registration(WEAVER, parents_hash(child.id, {key: one.parents for key, one in known.items()}), 1)
    placed = {(child.id, Role.oem, owner): Bid(150_000)} | {(child.id, Role.delivery, who): bids[who] for who in bids}
    owners = {BASE.id: OWNER, child.id: owner}
    there = market(placed, published=known, registered={child.id: row}, owners=owners, **changed)
    return [line for line in terms.model_lines(there, child) if line.role is Role.delivery]


def test_of_those_that_its_owner_named_the_cheapest_for_a_typical_call_delivers() -> None:
    by_call, by_byte = Bid(0, asks(call=11)), Bid(0, asks(byte=10_000))  # a megabyte of these is 10 atoms
    both = (NEAR, FAR)
    assert delivered({NEAR: by_call, FAR: by_byte}, both) == [Line(FAR, Role.delivery, 0, by_byte.asks)]
    lower = [Line(NEAR, Role.delivery, 0, by_call.asks)]
    assert delivered({NEAR: by_call, FAR: by_call}, both) == lower, "the lower address"
    assert delivered({NEAR: by_call, FAR: by_byte}, (NEAR,)) == lower, "a cheaper stranger takes no line"


@pytest.mark.parametrize("named", [(), (NEAR,)])
def test_a_strangers_bid_to_deliver_changes_no_price_and_earns_nothing(named: tuple[Address, ...]) -> None:
    dear = Bid(0, asks(call=2**62))
    assert delivered({FAR: dear, PROVIDER: dear, OPERATOR: Bid()}, named) == []
    assert delivered({FAR: dear}, named, operator=private()) == []


def test_an_owner_delivers_on_its_own_bid_also_who_bought_the_model() -> None:
    bid = Bid(0, asks(call=7))
    line = [Line(WEAVER, Role.delivery, 0, bid.asks)]
    assert delivered({WEAVER: bid}) == line
    assert delivered({WEAVER: bid, NEAR: Bid(0, asks(call=8))}, (NEAR,)) == line, "so one that was named asks no more"
    assert delivered({WEAVER: bid}, owner=FAR) == [], "who sold it is a stranger"
    assert delivered({WEAVER: Bid(), FAR: bid}, owner=FAR) == [Line(FAR, Role.delivery, 0, bid.asks)]


def test_an_owner_may_bid_as_maker_where_its_model_makes_it_an_oem() -> None:
    bids = {key: bid for key, bid in BIDS.items() if key[1] is not Role.oem}
    assert terms.model_lines(market(bids | {(CHILD.id, Role.maker, WEAVER): Bid(1)}), CHILD)[0].role is Role.maker
    both = BIDS | {(CHILD.id, Role.maker, WEAVER): Bid(1)}
    assert terms.model_lines(market(both), CHILD)[0] == OWNER_LINE


def test_a_model_is_not_sold_without_owner_registration_bid_or_ancestor() -> None:
    with pytest.raises(Rejected, match="not registered by its owner"):
        terms.model_lines(market(registered={}), CHILD)
    assert terms.model_lines(market(registered={}, owners={}, operator=private()), CHILD) == [OWNER_LINE, ANCESTOR]
    with pytest.raises(Rejected, match="has no bid in this epoch"):
        terms.model_lines(market({}), CHILD)
    with pytest.raises(Rejected, match="unknown ancestor"):
        terms.model_lines(market(published={CHILD.id: CHILD}), CHILD)
    with pytest.raises(Rejected, match="at most 300000 ppm"):
        terms.model_lines(market(BIDS | {(CHILD.id, Role.oem, WEAVER): Bid(300_001)}), CHILD)


def test_a_model_that_was_sold_pays_its_new_owner_on_its_own_bid() -> None:
    sold = {BASE.id: NEAR, CHILD.id: FAR}
    with pytest.raises(Rejected, match="has no bid in this epoch"):
        terms.model_lines(market(owners=sold), CHILD)
    made = of_child(market(BIDS | {(CHILD.id, Role.maker, FAR): Bid(70_000)}, owners=sold))
    assert made.sub.lines == (replace(ANCESTOR, party=NEAR), Line(FAR, Role.maker, 70_000), COMPUTE)


def test_a_model_that_another_account_registered_or_with_other_parents_is_not_sold() -> None:
    with pytest.raises(Rejected, match="another account registered it"):
        terms.model_lines(market(registered=registered(CHILD, by=FAR)), CHILD)
    with pytest.raises(Rejected, match="registered with other parents"):
        terms.model_lines(market(registered=registered(CHILD, lineage=BASE.id)), CHILD)
    with pytest.raises(Rejected, match="can be called from the next one on"):
        terms.model_lines(market(registered=registered(CHILD, first=2)), CHILD)


def test_a_workflow_pays_its_owner_and_what_that_one_bids_as_its_maker() -> None:
    bids = BIDS | {(CAPSULE.id, Role.weaver, FAR): Bid(60_000), (CAPSULE.id, Role.maker, FAR): Bid(50_000)}
    sold = market(bids, owners={CAPSULE.id: FAR})
    lines = (Line(FAR, Role.maker, 50_000), Line(FAR, Role.weaver, 60_000))
    assert terms.of_capsule(sold, CAPSULE).sub.lines == lines
    assert terms.weaver_of(sold, CAPSULE) == FAR
    later = replace(sold, registered=registered(CAPSULE, first=2), owners={})
    assert terms.of_capsule(later, CAPSULE).sub.lines == (Line(WEAVER, Role.weaver, 100_000),)
    with pytest.raises(Rejected, match="another account registered it"):
        terms.of_capsule(market(bids, registered=registered(CAPSULE, by=FAR)), CAPSULE)


def test_what_is_registered_again_is_not_sold_while_its_registration_before_holds() -> None:
    """Whoever registered it before, perhaps its own author with other parents: the chain judges this epoch by that."""
    again = registered(CAPSULE, first=2) | {CHILD.id: registered(CHILD, first=2)[CHILD.id]}
    for before in (WEAVER, FAR):
        owned = market(registered=again, owners={CAPSULE.id: before, CHILD.id: before})
        with pytest.raises(Rejected, match="registered again in this epoch"):
            terms.of_capsule(owned, CAPSULE)
        with pytest.raises(Rejected, match="registered again in this epoch"):
            terms.model_lines(owned, CHILD)


def test_lines_above_their_caps_are_refused() -> None:
    with pytest.raises(Rejected, match="a compute bids at most 0 ppm"):
        of_child(market(BIDS | {(CHILD.id, Role.compute, PROVIDER): Bid(1)}))
    with pytest.raises(Rejected, match="a gateway bids at most 30000 ppm"):
        of_child(market(BIDS | {(LANE, Role.gateway, OPERATOR): Bid(30_001)}))


def test_a_provider_counts_for_what_its_stake_covers() -> None:
    assert terms.capacity(market(), PROVIDER, declared=9) == 2, "250 atoms at 100 a call"
    assert terms.capacity(market(), PROVIDER, declared=1) == 1
    with pytest.raises(Rejected, match="no stake to cover a call"):
        terms.capacity(market(), NEAR, declared=9)
    assert terms.capacity(market(operator=private()), NEAR, declared=9) == 9


def test_a_capsules_call_pays_weavers_ancestors_and_the_operator_that_runs_it() -> None:
    assert terms.of_capsule(market(), CAPSULE).root.lines == (Line(WEAVER, Role.weaver, 100_000), GATEWAY, PROTOCOL)
    helped = replace(CAPSULE, co_weavers=((NEAR, 5_000),), parents=CHILD.parents)
    bids = {(CAPSULE.id, Role.weaver, WEAVER): Bid(90_000, RATE), (LANE, Role.compute, OPERATOR): Bid(0, RATE)}
    published = {BASE.id: BASE, CAPSULE.id: helped}
    lineage = parents_hash(helped.id, {BASE.id: (), helped.id: helped.parents})
    derived = market(BIDS | bids, published=published, registered=registered(helped, lineage=lineage))
    made = terms.of_capsule(derived, helped)
    lines = (ANCESTOR, Line(OPERATOR, Role.compute, 0, RATE), Line(NEAR, Role.weaver, 5_000))
    assert made.sub.lines == (*lines, Line(WEAVER, Role.weaver, 90_000, RATE))
    assert made.root.lines == (*made.sub.lines, GATEWAY, PROTOCOL)


def test_a_weaver_with_a_list_price_is_the_seller_of_record() -> None:
    listed = replace(CAPSULE, list_price=5_000, co_weavers=((NEAR, 5_000),))
    made = terms.of_capsule(market(), listed)
    assert made.root.list_price == 5_000
    assert made.root.lines[made.root.seller].party == WEAVER
    assert (made.sub.list_price, made.sub.seller) == (None, 0)


def test_a_capsule_is_sold_when_its_weaver_registered_it_or_bids() -> None:
    bid = {(CAPSULE.id, Role.weaver, WEAVER): Bid(1)}
    assert terms.of_capsule(market(BIDS | bid, registered={}), CAPSULE).root.lines[0].ratio_ppm == 1
    with pytest.raises(Rejected, match="not registered by its weaver"):
        terms.of_capsule(market(registered={}), CAPSULE)
    with pytest.raises(Rejected, match="weaver lines take 300001"):
        terms.of_capsule(market(), replace(CAPSULE, co_weavers=((NEAR, 200_001),)))


def test_a_signed_offer_counts_before_what_the_capsule_says() -> None:
    assert sponsorship(WEAVER, None) is None
    assert sponsorship(WEAVER, None, 300_000, 9) == Sponsorship(WEAVER, Role.weaver, 300_000, 9)
    offer = {"role": "oem", "curation": {"offer_ppm": 200_000}}
    assert sponsorship(WEAVER, offer, 300_000, 9) == Sponsorship(WEAVER, Role.oem, 200_000, 1_000)
    slot = {"bid": "50", "daily_cap": "600", "tasks": ["chat"]}
    made = sponsorship(WEAVER, {"role": "weaver", "promotion": slot}, 300_000, 9)
    assert made == Sponsorship(WEAVER, Role.weaver, 300_000, 9, 50, 600, frozenset({"chat"}))
