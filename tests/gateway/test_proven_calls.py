"""Gateways prove their calls to nodes that check them: direct, through a tunnel, through another gateway, resold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from ledger.core.values.ids import PRIVATE_LANE, Address, Lane, address, cid, to_hex
from ledger.core.values.typed_data import Signer
from roles.node.callers import Callers
from roles.node.models.loader import LoadedModels, load
from roles.node.models.resale import Resold, Upstream
from roles.node.server import application
from roles.node.state import State
from roles.node.tunnel import Identity, Tunnel
from roles.node.witness import ServedLog, Witness
from tests.gateway.nodes import Node, answering, streaming
from tests.gateway.world import DOMAIN, PROVIDER, Running, World, a_model, a_signer
from tests.roles.node.conftest import MODELS

TENSORS = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["I love it"]}]}
CHATTED, TOLD = {"model": "@acme/chat", "messages": []}, {"model": "@acme/emotion"}


class Checking:
    """A provider's node: it resells `upstream` as `@acme/chat` and tells emotions."""

    def __init__(self, world: World, upstream: str, path: Path) -> None:
        self.world, self.upstream = world, upstream
        self.log = ServedLog(path)
        self.url, self.gateway = "", ""

    def list_keys(self, _: Lane) -> frozenset[Address]:
        """The keys of a private grid, as its gateway says."""
        return frozenset(address(key) for key in httpx.get(f"{self.gateway}/v1/lane").json()["gateways"])

    async def start(self) -> None:
        """Listen, for the gateways of the lane."""
        self.http = aiohttp.ClientSession()
        emotion = load(MODELS / "emotion", ThreadPoolExecutor(1), most=4, queue=8)
        resold = Resold(Upstream(self.upstream, "m"), self.http)
        models = LoadedModels([("@acme/chat", resold), ("@acme/emotion", emotion)])
        callers = Callers(PROVIDER, PRIVATE_LANE, self.list_keys)
        state = State(models, callers, Witness(PROVIDER, DOMAIN, {}, self.log))
        self.runner = web.AppRunner(application(state), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        await self.runner.cleanup()
        await self.http.close()
        self.log.close()

    def lanes(self) -> list[Lane]:
        """The lane of each call that it served."""
        return [entry.served.lane for entry in self.log.entries()]


@pytest.fixture
async def checking(world: World, node: Node, tmp_path: Path) -> AsyncIterator[Checking]:
    """A node that checks its callers."""
    made = Checking(world, node.url, tmp_path / "served.sqlite")
    await made.start()
    yield made
    await made.stop()


async def chat(gateway: Running, key: str, **more: Any) -> httpx.Response:
    return await asyncio.to_thread(lambda: gateway.chat(key, **more))


async def infer(gateway: Running, key: str) -> httpx.Response:
    def post() -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return gateway.http.post("/v2/models/@acme/emotion/infer", json=TENSORS, headers=headers)

    return await asyncio.to_thread(post)


async def test_a_node_that_checks_its_callers_serves_through_every_gateway_of_its_lane(
    world: World, checking: Checking, node: Node, consumer: Signer
) -> None:
    for name, protocol in (("@acme/chat", "openai.chat/1"), ("@acme/emotion", "oip/2")):
        world.serve(world.publish(a_model(name, protocol)), checking.url, {"call": "100"})
    world.deposit(consumer.address, 10**6)
    first, second = world.gateway(), world.gateway("gateway-2")
    checking.gateway = first.url
    key = await asyncio.to_thread(first.key, consumer)
    for gateway in (first, second):
        node.behaviour = answering()
        plain = await chat(gateway, key)
        assert plain.status_code == 200, plain.text
        node.behaviour = streaming(5)
        streamed = await chat(gateway, key, stream=True)
        assert streamed.text.rstrip().endswith("data: [DONE]"), streamed.text
        told = await infer(gateway, key)
        assert told.status_code == 200, told.text
    assert checking.lanes() == [PRIVATE_LANE] * 6
    stranger = httpx.Client(base_url=checking.url)
    for path, body in (("/v1/chat/completions", CHATTED), ("/v2/models/@acme/emotion/infer", TENSORS)):
        refused = await asyncio.to_thread(partial(stranger.post, path, json=body))
        assert refused.status_code == 401


async def test_a_tunnelled_node_checks_its_callers_too(
    world: World, checking: Checking, node: Node, consumer: Signer
) -> None:
    subject = world.publish(a_model())
    world.serve(subject, f"tunnel://{to_hex(PROVIDER.address)}", tier="edge")
    gateway = world.gateway()
    checking.gateway = gateway.url
    identity = Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(subject)])
    tunnel = Tunnel(gateway.url, checking.url, identity)
    running = asyncio.create_task(tunnel.run())
    await asyncio.wait_for(tunnel.opened.wait(), 20)
    world.deposit(consumer.address, 10**6)
    answer = await chat(gateway, await asyncio.to_thread(gateway.key, consumer))
    assert answer.status_code == 200, answer.text
    assert checking.lanes() == [PRIVATE_LANE]
    running.cancel()


async def test_a_gateway_of_another_lane_is_refused_by_the_node(
    world: World, checking: Checking, node: Node, consumer: Signer
) -> None:
    world.a_model_at(checking.url)
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway()
    checking.gateway = gateway.url
    gateway.gateway.signer = a_signer("a key that signs for nobody")
    answer = await chat(gateway, await asyncio.to_thread(gateway.key, consumer))
    assert (answer.status_code, node.asked, world.receipts_of(consumer.address)) == (502, [], [])
