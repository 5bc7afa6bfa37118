"""A consumer that closes its connection stops what works for it alone, wherever that is, and pays what it got."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Sized
from functools import partial
from typing import Any

import pytest

from gateway.server import Protocol
from ledger.core.accounts import accounts
from ledger.core.values.ids import PRIVATE_LANE, cid, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from roles.node.tunnel import Identity, Tunnel
from tests.attacks.strangers import chat, chat_body, dial, head, read, read_answer
from tests.attacks.test_payment_bounds import a_payment
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, piece, streaming, working
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import DOMAIN, PROVIDER, WEAVER, Running, World, a_model
from tests.roles.node.conftest import RunningNode

LONG: dict[str, Any] = {"first_byte_seconds": 600, "idle_stream_seconds": 600}
"""No time limit of a node ends a call here."""
STREAM = chat_body(stream=True)
LARGE = chat_body(stream=False, user="x" * 300_000)


@pytest.fixture
def patient(world: World, node: Node, consumer: Signer) -> Running:
    """A gateway that waits for its nodes, and a consumer with money."""
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10**6)
    return world.gateway(**LONG)


def leave_once(gateway: Running, request: bytes, reached: Any) -> None:
    """Send a request, close the connection when `reached` holds, and wait until that is noticed."""
    connections = gateway.server.server_state.connections
    others = set(connections)
    with dial(gateway) as wire:
        wire.sendall(request)
        eventually(reached)
    eventually(lambda: connections <= others)


def has(found: Sized, count: int) -> bool:
    return len(found) == count


def was_left(node: Node, times: int) -> bool:
    return node.aborted == times


def nothing_is_held(gateway: Running) -> bool:
    return gateway.gateway.leases.outstanding() == 0 and gateway.gateway.open_calls == 0


def waits_for_a_token(gateway: Running) -> bool:
    """Whether the head of a stream has come."""
    protocols = [one for one in {*gateway.server.server_state.connections} if isinstance(one, Protocol)]
    stops = [one.presence.stop for one in protocols]
    return any(getattr(stop, "__name__", "") == "_leave" for stop in stops)


async def prelude(asked: Asked, wire: Wire) -> None:
    """Begins a stream, and says nothing."""
    await wire.begin()
    wire.writer.write(b"6\r\n: on\n\n\r\n")
    await wire.closed()


async def half_an_answer(asked: Asked, wire: Wire) -> None:
    """Begins a plain answer."""
    wire.writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{")
    await wire.closed()


@pytest.mark.parametrize("hedge_ms", [0, 50])
@pytest.mark.parametrize(
    ("body", "behaviour"),
    [(None, working), (LARGE, working), (None, half_an_answer), (STREAM, working), (STREAM, prelude)],
    ids=["plain", "large", "half an answer", "stream", "stream after its head"],
)
def test_a_consumer_that_leaves_before_the_first_byte_stops_the_node_and_pays_nothing(
    world: World, node: Node, consumer: Signer, body: bytes | None, behaviour: Behaviour, hedge_ms: int
) -> None:
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway(**LONG, hedge_ms=hedge_ms)
    node.behaviour = behaviour
    key = gateway.key(consumer)
    leave_once(gateway, chat(key, body=body), lambda: node.asked)
    eventually(lambda: node.aborted == len(node.asked))
    eventually(lambda: nothing_is_held(gateway))
    assert world.receipts_of(consumer.address) == []
    [health] = gateway.gateway.loader.records().values()
    assert (health.errors, gateway.gateway.unwell.probes) == (0, {}), "it is nobody's fault"
    node.behaviour = answering()
    assert gateway.chat(key).status_code == 200


def test_the_same_call_is_made_again_after_its_consumer_had_left(
    world: World, patient: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour, key = working, patient.key(consumer)
    leave_once(patient, chat(key, "Idempotency-Key: once"), lambda: node.asked)
    eventually(lambda: nothing_is_held(patient))
    node.behaviour = answering()
    with dial(patient) as wire:
        wire.sendall(chat(key, "Idempotency-Key: once"))
        assert read_answer(wire)[0] == 200
    assert len(world.receipts_of(consumer.address)) == 1


@pytest.mark.parametrize("body", [None, LARGE, STREAM], ids=["plain", "large", "stream"])
def test_a_consumer_that_only_closes_its_side_is_served(
    world: World, patient: Running, node: Node, consumer: Signer, body: bytes | None
) -> None:
    noticed = threading.Event()

    async def late(asked: Asked, wire: Wire) -> None:
        await asyncio.to_thread(noticed.wait)
        await streaming(5, (10, 5))(asked, wire)

    node.behaviour = late
    with dial(patient) as wire:
        wire.sendall(chat(patient.key(consumer), body=body))
        wire.shutdown(socket.SHUT_WR)
        eventually(lambda: node.asked and patient.gateway.connections.half_closed)
        noticed.set()
        assert b"t4" in read(wire)
    [signed] = world.receipts_of(consumer.address)
    assert signed.receipt.end.name == "normal"


def test_a_consumer_that_leaves_while_money_is_held_for_it_gets_it_back_and_no_node_is_asked(
    world: World, patient: Running, node: Node, consumer: Signer
) -> None:
    key, gateway = patient.key(consumer), patient.gateway
    with unit_of_work(world.engine) as session:
        postings.lock(session, world.lane, [accounts.available(consumer.address)])
        leave_once(patient, chat(key), lambda: gateway.open_calls)
    eventually(lambda: nothing_is_held(patient) and gateway.leases.free(consumer.address))
    assert (node.asked, world.receipts_of(consumer.address)) == ([], [])
    held = gateway.leases.free(consumer.address)
    assert world.balance(consumer.address) == 10**6 - held, "what was leased meanwhile is known here"


async def test_a_payer_that_leaves_is_not_waited_for(chain: World, node: Node) -> None:
    gateway = await asyncio.to_thread(chain.gateway, payment_seconds=600)
    payment, body = await a_payment(gateway), chat_body()
    request = head("POST", "/v1/chat/completions", f"PAYMENT-SIGNATURE: {payment}", length=len(body)) + body
    relays = gateway.gateway.relays
    await asyncio.to_thread(leave_once, gateway, request, lambda: relays._waiting)
    await asyncio.to_thread(eventually, lambda: not relays._waiting and not [*gateway.gateway.payments])
    assert node.asked == []


def test_a_consumer_that_leaves_a_workflow_pays_for_the_steps_that_served_and_no_weaver_does(
    loom: Loom, world: World, consumer: Signer
) -> None:
    quick, slow = loom.node(inferring("a")), loom.node(working)
    first = world.a_model_at(quick.url, "@acme/first", {"call": "100"}, protocol="oip/2")
    second = world.a_model_at(slow.url, "@acme/second", {"call": "100"}, protocol="oip/2")
    two = (
        pinned("first", first, {"text": LAST}),
        pinned("second", second, {"text": "{$steps.first.output.label}"}),
    )
    inner = loom.capsule(*two, output={"content": "$steps.second.output.label"}, name="@wanda/inner")
    step: dict[str, Any] = {"id": "x", "uses": {"capsule": cid(inner)}, "input": {"messages": "$.messages"}}
    loom.capsule(step, output={"content": "$steps.x.output.content"}, name="@wanda/outer")
    key = loom.consumer(consumer)
    for made, name in enumerate(("@wanda/inner", "@wanda/outer"), 1):
        request = chat(key, body=json.dumps({**json.loads(chat_body()), "model": name}).encode())
        leave_once(loom.gateway, request, partial(has, slow.asked, made))
        eventually(partial(was_left, slow, made))
        eventually(lambda: nothing_is_held(loom.gateway))
        receipts = [one.receipt for one in world.receipts_of(consumer.address)]
        assert len(receipts) == 2 * made
        root, served = receipts[0], receipts[1]
        assert (root.end.name, root.subcalls, served.end.name) == ("client_abort", 1, "normal")
        assert 0 < served.charge <= root.subcall_total
    assert world.receipts_of(WEAVER.address) == []


def test_a_consumer_that_leaves_a_workflow_before_any_step_served_pays_nothing(
    loom: Loom, world: World, consumer: Signer
) -> None:
    slow = loom.node(working)
    model = world.a_model_at(slow.url, "@acme/slow", {"call": "100"}, protocol="oip/2")
    loom.capsule(pinned("only", model, {"text": LAST}), output={"content": "$steps.only.output.label"})
    key = loom.consumer(consumer)
    for stream in (False, True):
        asked = {**json.loads(chat_body(stream=stream)), "model": "@wanda/flow"}
        before = len(slow.asked)
        leave_once(loom.gateway, chat(key, body=json.dumps(asked).encode()), partial(has, slow.asked, before + 1))
        eventually(lambda: slow.aborted == len(slow.asked))
        eventually(lambda: nothing_is_held(loom.gateway))
    assert world.receipts_of(consumer.address) == world.receipts_of(WEAVER.address) == []


async def test_a_node_behind_a_tunnel_is_stopped(world: World, node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model())
    world.serve(subject, f"tunnel://{to_hex(PROVIDER.address)}", tier="edge")
    world.deposit(consumer.address, 10**6)
    gateway = await asyncio.to_thread(world.gateway, **LONG)
    identity = Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(subject)])
    tunnel = Tunnel(gateway.url, node.url, identity)
    running = asyncio.create_task(tunnel.run())
    await asyncio.wait_for(tunnel.opened.wait(), 20)
    node.behaviour = working
    key = await asyncio.to_thread(gateway.key, consumer)
    for made, body in enumerate((None, STREAM), 1):
        request = chat(key, body=body)
        await asyncio.to_thread(leave_once, gateway, request, partial(has, node.asked, made))
        await asyncio.to_thread(eventually, partial(was_left, node, made))
        await asyncio.to_thread(eventually, lambda: nothing_is_held(gateway))
    assert world.receipts_of(consumer.address) == []
    running.cancel()


def test_a_server_that_a_node_resells_is_stopped(world: World, node: Node, consumer: Signer) -> None:
    seller = RunningNode("--upstream", f"@acme/chat={node.url}#m")
    try:
        world.a_model_at(seller.url)
        world.deposit(consumer.address, 10**6)
        gateway = world.gateway(**LONG)
        node.behaviour, key = working, gateway.key(consumer)
        for made, body in enumerate((None, STREAM), 1):
            leave_once(gateway, chat(key, body=body), partial(has, node.asked, made))
            eventually(partial(was_left, node, made))
        assert world.receipts_of(consumer.address) == []
    finally:
        seller.stop()


def test_a_node_that_cannot_stop_is_waited_for_and_paid(
    world: World, patient: Running, node: Node, consumer: Signer
) -> None:
    left = threading.Event()

    async def unstoppable(asked: Asked, wire: Wire) -> None:
        await wire.begin(tollway_cancel="none")
        await asyncio.to_thread(left.wait)
        for text in ("a", "b"):
            await wire.event(piece(text))
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour, key = unstoppable, patient.key(consumer)
    leave_once(patient, chat(key, body=STREAM), lambda: waits_for_a_token(patient))
    left.set()
    eventually(lambda: world.receipts_of(consumer.address))
    [signed] = world.receipts_of(consumer.address)
    assert (signed.receipt.end.name, signed.receipt.units.output_token) == ("client_abort", 2)
