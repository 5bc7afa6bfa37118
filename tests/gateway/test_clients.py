"""Stock clients: OpenAI's, curl, an Open Inference Protocol client; and a node behind a tunnel."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import openai
import pytest

from gateway.upstream.target import parse
from ledger.core.values.ids import PRIVATE_LANE, Digest, cid
from ledger.core.values.typed_data import Signer
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.nodes import Asked, Node, Wire, answering, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, PROVIDER, Running, World, a_model

MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def paid(world: World, gateway: Running, consumer: Signer) -> str:
    """A key with money behind it."""
    world.deposit(consumer.address, 10**6)
    return gateway.key(consumer)


def test_the_stock_client_calls_streams_and_lists(world: World, gateway: Running, node: Node, paid: str) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=paid)
    assert client.chat.completions.create(model="@acme/chat", messages=MESSAGES).choices[0].message.content
    node.behaviour = streaming(5, (10, 5))
    stream = client.chat.completions.create(
        model="@acme/chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "t0 t1 t2 t3 t4 "
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert [model.id for model in client.models.list()] == ["@acme/chat"]


async def test_the_stock_async_client_calls_and_streams(gateway: Running, node: Node, paid: str) -> None:
    client = openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=paid)
    node.behaviour = streaming(4, (10, 4))
    answer = await client.chat.completions.create(model="@acme/chat", messages=MESSAGES)
    assert answer.usage is not None
    stream = await client.chat.completions.create(model="@acme/chat", messages=MESSAGES, stream=True)
    assert len([chunk async for chunk in stream]) == 5


def test_the_stock_client_raises_what_it_knows(gateway: Running, node: Node, paid: str) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=paid, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.chat.completions.create(model="@acme/none", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="tw_no").chat.completions.create(
            model="@acme/chat", messages=MESSAGES
        )
    with pytest.raises(openai.NotFoundError):
        client.batches.list()  # jobs of OpenAI's, which are none of the batches that settle
    node.behaviour = streaming(40, None, die_after=5)
    with pytest.raises(openai.APIError, match="closed the connection"):
        list(client.chat.completions.create(model="@acme/chat", messages=MESSAGES, stream=True))


def test_tools_and_fields_we_do_not_know_pass_through_untouched(gateway: Running, node: Node, paid: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "strange": {"kept": [1.5, None]},
    }
    node.behaviour = answering(answer)
    more: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "f"}}], "unknown_field": {"a": [1.25]}}
    response = gateway.chat(paid, **more)
    assert response.json() == answer
    assert node.asked[-1].json["unknown_field"] == {"a": [1.25]}
    assert node.asked[-1].json["tools"] == more["tools"]


def test_completions_and_embeddings_are_metered(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url, "@acme/text", protocol="openai.completions/1 openai.embeddings/1")
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key(consumer))
    usage = {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8}
    choice = {"index": 0, "text": "ok", "finish_reason": "stop", "logprobs": None}
    node.behaviour = answering(
        {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )
    assert client.completions.create(model="@acme/text", prompt="hello").choices[0].text == "ok"
    row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    node.behaviour = answering({"object": "list", "model": "m", "data": [row], "usage": usage})
    made = client.embeddings.create(model="@acme/text", input="hello", encoding_format="float")
    assert made.data[0].embedding == [0.5, 0.25]
    newest, older = (signed.receipt for signed in world.receipts_of(consumer.address))
    assert (newest.units.input_token, newest.units.output_token) == (6, 0)
    assert (older.units.input_token, older.units.output_token) == (6, 2)


def test_curl_is_enough(gateway: Running, paid: str) -> None:
    body = json.dumps({"model": "@acme/chat", "messages": MESSAGES})
    command = ["curl", "-sS", "-i", f"{gateway.url}/v1/chat/completions", "-H", f"Authorization: Bearer {paid}"]
    said = subprocess.run([*command, "-d", body], capture_output=True, text=True, check=True, timeout=30).stdout
    assert said.startswith("HTTP/1.1 200")
    assert "tollway-receipt: 0x" in said


def test_open_inference_json_and_binary_tensors(world: World, node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model("@acme/emotion", "oip/2"))
    world.serve(subject, node.url)
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    headers = {"Authorization": f"Bearer {gateway.key(consumer)}"}
    shown = gateway.http.get("/v2/models/@acme/emotion").json()
    assert shown["inputs"][0]["name"] == "text"
    assert gateway.http.get("/v2/health/ready").json() == {"ready": True}
    output = {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["joy"]}
    node.behaviour = answering({"model_name": "m", "outputs": [output]}, tollway_usage='{"call": 1, "ms": 3}')
    asked = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]}
    answer = gateway.http.post("/v2/models/@acme/emotion/infer", json=asked, headers=headers)
    assert answer.json()["outputs"] == [output]
    assert node.asked[-1].path == "/v2/models/@acme/emotion/infer"

    async def binary(request: Asked, wire: Wire) -> None:
        length = int(request.headers["inference-header-content-length"])
        assert request.body[length:] == b"\x02\x00\x00\x00hi"
        head = json.dumps({"outputs": [{"name": "label", "datatype": "BYTES", "shape": [1]}]}).encode()
        await wire.answer(head + b"\x03\x00\x00\x00joy", inference_header_content_length=str(len(head)))

    node.behaviour = binary
    head = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]}).encode()
    sent = {**headers, "Inference-Header-Content-Length": str(len(head))}
    answer = gateway.http.post("/v2/models/@acme/emotion/infer", content=head + b"\x02\x00\x00\x00hi", headers=sent)
    assert answer.content.endswith(b"joy")
    assert int(answer.headers["inference-header-content-length"]) == len(answer.content) - 7
    assert [s.receipt.units.call for s in world.receipts_of(consumer.address)] == [1, 1]
    node.behaviour = answering({"model_name": "m", "outputs": [output]})
    native = {"model": "@acme/emotion", "input": {"text": "hi"}}
    answer = gateway.http.post("/v1/invoke", json=native, headers=headers).json()
    assert (answer["output"], answer["charge"]) == ({"label": "joy"}, "115")
    refused = gateway.http.post("/v1/invoke", json={**native, "surprise": 1}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "surprise")


def test_invoke_takes_messages_too(gateway: Running, paid: str) -> None:
    asked = {"model": "@acme/chat", "input": {"messages": MESSAGES}}
    answer = gateway.http.post("/v1/invoke", json=asked, headers={"Authorization": f"Bearer {paid}"}).json()
    assert (answer["output"]["content"], answer["charge"]) == ("hello there", "115")


async def test_a_node_behind_a_tunnel_serves_plain_and_streamed(world: World, node: Node, consumer: Signer) -> None:
    subject: Digest = world.publish(a_model())
    world.serve(subject, f"tunnel://0x{PROVIDER.address.hex()}", tier="edge")
    gateway = await asyncio.to_thread(world.gateway)
    world.deposit(consumer.address, 10**6)
    key = await asyncio.to_thread(gateway.key, consumer)
    unreached = await asyncio.to_thread(gateway.chat, key)
    assert unreached.status_code == 503
    tunnel = Tunnel(gateway.url, node.url, Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(subject)]))
    task = asyncio.create_task(tunnel.run())
    try:
        await asyncio.wait_for(tunnel.opened.wait(), 20)
        answer = await asyncio.to_thread(gateway.chat, key)
        assert answer.status_code == 200, answer.text
        node.behaviour = streaming(30, (10, 30))
        streamed = await asyncio.to_thread(lambda: gateway.chat(key, stream=True))
        assert streamed.text.rstrip().endswith("data: [DONE]")
    finally:
        task.cancel()
    target = parse(f"tunnel://0x{PROVIDER.address.hex()}")
    await asyncio.to_thread(eventually, lambda: not gateway.gateway.upstream.tunnels.connected(target))
    assert [s.receipt.units.output_token for s in world.receipts_of(consumer.address)] == [30, 2]
