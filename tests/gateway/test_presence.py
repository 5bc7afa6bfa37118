"""Who can be called now: what answers no ping, has no tunnel, or failed lately is neither listed, quoted nor ranked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.catalog.catalog import Candidate, ModelEntry
from gateway.clock import now_ms
from gateway.upstream import tunnel as tunnels
from gateway.upstream.tunnel import TunnelNode
from ledger.core.values.ids import PRIVATE_LANE, Digest, cid, to_hex
from ledger.core.values.tunnel_frames import Frame, Kind, decode
from ledger.core.values.typed_data import Signer
from roles.node import tunnel as node_tunnel
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.nodes import Asked, Node, Wire, chat
from tests.gateway.test_who_may import offered
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, PROVIDER, Running, World, a_model, a_signer

HOME = f"tunnel://{to_hex(PROVIDER.address)}"
SLOW_SECONDS = 0.2
"""Later than the last class of nearness, as any language model at home is."""


async def answering_late(asked: Asked, wire: Wire) -> None:
    """A model that takes its time."""
    await asyncio.sleep(SLOW_SECONDS)
    await wire.answer(chat())


@asynccontextmanager
async def at_home(gateway: Running, node: Node, subject: Digest) -> AsyncIterator[None]:
    """A node at home, with its tunnel open inside the block."""
    tunnel = Tunnel(gateway.url, node.url, Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(subject)]))
    running = asyncio.create_task(tunnel.run())
    try:
        await asyncio.wait_for(tunnel.opened.wait(), 20)
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def subject(world: World) -> Digest:
    """A model that is offered through a tunnel alone."""
    made = world.publish(a_model())
    world.serve(made, HOME, tier="edge")
    return made


def candidates_of(gateway: Running, subject: Digest) -> tuple[Candidate, ...]:
    """The providers of a model."""
    entry = gateway.gateway.catalog.by_id[subject]
    assert isinstance(entry, ModelEntry)
    return entry.candidates


def seen(gateway: Running) -> dict[str, object]:
    """What anybody is told of the model, at every route that tells of models."""
    listed = gateway.http.get("/v1/models").json()["data"]
    shown = gateway.http.get("/v1/models/@acme/chat").json()
    discovered = gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()["results"]
    return {
        "listed": [row["id"] for row in listed],
        "ready": (shown["ready"], [row["ready"] for row in shown["providers"]], bool(shown["pricing"].get("call"))),
        "open inference": gateway.http.get("/v2/models/@acme/chat/ready").status_code,
        "ranked": [row["name"] for row in discovered],
        "quoted": gateway.http.post("/v1/quote", json={"model": "@acme/chat"}).status_code,
    }


THERE = {
    "listed": ["@acme/chat"],
    "ready": (True, [True], True),
    "open inference": 200,
    "ranked": ["@acme/chat"],
    "quoted": 200,
}
GONE = {"listed": [], "ready": (False, [False], False), "open inference": 503, "ranked": [], "quoted": 503}


async def test_a_home_node_stays_near_however_late_its_model_answers(
    world: World, node: Node, consumer: Signer, subject: Digest
) -> None:
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway()
    key, node.behaviour = await asyncio.to_thread(gateway.key, consumer), answering_late
    async with at_home(gateway, node, subject):
        for _ in range(3):
            answer = await asyncio.to_thread(lambda: gateway.chat(key, header_tollway_tiers="edge"))
            assert answer.status_code == 200, answer.text
        health = candidates_of(gateway, subject)[0].health
        assert health.latency_ms >= 1000 * SLOW_SECONDS > health.round_trip_ms
        assert health.near is not None


async def test_a_home_node_is_there_while_its_tunnel_is_open(
    world: World, node: Node, consumer: Signer, subject: Digest
) -> None:
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway()
    key = await asyncio.to_thread(gateway.key, consumer)
    for _ in range(2):
        assert await asyncio.to_thread(seen, gateway) == GONE
        refused = await asyncio.to_thread(gateway.chat, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "providers_down")
        async with at_home(gateway, node, subject):
            assert await asyncio.to_thread(seen, gateway) == THERE
            assert (await asyncio.to_thread(gateway.chat, key)).status_code == 200
        await asyncio.to_thread(eventually, lambda: not gateway.gateway.upstream.tunnels.round_trips())
    assert candidates_of(gateway, subject)[0].health.quality_ppm == 10**6, "to be away is no fault"


def test_an_open_circuit_hides_a_node_and_its_price(world: World, gateway: Running, other_node: Node) -> None:
    [subject] = gateway.gateway.catalog.by_id
    health = candidates_of(gateway, subject)[0].health
    health.probe_failed(10**15)
    assert seen(gateway) == GONE
    world.serve(subject, other_node.url, {"call": "900"}, a_signer("a dear provider"))
    eventually(lambda: gateway.http.get("/v1/models/@acme/chat").json()["ready"])
    quoted = gateway.http.post("/v1/quote", json={"model": "@acme/chat"}).json()
    [ranked] = gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()["results"]
    shown = gateway.http.get("/v1/models/@acme/chat").json()
    assert quoted["price"] == ranked["price"] == shown["pricing"]["call"]
    assert int(quoted["price"]) > 900
    refused = gateway.http.post("/v1/quote", json={"model": "@acme/chat", "max_price": "200"})
    assert refused.json()["error"]["required"] == quoted["hold"], "what is said to be needed buys a call"


def test_a_node_that_left_with_an_open_circuit_is_probed_when_it_is_back(
    world: World, gateway: Running, node: Node
) -> None:
    [subject] = gateway.gateway.catalog.by_id
    health = candidates_of(gateway, subject)[0].health
    health.probe_failed(0)
    now = now_ms()
    assert gateway.http.post("/v1/offers", json=offered(world, subject, node.url, now, withdrawn=True)).is_success
    eventually(lambda: not candidates_of(gateway, subject))
    assert gateway.http.post("/v1/offers", json=offered(world, subject, node.url, now + 1)).is_success
    eventually(lambda: health.usable)
    assert seen(gateway) == THERE


def test_who_serves_is_told_with_its_own_price_and_since_when_it_does_without_a_break(
    world: World, gateway: Running, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    [subject] = gateway.gateway.catalog.by_id
    other, now = a_signer("another provider"), now_ms()

    def shown() -> dict[str, tuple[int, str]]:
        rows = gateway.http.get("/v1/models/@acme/chat").json()["providers"]
        return {row["provider"]: (row["since"], row["pricing"]["call"]) for row in rows}

    def post(later: int, **more: Any) -> None:
        monkeypatch.setattr("gateway.api.network.now_ms", lambda: now + later)
        offer = offered(world, subject, node.url, now + later, **more)
        assert gateway.http.post("/v1/offers", json=offer).status_code == 201

    def mine_of() -> list[Candidate]:
        return [one for one in candidates_of(gateway, subject) if one.provider == PROVIDER.address]

    mine = to_hex(PROVIDER.address)
    [(first, price)] = shown().values()
    assert first <= now
    world.serve(subject, node.url, {"call": "900"}, other)
    eventually(lambda: len(shown()) == 2)
    assert int(shown()[to_hex(other.address)][1]) > 900
    post(1_000, serve={"capacity": 3})
    eventually(lambda: [one.capacity for one in mine_of()] == [3])
    assert shown()[mine] == (first, price), "an offer that is renewed goes on"
    post(2_000, withdrawn=True)
    eventually(lambda: mine not in shown())
    post(3_000)
    eventually(lambda: mine in shown())
    assert shown()[mine] == (now + 3_000, price)


async def test_a_node_that_answers_no_ping_is_not_there(
    world: World, node: Node, subject: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "PONG_SECONDS", 0.2)
    monkeypatch.setattr("gateway.api.tunnel.PING_SECONDS", 0.1)
    gateway = world.gateway()
    async with at_home(gateway, node, subject):
        pings = count_pongs(monkeypatch)
        await asyncio.to_thread(eventually, lambda: len(pings) > 5)
        assert await asyncio.to_thread(seen, gateway) == THERE
        monkeypatch.setattr(node_tunnel, "decode", deaf)
        await asyncio.to_thread(eventually, lambda: not gateway.gateway.upstream.tunnels.round_trips())
        assert await asyncio.to_thread(seen, gateway) == GONE


def test_nearness_is_the_shortest_of_the_last_round_trips_and_of_the_farthest_node() -> None:
    near, far = a_node(0.004), a_node(0.1)
    asked = iter(range(100))

    def answer(node: TunnelNode, seconds: float) -> None:
        at = float(next(asked))
        assert node.ping(at)
        ping = decode(node.outbox.get_nowait())
        node.pong(b"guessed!", at + 0.001)
        node.pong(ping.payload, at + seconds)

    for seconds in (0.009, 0.5):
        answer(near, seconds)
    assert near.round_trip_ms == 4, "an answer that waited for an upload is not farther"
    for _ in range(tunnels.PINGS):
        answer(near, 0.060)
    assert near.round_trip_ms == 60, "it moved away"
    answer(far, 0.090)
    assert tunnels.Tunnels._round_trip({"one": near, "two": far}) == 90, "nobody hides behind a near node"
    assert far.ping(1_000.0)
    assert far.ping(1_000.0 + tunnels.PONG_SECONDS - 1), "one ping at a time is on its way"
    assert far.outbox.qsize() == 1
    assert not far.ping(1_000.0 + tunnels.PONG_SECONDS)


def a_node(seconds: float) -> TunnelNode:
    """A node whose hello took so long."""

    async def nothing(*_: object) -> None:
        return None

    return TunnelNode(PROVIDER.address, "home", nothing, nothing, seconds)


def count_pongs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pongs that come from now on."""
    came: list[bytes] = []
    taken = TunnelNode.pong

    def pong(node: TunnelNode, payload: bytes, now: float) -> None:
        came.append(payload)
        taken(node, payload, now)

    monkeypatch.setattr(TunnelNode, "pong", pong)
    return came


def deaf(message: bytes) -> Frame:
    """A node that hears a ping as something it does not know."""
    frame = decode(message)
    return frame._replace(kind=Kind.credit) if frame.kind is Kind.ping else frame
