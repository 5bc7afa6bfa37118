"""Every class of error, at every await of an attempt, has one owner: the request, the node, or the gateway.

Plain and streamed; to nodes that are reached directly, through a tunnel, or resold, and in a workflow.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.call.health import Health
from gateway.catalog.catalog import ModelEntry
from gateway.errors import NodeFailed, Refusal
from gateway.metering.answers import PassedOn
from gateway.metering.ask import CHAT
from gateway.upstream.http import Reply
from ledger.core.values.atoms import PPM
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import PRIVATE_LANE, Digest, cid, to_hex
from ledger.core.values.typed_data import Signer
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.nodes import Node, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.throwing import Thrower
from tests.gateway.workflows import Loom, pinned
from tests.gateway.world import DOMAIN, PROVIDER, WEAVER, Running, World, a_model, a_signer
from tests.roles.node.conftest import RunningNode

SECOND = a_signer("second provider")
MOST = 60
"""An attempt has fewer awaits."""


def refused() -> PassedOn:
    """A node's refusal of the request."""
    reply = Reply(None)  # type: ignore[arg-type]
    reply.status = 400
    return PassedOn(CHAT, reply, b'{"error":{"message":"no"}}')


NODES: dict[str, Callable[[], BaseException]] = {
    **{
        kind: lambda kind=kind: NodeFailed("thrown", kind)  # type: ignore[misc]
        for kind in ("unreachable", "timeout", "cut", "nonsense", "error", "busy", "too_long")
    },
    "refused": refused,
}
"""What a node does: the next one is asked."""
OURS: dict[str, Callable[[], BaseException]] = {
    "bug": lambda: RuntimeError("thrown"),
    "value": lambda: ValueError("thrown"),
    "rejected": lambda: Rejected("thrown"),
    "conflict": lambda: Conflict("thrown"),
    "descriptors": lambda: OSError(errno.EMFILE, "thrown"),
    "memory": lambda: MemoryError("thrown"),
}
"""What only the gateway can do wrong: 500, and no node is marked."""
OTHERS: dict[str, Callable[[], BaseException]] = {
    "unavailable": lambda: Unavailable("thrown"),
    "refusal": lambda: Refusal(402, "insufficient_balance", "thrown"),
    "cancelled": asyncio.CancelledError,
}


@dataclass
class Scene:
    """A gateway over a model with two nodes that serve, and a consumer."""

    world: World
    gateway: Running
    subject: Digest
    key: str
    payers: tuple[Signer, ...]
    model: str = "@acme/chat"
    thrower: Thrower = field(default_factory=Thrower)

    def return_leases(self) -> None:
        """Each call leases what it may cost, and so awaits the database."""
        returned = self.gateway.gateway.leases.return_idle(-1.0)
        asyncio.run_coroutine_threadsafe(returned, self.thrower.loop).result(20)

    def healths(self) -> list[Health]:
        """The two nodes', with every mark removed."""
        entry = self.gateway.gateway.catalog.by_id[self.subject]
        assert isinstance(entry, ModelEntry)
        found = [one.health for one in entry.candidates]
        assert len(found) == 2
        for health in found:
            health.marks.clear()
            health.busy_until = 0
        return found

    def receipts(self) -> int:
        """Everybody's."""
        return sum(len(self.world.receipts_of(one.address)) for one in self.payers)

    def call(self, stream: bool) -> tuple[int, str]:
        """One call's status and body; 0 when it was cut off without an answer."""
        try:
            answer = self.gateway.chat(self.key, self.model, stream=stream)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """Two that serve. Their connections are not kept, so that each attempt opens one."""
    made = Node(streaming(4, (10, 4), connection="close")).start(), Node(streaming(4, (10, 4))).start()
    yield made
    for one in made:
        one.stop()


def tunnelled(gateway: Running, subject: Digest, party: Signer, node: Node) -> Callable[[], None]:
    """Open a node's tunnel to the gateway; returns what closes it."""
    loop, opened = asyncio.new_event_loop(), threading.Event()
    tunnel = Tunnel(gateway.url, node.url, Identity(party, DOMAIN, PRIVATE_LANE, "home", [cid(subject)]))

    async def run() -> None:
        running = asyncio.create_task(tunnel.run())
        await tunnel.opened.wait()
        opened.set()
        with suppress(asyncio.CancelledError):
            await running

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert opened.wait(20)

    def close() -> None:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(10)

    return close


