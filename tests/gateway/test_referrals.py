"""Curators and sponsored slots through a real gateway: who earns what, and how often."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.call.referrals import window_of
from ledger.core.catalog.bids import Role
from ledger.core.pricing.commissions import Referral, token
from ledger.core.values.documents import digest
from ledger.core.values.ids import Address, Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer, offer_hash, signing_digest
from ledger.flows import publications
from ledger.store.receipts import referral_budgets
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Node, dying
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_workflows import earned
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import DOMAIN, MAKER, OPERATOR, PROVIDER, WEAVER, Running, World, a_signer, epoch_now

CURATOR = a_signer("curator")
LATER = 2**62


def sponsor(world: World, subject: Digest, by: Signer = MAKER, role: str = "maker", **offered: Any) -> None:
    """The owner's signed offer to curators, or for slots."""
    body = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(0, by.address),
        "role": role,
        "bid": {"ratio_ppm": 0, "ask": {}},
        "valid_from_epoch": epoch_now(),
        "expires_epoch": epoch_now() + 20,
        "nonce": int(time.time() * 1000),
        "chain_id": 0,
        **offered,
    }
    signed = {**body, "signature": to_hex(by.sign(signing_digest(DOMAIN, offer_hash(digest(body)))))}
    with unit_of_work(world.engine) as session:
        publications.publish_offer(session, signed, DOMAIN, epoch_now(), None, int(time.time() * 1000))


def a_token(subject: Digest, keep: int = 600_000, window: int = 1000, by: Signer = CURATOR) -> str:
    """A curator's signed referral."""
    return token(Referral(by.address, subject, keep, window, LATER), by, DOMAIN)


def paid(world: World, consumer: Signer) -> dict[tuple[Address, Role], int]:
    """Who earned from a consumer."""
    return earned(world, world.receipts_of(consumer.address))


@pytest.fixture
def model(world: World, node: Node) -> Digest:
    """A model at 1000 atoms, of which its maker takes a tenth and gives curators half of that."""
    made = world.a_model_at(node.url, ask={"call": "1000"})
    sponsor(world, made, curation={"offer_ppm": 500_000, "window_calls": 3})
    return made


def test_a_referral_pays_curator_and_consumer_out_of_the_makers_line(
    world: World, model: Digest, consumer: Signer
) -> None:
    gateway, other = world.gateway(), a_signer("unreferred")
    for one in (consumer, other):
        world.deposit(one.address, 10**6)
    plain = gateway.chat(gateway.key(other))
    referred = gateway.chat(gateway.key(consumer), header_tollway_referral=a_token(model))
    assert referred.status_code == 200, referred.text
    before, after = paid(world, other), paid(world, consumer)
    line = before[MAKER.address, Role.maker]
    commission = line // 2
    assert after[CURATOR.address, Role.curator] == commission * 6 // 10
    assert after[MAKER.address, Role.maker] == line - commission
    rebate = commission - commission * 6 // 10
    assert int(referred.headers["tollway-charge"]) == int(plain.headers["tollway-charge"]) - rebate
    for who in ((PROVIDER.address, Role.compute), (OPERATOR.address, Role.protocol)):
        assert before[who] == after[who], "nobody else gives anything"
    prices = {signed.receipt.price for one in (consumer, other) for signed in world.receipts_of(one.address)}
    assert len(prices) == 1
    shown = gateway.of(consumer).get(f"/v1/receipts/{referred.headers['tollway-receipt']}").json()["terms"]
    assert shown["carve"]["curator"] == to_hex(CURATOR.address)
    assert (shown["carve"]["offer_ppm"], shown["carve"]["keep_ppm"]) == (500_000, 600_000)
    assert shown["lines"][shown["carve"]["sponsor"]]["role"] == "maker"
    assert "carve" not in gateway.of(other).get(f"/v1/receipts/{plain.headers['tollway-receipt']}").json()["terms"]


def test_the_window_closes_for_all_curators_and_outlives_the_gateway(
    world: World, model: Digest, consumer: Signer
) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    curators = [a_signer(f"face {n}") for n in range(4)]
    for by in curators[:2]:
        gateway.chat(key, header_tollway_referral=a_token(model, keep=1_000_000, by=by))
    gateway.stop()
    again = world.gateway()
    for by in curators[2:] * 3:
        assert again.chat(key, header_tollway_referral=a_token(model, keep=1_000_000, by=by)).status_code == 200
    commissions = sum(amount for (_, role), amount in paid(world, consumer).items() if role is Role.curator)
    one = 1000 * 10 // 88 // 2  # half of a tenth of the price
    assert 3 * one <= commissions <= 3 * one + 6


def test_a_call_that_fails_gives_its_place_back(world: World, model: Digest, node: Node, consumer: Signer) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key, good = gateway.key(consumer), node.behaviour
    node.behaviour = dying
    gateway.chat(key, header_tollway_referral=a_token(model))
    node.behaviour = good
    window = window_of((consumer.address, model))

    def used() -> int:
        with unit_of_work(world.engine) as session:
            return referral_budgets.used(session, world.lane, [window])[window]

    eventually(lambda: used() == 0)


