"""What a node writes into its head reaches no consumer, whichever way it came."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from ledger.core.values.ids import PRIVATE_LANE, cid, to_hex
from ledger.core.values.tunnel_frames import Kind, decode, encode
from ledger.core.values.typed_data import Signer
from roles.node.tunnel import Identity
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.world import DOMAIN, PROVIDER, Running, World, a_model


def test_a_whole_answer_has_the_content_type_that_the_gateway_gives_it(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    for said in ("text/html", "application/json; charset=evil", "x"):
        node.behaviour = answering(chat("<script>"), content_type=said, inference_header_content_length="x")
        answer = gateway.chat(key)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def answer_with(url: str, subject: str, head: dict[str, Any]) -> None:
    """A tunnelled node that answers every call with this head."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/v1/tunnel") as socket:
        identity = Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [subject])
        async for message in socket:
            frame = decode(message.data)
            if frame.kind is Kind.challenge:
                await socket.send_bytes(identity.hello(frame.payload))
            elif frame.kind is Kind.end:
                await socket.send_bytes(encode(Kind.response, frame.stream, json.dumps(head).encode()))
                await socket.send_bytes(encode(Kind.body, frame.stream, json.dumps(chat()).encode()))
                await socket.send_bytes(encode(Kind.end, frame.stream))


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "application/json\r\nX-Evil: 1"}, {"x\r\ny": "1"}, {"x": "\u20ac"}, {"": "1"}, {"x": "a\x00"}],
    ids=["value", "name", "not latin", "no name", "nul"],
)
async def test_a_tunnelled_head_that_is_no_head_is_the_nodes_failure_and_free(
    world: World, consumer: Signer, headers: dict[str, str]
) -> None:
    subject = world.publish(a_model())
    world.serve(subject, f"tunnel://{to_hex(PROVIDER.address)}", tier="edge")
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway()
    key = await asyncio.to_thread(gateway.key, consumer)
    node = asyncio.create_task(answer_with(gateway.url, cid(subject), {"status": 200, "headers": headers}))
    while not gateway.gateway.upstream.tunnels.parties():
        await asyncio.sleep(0.01)
    answer = await asyncio.to_thread(gateway.chat, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "node_nonsense")
    assert world.receipts_of(consumer.address) == []
    node.cancel()