@pytest.fixture(params=["direct", "tunnelled", "resold", "workflow"])
def scene(request: pytest.FixtureRequest, world: World, nodes: tuple[Node, Node], consumer: Signer) -> Iterator[Scene]:
    """Each way in which a model is reached."""
    way, closing = request.param, list[Callable[[], Any]]()
    subject = world.publish(a_model())
    urls = [node.url for node in nodes]
    if way == "resold":
        sellers = [RunningNode("--upstream", f"@acme/chat={url}#theirs") for url in urls]
        closing += [seller.stop for seller in sellers]
        urls = [seller.url for seller in sellers]
    parties = (PROVIDER, SECOND)
    for party, url in zip(parties, urls, strict=True):
        world.serve(subject, f"tunnel://{to_hex(party.address)}" if way == "tunnelled" else url, provider=party)
    gateway = world.gateway(lease_atoms=1)
    if way == "tunnelled":
        closing += [tunnelled(gateway, subject, party, node) for party, node in zip(parties, nodes, strict=True)]
    world.deposit(consumer.address, 10**9)
    made = Scene(world, gateway, subject, gateway.key(consumer), (consumer, WEAVER))
    if way == "workflow":
        loom = Loom(world, gateway)
        loom.bond()
        reply = pinned("reply", subject, {"messages": "$.messages"})
        loom.capsule(reply, output={"content": "$steps.reply.output.content"})
        made.model = "@wanda/flow"
    made.thrower.watch(gateway)
    assert [made.call(stream)[0] for stream in (False, True)] == [200, 200]
    yield made
    for close in closing:
        close()


def each_await(scene: Scene, stream: bool, error: Callable[[], BaseException]) -> Iterator[tuple[int, str, int, int]]:
    """Throw at each await of an attempt in turn. Gives the answer's status and body, how many nodes were marked, and
    how many receipts were made. What holds for every error is checked here.
    """
    gateway, at_a_node = scene.gateway.gateway, 0
    for at in range(1, MOST):
        scene.return_leases()
        healths, before = scene.healths(), scene.receipts()
        scene.thrower.arm(at, error())
        status, body = scene.call(stream)
        if not scene.thrower.where:
            assert at_a_node, f"an attempt awaits nodes, unlike this call: {status} {body}"
            return
        at_a_node += scene.thrower.was_at_a_node
        eventually(lambda: gateway.leases.outstanding() == 0)
        eventually(lambda: gateway.open_calls == 0)
        marked = sum(bool(health.marks) for health in healths)
        made = scene.receipts() - before
        assert [health.quality_ppm for health in healths] == [PPM, PPM], "no consumer moves the quality"
        assert [health.paused_until for health in healths] == [0, 0]
        assert bool(made) >= (status == 200 and "[DONE]" in body), f"served and not charged: {scene.thrower.where}"
        yield status, body, marked, made
    pytest.fail(f"an attempt has more than {MOST} awaits")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_a_node_does_is_its_own_and_the_next_one_serves(scene: Scene, stream: bool) -> None:
    for kind, error in NODES.items():
        for status, body, marked, made in each_await(scene, stream, error):
            where = scene.thrower.where
            if not scene.thrower.was_at_a_node:
                continue
            reused = kind == "cut" and "_exchange" in where  # a kept connection that was closed is replaced once
            assert (status, marked or reused) == (200, 1), f"{kind} in {where}: {body}"
            assert made >= 1, f"{kind} in {where}"
            if "_forward" in where:
                assert "[DONE]" not in body
            elif stream:
                assert body.endswith("data: [DONE]\n\n"), f"{kind} in {where}: {body}"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_the_gateway_does_is_its_own_and_marks_nobody(scene: Scene, stream: bool) -> None:
    for kind, error in OURS.items():
        for status, body, marked, made in each_await(scene, stream, error):
            where = scene.thrower.where
            if "_open" in where and kind in ("value", "rejected"):  # what a strange address makes the guard say
                assert (status, marked) == (200, 1), f"{kind} in {where}: {body}"
                continue
            assert marked == 0, f"{kind} in {where}"
            if scene.thrower.was_at_a_node and "_forward" not in where:
                assert (status, made) == (500, 0), f"{kind} in {where}: {body}"
                assert "internal" in body


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_refusal_an_outage_or_a_cancelled_caller_marks_nobody(scene: Scene, stream: bool) -> None:
    for kind, error in OTHERS.items():
        for status, body, marked, made in each_await(scene, stream, error):
            where = scene.thrower.where
            assert marked == 0, f"{kind} in {where}"
            if not {"charge", "_write", "_forward", "_charge"} & {*where}:
                assert made == 0, f"{kind} in {where}: {body}"
                assert status != 200 or kind == "cancelled", f"{kind} in {where}: {body}"
