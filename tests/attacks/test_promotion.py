"""Money for recommending: no gateway more, no error and no rival makes a sponsor pay twice, or for nothing, or keeps
its slot from being shown.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger.core.catalog.bids import Role
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.promotion import MAX_ORDERS
from ledger.core.pricing.sponsors import standing
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import referrals
from tests.gateway.nodes import Node
from tests.gateway.test_referrals import CURATOR, a_token, find, paid, sponsor
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World, a_signer

SURFACE = a_signer("a surface of attacks")
TASK = "text-generation"
SLOT = {"bid": "11", "daily_cap": "11", "tasks": [TASK]}


def slots(gateway: Running, key: str | None) -> list[dict[str, Any]]:
    rows = find(gateway, key, headers={"tollway-surface": to_hex(SURFACE.address)})
    return [row for row in rows if row["sponsored"]]


def surfaces(world: World, *buyers: Signer) -> list[int]:
    """What the surface earned of each."""
    return [paid(world, one).get((SURFACE.address, Role.curator), 0) for one in buyers]


@pytest.fixture
def model(world: World, node: Node) -> Digest:
    """A model at 1000 atoms, of which its maker takes a tenth."""
    return world.a_model_at(node.url, ask={"call": "1000"})


def two(world: World) -> tuple[Running, Running]:
    """Gateways of one lane."""
    return world.gateway("one"), world.gateway("two")


def test_a_window_is_one_over_all_gateways(world: World, model: Digest, consumer: Signer) -> None:
    """5 were paid where 3 are the window: each gateway counted its own."""
    sponsor(world, model, curation={"offer_ppm": 500_000, "window_calls": 3})
    world.deposit(consumer.address, 10**6)
    both = two(world)
    keys = [one.key(consumer, 10**12 + place) for place, one in enumerate(both)]
    for _ in range(3):
        for gateway, key in zip(both, keys, strict=True):
            answer = gateway.chat(key, header_tollway_referral=a_token(model, keep=1_000_000))
            assert answer.status_code == 200, answer.text
    one = 1000 * 10 // 88 // 2  # half of a tenth of the price
    assert 3 * one <= paid(world, consumer)[CURATOR.address, Role.curator] <= 3 * one + 6


def test_a_days_cap_is_one_over_all_gateways(world: World, model: Digest) -> None:
    sponsor(world, model, promotion=SLOT)
    both, buyers = two(world), [a_signer(f"buyer {number}") for number in range(2)]
    keys = []
    for gateway, who in zip(both, buyers, strict=True):
        world.deposit(who.address, 10**6)
        keys.append(gateway.key(who))
        assert len(slots(gateway, keys[-1])) == 1
    for gateway, key in zip(both, keys, strict=True):
        assert gateway.chat(key).status_code == 200
    assert sorted(surfaces(world, *buyers)) == [0, 7]
    assert [slots(gateway, None) for gateway in both] == [[], []]


def test_a_first_sale_is_one_over_all_gateways(world: World, model: Digest, node: Node, consumer: Signer) -> None:
    """A consumer that was shown a slot at two gateways had its sponsor pay for both of its first calls."""
    sponsor(world, model, promotion={**SLOT, "daily_cap": "1000"})
    world.deposit(consumer.address, 10**6)
    both = two(world)
    keys = [one.key(consumer, 10**12 + place) for place, one in enumerate(both)]
    for gateway, key in zip(both, keys, strict=True):
        assert len(slots(gateway, key)) == 1
    arrived = 0

    async def together() -> None:
        nonlocal arrived
        arrived += 1
        while arrived < 2:
            await asyncio.sleep(0.01)

    good = node.behaviour

    async def behave(asked: Any, wire: Any) -> None:
        await together()
        await good(asked, wire)

    node.behaviour = behave
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: one[0].chat(one[1]), zip(both, keys, strict=True)))
    assert [one.status_code for one in answers] == [200, 200]
    assert surfaces(world, consumer) == [7]


def test_an_error_costs_no_sponsor_a_part_of_its_day(
    world: World, model: Digest, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The price of a slot stayed in the day's budget, and the slot was forgotten."""
    sponsor(world, model, curation={"offer_ppm": 500_000, "window_calls": 3})
    sponsor(world, model, CURATOR, "curator", promotion=SLOT)
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert len(slots(gateway, key)) == 1

    def broken(*_: object) -> int:
        raise Unavailable("the database cannot be used now")

    with monkeypatch.context() as patched:
        patched.setattr(referrals, "referred_calls", broken)
        assert gateway.chat(key).status_code == 503
    eventually(lambda: len(slots(gateway, None)) == 1)
    assert gateway.chat(key).status_code == 200
    assert surfaces(world, consumer) == [7]


def test_a_forged_token_takes_no_slot_from_its_sponsor(world: World, model: Digest, consumer: Signer) -> None:
    """The slot was forgotten: the next call was sold, and its surface had nothing of it."""
    sponsor(world, model, promotion=SLOT)
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert len(slots(gateway, key)) == 1
    assert gateway.chat(key, header_tollway_referral="tr_forged").status_code == 400
    assert gateway.chat(key).status_code == 200
    assert surfaces(world, consumer) == [7]


def test_who_pays_no_slot_makes_no_others_irrelevant(world: World, node: Node) -> None:
    """A stranger's free model, whose order could never pay, hid the slots of all dear ones: 0 ppm relevant."""
    dear = world.a_model_at(node.url, "@acme/dear", ask={"call": "3000000"})
    free = world.a_model_at(node.url, "@acme/free", ask={"call": "0"})
    for subject in (dear, free):
        sponsor(world, subject, promotion=SLOT)
    assert [row["name"] for row in slots(world.gateway(), None)] == ["@acme/dear"]


def an_order(number: int, role: Role, bid: int) -> Sponsorship:
    return Sponsorship(Address(number.to_bytes(20, "big")), role, 0, 0, bid, bid, frozenset([TASK]))


def test_curators_take_no_place_of_who_has_a_line() -> None:
    """Everybody may be one: sixteen with bids that nobody can pay were all the orders that a model had."""
    owner = Sponsorship(Address(b"\x01" * 20), Role.maker, 100_000, 9, 10, 10, frozenset([TASK]))
    provider = an_order(2, Role.compute, 20)
    curators = [an_order(number, Role.curator, 10**18) for number in range(100, 100 + 3 * MAX_ORDERS)]
    found = standing(owner, [*curators, provider])
    assert found[-2:] == (provider, owner)
    assert len(found) == MAX_ORDERS + 2
