"""A node that lies about price or latency, dies or goes stale loses its traffic: its own word counts for nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.call.health import Health
from gateway.upstream.pool import Pool
from gateway.upstream.target import Target
from ledger.core.catalog.bids import Role
from ledger.core.values.documents import digest
from ledger.core.values.ids import Digest, cid, did, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer, offer_hash, signing_digest
from ledger.flows import publications
from ledger.store.session import unit_of_work
from tests.gateway.conftest import consumer, other_node, world
from tests.gateway.conftest import node as one_node
from tests.gateway.nodes import Asked, Node, Wire, chat, dying
from tests.gateway.world import DOMAIN, MAKER, World, a_model, a_signer, epoch_now

__all__ = ["consumer", "one_node", "other_node", "world"]  # fixtures of the gateway's tests
HONEST, LIAR = a_signer("an honest provider"), a_signer("a lying provider")


async def slow(asked: Asked, wire: Wire) -> None:
    """Answers after 250 ms."""
    await asyncio.sleep(0.25)
    await wire.answer(chat())


def two_nodes(world: World, honest: Node, liar: Node, liar_ask: str = "100", **lies: int) -> Digest:
    """A model served by both at the same price, unless said otherwise; the liar's offer says what it likes."""
    subject = world.publish(a_model())
    world.serve(subject, honest.url, {"call": "100"}, HONEST, slo_ms=2_000)
    world.serve(subject, liar.url, {"call": liar_ask}, LIAR, **{"slo_ms": 2_000, **lies})
    return subject


def calls(world: World, consumer: Signer, count: int) -> None:
    """That many calls, all of which must be answered."""
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    key = gateway.key(consumer)
    deadline = time.monotonic() + 10
    while gateway.chat(key).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {gateway.chat(key).status_code for _ in range(count)} == {200}


def test_a_node_later_than_it_promised_is_left_alone(
    world: World, one_node: Node, other_node: Node, consumer: Signer
) -> None:
    other_node.behaviour = slow
    two_nodes(world, one_node, other_node, slo_ms=50)
    calls(world, consumer, 40)
    assert len(other_node.asked) <= 4
    assert len(one_node.asked) >= 36


def test_an_offer_that_names_a_lower_price_than_the_bid_wins_nothing(
    world: World, one_node: Node, other_node: Node, consumer: Signer
) -> None:
    subject = two_nodes(world, one_node, other_node, liar_ask="1000")
    lie = world.offer(subject, other_node.url, LIAR)
    assert lie["bid"] == {"ratio_ppm": 0, "ask": {}}
    calls(world, consumer, 20)
    assert other_node.asked == []


def test_a_dead_node_is_tried_a_few_times_and_then_left_alone(
    world: World, one_node: Node, other_node: Node, consumer: Signer
) -> None:
    other_node.behaviour = dying
    two_nodes(world, one_node, other_node)
    calls(world, consumer, 40)
    assert len(other_node.asked) <= 10
    assert len(one_node.asked) >= 40


def test_a_stale_offer_is_no_offer(world: World, one_node: Node, other_node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model())
    world.serve(subject, one_node.url, {"call": "100"}, HONEST)
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    world.bid(subject, Role.compute, LIAR.address, 0, rates({"call": "1"}))
    before = epoch_now() - 2
    stale = an_old_offer(subject, other_node.url, before)
    with unit_of_work(world.engine) as session:
        publications.publish_offer(session, stale, DOMAIN, before, None, int(time.time() * 1000))
    calls(world, consumer, 10)
    assert other_node.asked == []


def test_a_node_that_says_edge_and_is_far_is_not_what_is_near(
    world: World, one_node: Node, other_node: Node, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = int(other_node.url.rpartition(":")[2])
    measured = Pool.round_trip_ms

    def delayed(pool: Pool, target: Target) -> int | None:
        """As if a hundred milliseconds of cable lay before the liar."""
        seen = measured(pool, target)
        assert seen is not None
        assert seen < 80, "a node of this machine is near"
        return seen + 100 if target.port == far else seen

    monkeypatch.setattr(Pool, "round_trip_ms", delayed)
    subject = world.publish(a_model())
    world.serve(subject, one_node.url, {"call": "100"}, HONEST, tier="edge")
    world.serve(subject, other_node.url, {"call": "99"}, LIAR, tier="edge")
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    key = gateway.key(consumer)
    deadline = time.monotonic() + 10
    while gateway.chat(key).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {gateway.chat(key, header_tollway_tiers="edge").status_code for _ in range(40)} == {200}
    before = len(other_node.asked)
    assert {gateway.chat(key, header_tollway_tiers="edge").status_code for _ in range(20)} == {200}
    assert {gateway.chat(key, header_tollway_near="30").status_code for _ in range(20)} == {200}
    assert len(other_node.asked) == before, "once measured, it is asked for its edge no more"
    assert gateway.chat(key, header_tollway_near="near").status_code == 400
    shown = gateway.http.get("/v1/models").json()["data"][0]["providers"]
    assert sorted(row["round_trip_ms"] > 80 for row in shown) == [False, True]


def test_nearness_is_the_class_of_the_shortest_round_trip() -> None:
    seen = Health()
    assert seen.near == 10, "the benefit of the doubt, until it is measured"
    for took, trip, near in ((500, 95, None), (500, 31, 80), (500, 29, 30), (500, 64, 30), (7, None, 30)):
        seen.succeeded(took, False, trip)
        assert seen.near == near


def an_old_offer(subject: Digest, url: str, epoch: int) -> dict[str, object]:
    """The liar's offer of an epoch long over, properly signed then."""
    body: dict[str, object] = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(0, LIAR.address),
        "role": "compute",
        "bid": {"ratio_ppm": 0, "ask": {}},
        "serve": {"url": url, "tier": "center", "capacity": 8},
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + 1,
        "nonce": 1,
        "chain_id": 0,
    }
    return {**body, "signature": to_hex(LIAR.sign(signing_digest(DOMAIN, offer_hash(digest(body)))))}
