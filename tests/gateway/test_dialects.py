"""Upstreams write OpenAI's protocol in many ways, and all are read. Requests are read strictly: no JSON is 400."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.errors import NodeFailed, Refusal
from gateway.metering import openai
from gateway.metering.ask import CHAT, Ask
from gateway.metering.openai import StreamAccumulator, StreamState
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, final_usage, piece, streaming
from tests.gateway.world import Running, World

ASK = Ask(CHAT, "m", b"{}", stream=True, include_usage=True)


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def read(*chunks: bytes) -> tuple[StreamAccumulator, bytes]:
    """A stream that came in these chunks, and what went to the consumer."""
    stream = StreamAccumulator(ASK, b"salt", 100, 10**6, keep_text=True)
    return stream, b"".join([stream.take(chunk) for chunk in chunks])


WORDS = (event(piece("a")), event(piece("b")), event(piece(None, "stop")))
USAGE, DONE = event(final_usage(10, 2)), b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10.0, "completion_tokens": 2.0},
        {"prompt_tokens": "10", "completion_tokens": "2"},
        {"prompt_tokens": 10.9, "completion_tokens": 2},
        {"prompt_tokens": 10, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1.0}},
    ],
)
@pytest.mark.parametrize("choices", [[], None])
def test_usage_in_other_numbers_and_choices_null(usage: dict[str, Any], choices: list[Any] | None) -> None:
    stream, _ = read(*WORDS, event({"choices": choices, "usage": usage}), DONE)
    assert stream.usage is not None
    assert (stream.usage.inputs, stream.usage.outputs, stream.state) == (10, 2, StreamState.done)
    assert b'"usage"' in stream.last_events(None)


@pytest.mark.parametrize("usage", [{"prompt_tokens": [1]}, {"prompt_tokens": True}, {"prompt_tokens": "many"}, {}])
def test_usage_that_is_no_number_is_not_reported(usage: dict[str, Any]) -> None:
    stream, _ = read(*WORDS, event({"choices": [], "usage": usage}), DONE)
    assert stream.usage is not None
    assert (stream.usage.inputs, stream.usage.outputs) == (None, None)


def test_content_in_parts_is_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, "?", {"type": "text", "text": "b"}]
    stream, out = read(event({"choices": [{"delta": {"content": parts}}]}), DONE)
    assert (stream.text, stream.tokens) == ("ab", 1)
    assert b'"image"' in out
    whole = openai.read_answer(CHAT, json.dumps({"choices": [{"message": {"content": parts}}]}).encode())
    assert whole is not None
    assert whole.text == "ab"


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_line_ends_with_cr_lf_or_both_wherever_a_chunk_ends(end: bytes, size: int) -> None:
    whole = b"\xef\xbb\xbf" * (size > 2) + b"".join((b": hi\n\n", *WORDS, USAGE, DONE)).replace(b"\n", end)
    stream, out = read(*[whole[at : at + size] for at in range(0, len(whole), size)])
    assert out == b":\n\n" + b"".join(WORDS)
    assert (stream.tokens, stream.state) == (2, StreamState.done)
    assert stream.usage is not None


def test_a_line_hidden_behind_a_single_cr_is_metered() -> None:
    """`x: y\\rdata: ...` passed unmetered, and a client that reads as the standard says saw it."""
    stream, _ = read(b"x: y\rdata: " + json.dumps(piece("hidden")).encode() + b"\n\n", DONE)
    assert (stream.text, stream.tokens) == ("hidden", 1)


@pytest.mark.parametrize(
    "data", [b'{"choices":' + b"[" * 9_000 + b"]" * 9_000 + b"}", b'{"choices":[],"usage":{},"x":1e999}', b"\xff"]
)
def test_nonsense_is_the_nodes_before_anything_is_charged(data: bytes) -> None:
    with pytest.raises(NodeFailed) as failed:
        read(*WORDS, b"data: " + data + b"\n\n")
    assert failed.value.kind == "nonsense"


def test_a_byte_order_mark_before_an_answer_is_dropped(
    gateway: Running, world: World, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    node.behaviour = answering(b"\xef\xbb\xbf" + json.dumps(chat("hello")).encode())
    answer = gateway.chat(gateway.key(consumer))
    assert (answer.status_code, answer.content[:1]) == (200, b"{")


BAD = {
    "bytes that are no text": b'"x":"\xe9"',
    "deep": b'"x":' + b"[" * 200_000 + b"]" * 200_000,
    "half a surrogate": b'"x":"\\ud800"',
}


@pytest.mark.parametrize("stream", [b"true", b"false"])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_json_is_refused_before_a_node_is_asked(
    gateway: Running, world: World, node: Node, consumer: Signer, kind: str, stream: bytes
) -> None:
    """Streams answered 500, and a plain call passed the bytes on."""
    world.deposit(consumer.address, 10**6)
    body = b'{"model":"@acme/chat","messages":[],"stream":%b,%b}' % (stream, BAD[kind])
    answer = _post(gateway, gateway.key(consumer), body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json"), answer.text
    assert node.asked == []


@pytest.mark.parametrize("name", [b"@acme/chat", b"cid"])
def test_a_streamed_request_reaches_the_node_as_it_was_written(
    gateway: Running, world: World, node: Node, consumer: Signer, name: bytes
) -> None:
    """Re-encoding made a seed of thirty digits a float."""
    world.deposit(consumer.address, 10**6)
    node.behaviour = streaming(2, (10, 2))
    if name == b"cid":
        name = gateway.http.get("/v1/models/@acme/chat").json()["cid"].encode()
    seed, options = b"123456789012345678901234567890", b'"messages":[],"max_tokens":5,"stream":true'
    answer = _post(gateway, gateway.key(consumer), b'{"model":"%b",%b,"seed":%b}' % (name, options, seed))
    assert answer.text.endswith("data: [DONE]\n\n"), answer.text
    [asked] = node.asked
    assert b'"seed":' + seed in asked.body
    assert asked.json["stream_options"] == {"include_usage": True}
    assert asked.json["model"] == "@acme/chat"


def test_a_number_too_large_for_a_float_is_the_nodes_to_refuse(
    gateway: Running, world: World, node: Node, consumer: Signer
) -> None:
    """It was 500 for streams."""
    world.deposit(consumer.address, 10**6)

    async def no(asked: Asked, wire: Wire) -> None:
        await wire.answer({"error": {"message": "out of range"}}, 400)

    node.behaviour = no
    key = gateway.key(consumer)
    for stream in (b"true", b"false"):
        body = b'{"model":"@acme/chat","messages":[],"stream":%b,"x":1e999}' % stream
        assert _post(gateway, key, body).status_code == 400


def test_images_are_counted_whatever_messages_are() -> None:
    for messages in (5, "image", {"image": 1}, [5], None):
        assert Ask(CHAT, "m", json.dumps({"messages": messages, "x": "image"}).encode()).images == 0
    with pytest.raises(Refusal):
        _ = Ask(CHAT, "m", b"{").json


def _post(gateway: Running, key: str, body: bytes) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {key}"})
