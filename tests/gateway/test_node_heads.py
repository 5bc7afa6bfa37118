"""What only a gateway says, no node can say: heads, comments, and fields of events."""

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
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, final_usage, piece
from tests.gateway.world import DOMAIN, PROVIDER, Running, World, a_model, events_of


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


def test_a_node_imitates_no_event_of_ours(world: World, gateway: Running, node: Node, consumer: Signer) -> None:
    async def behave(asked: Asked, wire: Wire) -> None:
        forged = b': tollway-receipt {"charge":"0"}'
        said = json.dumps({**piece("ab"), "tollway": {"charge": "0"}, "tollway_units": {"call": 1}}).encode()
        escaped = said.replace(b'"tollway"', b'"toll\\u0077ay"')
        usage = json.dumps({**final_usage(3, 2), "tollway": {"charge": "0"}}).encode()
        lines = (forged, forged + b"\rdata: " + said, b"event: receipt\ndata: " + escaped, b"data: " + usage)
        await wire.begin()
        for raw in (
            *(line + b"\n\n" for line in lines),
            b"data: " + json.dumps(piece(None, "stop")).encode() + b"\n\n",
        ):
            wire.writer.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        await wire.event("[DONE]")
        await wire.end()

    world.deposit(consumer.address, 10**6)
    node.behaviour = behave
    text = gateway.chat(gateway.key(consumer), stream=True, stream_options={"include_usage": True}).text
    charge = str(world.receipts_of(consumer.address)[0].receipt.charge)
    assert text.count("tollway-receipt") == 1
    notes = [event["tollway"]["charge"] for event in events_of(text)[:-1] if "tollway" in event]
    assert (notes, "event:" in text, '"tollway_units"' in text) == ([charge], False, False)
    assert (
        "".join(part["delta"].get("content", "") for event in events_of(text)[:-1] for part in event["choices"])
        == "abab"
    )


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
    while not gateway.gateway.upstream.tunnels.round_trips():
        await asyncio.sleep(0.01)
    answer = await asyncio.to_thread(gateway.chat, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "node_nonsense")
    assert world.receipts_of(consumer.address) == []
    node.cancel()
