"""A node behind NAT: the gateway's calls come back through the socket the node opened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import PRIVATE_LANE, Lane
from ledger.core.values.tunnel_frames import Kind, encode
from ledger.core.values.typed_data import Domain, Signer
from roles.node.tunnel import Identity, Tunnel
from tests.roles.node.conftest import RunningNode
from tests.roles.node.tunnel_server import CREDIT, TunnelServer

DOMAIN = Domain(31337)
HOME = Identity(Signer(b"\x07" * 32), DOMAIN, PRIVATE_LANE, "home-17", ("bafk",))
ASK = {"model": "dialog", "messages": [{"role": "user", "content": "How long is the warranty?"}]}


@asynccontextmanager
async def tunnelled(
    local: str, *, lane: Lane = PRIVATE_LANE, grant: bool = True
) -> AsyncIterator[tuple[TunnelServer, Tunnel, asyncio.Task[None]]]:
    """A gateway's tunnel endpoint with a node's tunnel into it."""
    server = TunnelServer(lane, DOMAIN, grant)
    app = web.Application()
    app.add_routes([web.get("/v1/tunnel", server.handle)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tunnel = Tunnel(f"http://127.0.0.1:{runner.addresses[0][1]}", local, HOME)
    task = asyncio.create_task(tunnel.run())
    try:
        yield server, tunnel, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


async def test_a_call_through_the_tunnel_answers_like_a_direct_one(node: RunningNode) -> None:
    async with tunnelled(node.url) as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        assert tunnel.url == f"tunnel://0x{HOME.signer.address.hex()}"
        through = await server.call("POST", "/v1/chat/completions", json.dumps(ASK).encode())
    direct = httpx.post(f"{node.url}/v1/chat/completions", json=ASK).json()
    assert through.head["status"] == 200
    assert json.loads(through.body)["choices"] == direct["choices"]


async def test_a_stream_arrives_in_pieces(node: RunningNode) -> None:
    async with tunnelled(node.url) as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        through = await server.call("POST", "/v1/chat/completions", json.dumps(ASK | {"stream": True}).encode())
    assert through.body.endswith(b"data: [DONE]\n\n")
    assert through.pieces > 3


async def test_calls_share_the_socket_without_waiting_for_each_other(node: RunningNode) -> None:
    async with tunnelled(node.url) as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        body = json.dumps(ASK).encode()
        answers = await asyncio.gather(*(server.call("POST", "/v1/chat/completions", body) for _ in range(20)))
    assert {answer.head["status"] for answer in answers} == {200}
    assert len({json.loads(answer.body)["choices"][0]["message"]["content"] for answer in answers}) == 1


async def test_a_reader_who_does_not_grant_credit_is_not_flooded() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(bytes(65_536))
        return response

    app = web.Application()
    app.add_routes([web.get("/flood", flood)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with tunnelled(f"http://127.0.0.1:{runner.addresses[0][1]}", grant=False) as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        stream = await server.begin("GET", "/flood")
        await asyncio.sleep(0.3)
        assert len(server.answers[stream].body) == CREDIT
    await runner.cleanup()


async def test_a_cancelled_call_stops_and_the_next_one_is_served(node: RunningNode) -> None:
    async with tunnelled(node.url) as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        stream = await server.begin("POST", "/v1/chat/completions", json.dumps(ASK | {"stream": True}).encode())
        assert server.socket is not None
        await server.socket.send_bytes(encode(Kind.cancel, stream, b"the consumer left"))
        after = await server.call("GET", "/v2/health/live")
        assert json.loads(after.body) == {"live": True}


async def test_a_lost_socket_is_opened_again(node: RunningNode) -> None:
    async with tunnelled(node.url) as (server, _, _):
        await asyncio.wait_for(server.connected.wait(), 5)
        server.connected.clear()
        assert server.socket is not None
        await server.socket.close()
        await asyncio.wait_for(server.connected.wait(), 5)
        assert len(server.hellos) == 2
        assert (await server.call("GET", "/v2/health/live")).head["status"] == 200


async def test_a_node_that_is_down_is_a_cancelled_stream() -> None:
    async with tunnelled("http://127.0.0.1:9") as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        assert (await server.call("GET", "/v2/health/live")).cancelled == "ClientConnectorError"


async def test_a_signature_for_another_lane_is_refused_for_good(node: RunningNode) -> None:
    async with tunnelled(node.url, lane=Lane(b"\2" * 20)) as (server, _, task):
        with pytest.raises(Rejected, match="refused"):
            await asyncio.wait_for(task, 5)
        assert server.hellos == []


@pytest.mark.parametrize(
    "path", ["@127.0.0.1:{port}/secret", ":{port}/secret", ".evil/secret", "", "//127.0.0.1:{port}/secret"]
)
async def test_a_gateway_reaches_the_node_and_nothing_else_of_its_network(path: str) -> None:
    """`@host/` behind the node's own address was another host: a gateway read what only the home reaches."""
    asked: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="of the home")

    async def own(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/secret"}) if request.path == "/away" else web.Response()

    runners = []
    for handler in (secret, own):
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", handler)])
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
    hidden, home = (runner.addresses[0][1] for runner in runners)
    async with tunnelled(f"http://127.0.0.1:{home}") as (server, tunnel, _):
        await asyncio.wait_for(tunnel.opened.wait(), 5)
        answer = await asyncio.wait_for(server.call("GET", path.format(port=hidden)), 10)
        assert answer.body == b""
        assert (await server.call("GET", "/away")).head["status"] == 307
    assert asked == []
    for runner in runners:
        await runner.cleanup()