@pytest.mark.parametrize("forged", ["tr_nonsense", "hello", ""])
def test_a_forged_token_is_refused_and_nothing_is_charged(
    world: World, model: Digest, consumer: Signer, forged: str
) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    stolen = token(Referral(CURATOR.address, model, 1_000_000, 9, LATER), a_signer("thief"), DOMAIN)
    for bad in (forged, stolen):
        response = gateway.chat(key, header_tollway_referral=bad)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_referral"
    assert world.receipts_of(consumer.address) == []


def test_a_true_token_in_the_wrong_place_changes_nothing(world: World, model: Digest, consumer: Signer) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    for word in (
        a_token(Digest(b"\x01" * 32)),
        a_token(model, by=consumer),
        token(Referral(CURATOR.address, model, 1_000_000, 9, 1), CURATOR, DOMAIN),
    ):
        assert gateway.chat(key, header_tollway_referral=word).status_code == 200
    assert Role.curator not in {role for _, role in paid(world, consumer)}


def test_a_workflow_sponsors_from_its_weavers_line(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"), ask="5000")
    capsule = loom.capsule(
        pinned("m", model, {"text": LAST}),
        output={"content": "$steps.m.output.label"},
        distribution={"weaver": {"ratio_ppm": 100_000, "ask": {}}, "curation": {"offer_ppm": 300_000}},
    )
    response = loom.gateway.chat(
        loom.consumer(consumer), "@wanda/flow", header_tollway_referral=a_token(capsule, keep=1_000_000)
    )
    assert response.status_code == 200, response.text
    found = paid(world, consumer)
    whole = found[WEAVER.address, Role.weaver] + found[CURATOR.address, Role.curator]
    assert found[CURATOR.address, Role.curator] == whole * 3 // 10


def find(gateway: Running, key: str | None, **more: Any) -> list[dict[str, Any]]:
    """What discovery shows."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= more.pop("headers", {})
    response = gateway.http.post("/v1/discover", json={"task": "text-generation", **more}, headers=headers)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["results"]
    return rows


@pytest.fixture
def promoted(world: World, node: Node) -> list[Digest]:
    """Two models that bid for slots: 60 and 40 atoms a sale."""
    made = []
    for name, bid in (("@acme/loud", 60), ("@acme/quiet", 40)):
        subject = world.a_model_at(node.url, name, ask={"call": "1000"})
        slot = {"bid": str(bid), "daily_cap": "150", "tasks": ["text-generation"]}
        sponsor(world, subject, promotion=slot)
        made.append(subject)
    return made


def test_a_slot_is_labelled_priced_by_the_next_and_paid_by_the_first_sale(
    world: World, promoted: list[Digest], consumer: Signer
) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key, surface = gateway.key(consumer), a_signer("surface").address
    for _ in range(5):  # looking again and again changes nothing
        rows = find(gateway, key, headers={"tollway-surface": to_hex(surface)})
    assert [(row["name"], row["sponsored"]) for row in rows[:3]] == [
        ("@acme/loud", True),
        ("@acme/quiet", True),
        ("@acme/loud", False),
    ]
    assert [row["promo_second_price"] for row in rows[:2]] == ["40", "10"], "the second row pays the reserve"
    assert paid(world, consumer) == {}
    for _ in range(3):
        gateway.chat(key, "@acme/loud")
    found = paid(world, consumer)
    assert found[surface, Role.curator] == 28
    assert find(gateway, key)[0]["name"] == "@acme/quiet", "who buys already is not shown the slot again"
    assert [row["sponsored"] for row in find(gateway, key, sponsored=False)] == [False, False]


def test_nobody_known_is_shown_slots_that_cost_nothing(world: World, promoted: list[Digest], consumer: Signer) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    assert find(gateway, None)[0]["sponsored"]
    gateway.chat(gateway.key(consumer), "@acme/loud")
    assert not any(role is Role.curator for _, role in paid(world, consumer))


def test_a_rival_that_drains_slots_pays_more_than_it_drains_and_the_cap_ends_it(
    world: World, promoted: list[Digest]
) -> None:
    gateway = world.gateway()
    rivals = [a_signer(f"rival {n}") for n in range(6)]
    drained = spent = earned_by_maker = 0
    shown = 0
    for rival in rivals:
        world.deposit(rival.address, 10**5)
        key = gateway.key(rival)
        rows = find(gateway, key)
        shown += any(row["sponsored"] and row["name"] == "@acme/loud" for row in rows)
        spent += int(gateway.chat(key, "@acme/loud").headers["tollway-charge"])
        found = paid(world, rival)
        earned_by_maker += found[MAKER.address, Role.maker]
        drained += found.get((OPERATOR.address, Role.curator), 0)
    assert shown == 3, "40, 80, 120 of the daily 150 are spent; a fourth bid of 60 would not fit"
    assert drained == 3 * 28
    assert spent > 50 * drained
    assert earned_by_maker > drained


def test_a_slot_that_was_shown_is_there_again_when_the_call_fails(
    world: World, promoted: list[Digest], node: Node, consumer: Signer
) -> None:
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key, good = gateway.key(consumer), node.behaviour
    find(gateway, key)
    node.behaviour = dying
    gateway.chat(key, "@acme/loud")
    assert (consumer.address, promoted[0]) in gateway.gateway.referrals.shown
    node.behaviour = good
