"""What a gateway remembers of strangers, nodes and consumers ends with them, or has a bound."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from gateway import bounds
from gateway.catalog.catalog import Catalog
from gateway.clock import now_ms
from gateway.upstream.guard import Guard, networks
from gateway.upstream.http import Limits
from gateway.upstream.pool import Pool
from gateway.upstream.target import Target
from gateway.upstream.tunnel import Forwarder, Tunnels
from ledger.core.catalog.bids import Role
from ledger.core.pricing.terms import Operator
from ledger.core.values.documents import canonical, digest
from ledger.core.values.ids import PRIVATE_LANE, did, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Domain, Signer, offer_hash, signing_digest
from ledger.flows import publications
from ledger.store.network import documents
from ledger.store.network.documents import Stored
from ledger.store.session import unit_of_work
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, MAKER, Running, World, a_model, a_signer, epoch_now


@pytest.fixture
def pool() -> Pool:
    """A pool that keeps connections for ever."""
    limits, lane = Limits(keep_seconds=1e9), PRIVATE_LANE
    tunnels = Tunnels(lane, Domain(), limits)
    return Pool(Guard(networks("127.0.0.0/8")), limits, tunnels, cast(Forwarder, None))


async def call(pool: Pool, target: Target) -> None:
    """One whole exchange."""
    await (await pool.request(target, "/v1/chat/completions", b"{}")).body(10_000)


async def test_endpoints_are_remembered_up_to_a_number(
    pool: Pool, node: Node, other_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bounds.ENDPOINTS == 10_000
    monkeypatch.setattr(bounds, "ENDPOINTS", 1)
    first, second = (Target("http", "127.0.0.1", one.port) for one in (node, other_node))
    await call(pool, first)
    await call(pool, first)
    assert pool.round_trip_ms(first)
    assert node.aborted == 0
    await call(pool, second)
    assert pool.round_trip_ms(second)
    assert pool.round_trip_ms(first) is None
    await asyncio.to_thread(eventually, lambda: node.aborted == 1)
    await pool.close()


async def test_a_connection_to_a_node_that_nobody_calls_any_more_is_closed(node: Node, world: World) -> None:
    world.a_model_at(node.url)
    gateway = await asyncio.to_thread(world.gateway)
    consumer = a_signer("a consumer that calls once")
    world.deposit(consumer.address, 10**6)
    assert (await asyncio.to_thread(lambda: gateway.chat(gateway.key(consumer)))).status_code == 200
    gateway.gateway.upstream._limits = Limits(keep_seconds=0)
    await asyncio.to_thread(eventually, lambda: node.aborted == 1)


async def test_a_tunnel_that_is_closed_leaves_nothing(gateway: Running, node: Node) -> None:
    stranger, tunnels = a_signer("a stranger with a tunnel"), gateway.gateway.upstream.tunnels
    tunnel = Tunnel(gateway.url, node.url, Identity(stranger, DOMAIN, PRIVATE_LANE, "home", []))
    running = asyncio.create_task(tunnel.run())
    await asyncio.wait_for(tunnel.opened.wait(), 20)
    assert list(tunnels.round_trips()) == [stranger.address]
    running.cancel()
    await asyncio.to_thread(eventually, lambda: not tunnels._nodes)


def test_an_idle_consumers_wallet_is_forgotten_with_its_lease(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(idle_seconds=1)
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer, budget="100000")
    leases = gateway.gateway.leases
    assert gateway.chat(key).status_code == 200
    assert (len(leases._wallets), len(leases._budgets)) == (1, 1)
    eventually(lambda: not leases._wallets and not leases._budgets)
    assert world.balance(consumer.address) == 10**6 - 115
    assert gateway.chat(key).status_code == 200


def test_what_is_kept_of_providers_ends_with_their_offers(
    world: World, node: Node, other_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bounds.NODES == 10_000
    monkeypatch.setattr(bounds, "NODES", 1)
    subject, other = world.a_model_at(node.url), a_signer("another provider")
    loader = world.gateway().gateway.loader
    before = set(loader._secrets), set(loader._stored_terms), set(loader._health)
    world.serve(subject, other_node.url, {"call": "90"}, other)
    eventually(lambda: len(loader._secrets) == len(loader._health) == 2 and len(loader._stored_terms) > len(before[1]))
    offer = {**world.offer(subject, other_node.url, other), "nonce": 2 * now_ms(), "withdrawn": True}
    del offer["signature"]
    offer["signature"] = to_hex(other.sign(signing_digest(DOMAIN, offer_hash(digest(offer)))))
    with unit_of_work(world.engine) as session:
        publications.publish_offer(session, offer, DOMAIN, epoch_now(), None, now_ms())
    eventually(lambda: (set(loader._secrets), set(loader._stored_terms), set(loader._health)) == before)


def test_a_realm_costs_the_catalog_what_is_its_own(world: World, node: Node) -> None:
    """Every name was looked at again for each realm, and every workflow copied: who publishes makes all of it be read
    again, and a stranger may make a realm with each offer.
    """
    subject, stranger = world.a_model_at(node.url), a_signer("a stranger with many models")
    with unit_of_work(world.engine) as session:
        for n in range(3_000):
            model = a_model(f"@many/m{n}", owner=did(0, stranger.address))
            stored = Stored(digest(model), "model", model["name"], stranger.address, canonical(model), n, bytes(65))
            documents.put(session, stored)
    gateway = world.gateway().gateway
    operator = Operator(gateway.operator, gateway.lane, gateway.treasury, 1, private=True)

    def load() -> tuple[float, Catalog]:
        """The least CPU time of three readings: a busy machine takes more for the same."""
        took = []
        for _ in range(3):
            began = time.thread_time()
            with unit_of_work(world.engine) as session:
                made = gateway.loader.load(session, gateway.catalog.epoch, operator, {})
            took.append(time.thread_time() - began)
        return min(took), made

    plain, _ = load()
    for n in range(200):
        party = a_signer(f"a realm of one {n}")
        offer = world.offer(subject, node.url, party, realm=f"{to_hex(party.address)}/x")
        world.bid(subject, Role.compute, party.address, 0, rates({"call": "1"}))
        with unit_of_work(world.engine) as session:
            publications.publish_offer(session, offer, DOMAIN, epoch_now(), None, now_ms())
    took, made = load()
    assert len(made.inside) == 200
    assert (took - plain) / 200 < 0.005 * plain, "a two-hundredth of 3,000 models; it was a hundredth"


def test_few_of_many_bidders_are_told_of(world: World, node: Node) -> None:
    subject = world.publish(a_model())
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    for n in range(20):
        world.bid(subject, Role.compute, a_signer(f"a bidder without an offer {n}").address, 0, rates({"call": "1"}))
    why = world.gateway().http.get("/v1/models/@acme/chat").json()["why"]
    assert (why.count("has no standing offer"), why.endswith("; and 12 others")) == (8, True)
