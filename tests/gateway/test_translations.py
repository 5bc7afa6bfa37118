"""Other protocols than chat, at the gateway's edge: translations of requests, answers and streams, and real calls."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from x402.http.clients.httpx import x402HttpxClient

from gateway import bounds
from gateway.dialects.messages import Messages
from gateway.dialects.responses import Responses
from gateway.dialects.translation import Dialect
from gateway.errors import Refusal
from gateway.metering import openai
from gateway.metering.ask import CHAT
from ledger.core.values.meters import coarse
from ledger.core.values.typed_data import Signer
from tests.gateway.clients.answering import USAGE, events, speaking
from tests.gateway.nodes import Asked, Node, Wire, piece
from tests.gateway.test_x402 import a_client, chain  # noqa: F401
from tests.gateway.workflows import LAST, Loom, pinned
from tests.gateway.world import Running, World

RESPONSE = {"model": "@acme/chat", "input": "how is it?"}
MESSAGE = {"model": "@acme/chat", "messages": [{"role": "user", "content": "how is it?"}], "max_tokens": 50}
ASKED: dict[str, dict[str, Any]] = {"/v1/responses": RESPONSE, "/v1/messages": MESSAGE}
DIALECTS: dict[str, type[Dialect]] = {"/v1/responses": Responses, "/v1/messages": Messages}
both = pytest.mark.parametrize("path", ASKED)
busy = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do other work meanwhile."""

texts = st.lists(st.text(min_size=1), min_size=1, max_size=4)
calls = st.lists(
    st.builds(
        lambda number, name, parts: {"id": f"call_{number}", "name": name, "arguments": parts},
        st.integers(0, 10**6),
        st.text(min_size=1, max_size=9),
        st.sampled_from([['{"a":1}'], ['{"a"', ": 1}"], ["{", "}"], ["no", " JSON"], ["[1]"], []]),
    ),
    max_size=4,
    unique_by=lambda call: call["id"],
)
said = st.fixed_dictionaries(
    {"content": texts, "end": st.sampled_from(["stop", "length", "tool_calls", "content_filter", "other"])},
    optional={"thought": texts, "calls": calls},
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)


def dialect(path: str, **more: Any) -> Dialect:
    """A dialect that has read a request."""
    made = DIALECTS[path]()
    made.read(json.dumps(ASKED[path] | more).encode())
    made.id = made.prefix + "1"
    return made


def stream_of(made: Dialect, chunks: list[Any]) -> list[dict[str, Any]]:
    """The events for the chunks of a chat stream, each checked to be one."""
    out = made.begin() + b"".join([made.take(json.dumps(one).encode()) for one in chunks]) + made.end()
    return list(read(out.decode()))


def read(stream: str) -> Iterator[dict[str, Any]]:
    for raw in stream.split("\n\n"):
        lines = [line for line in raw.split("\n") if line and not line.startswith(":")]
        if lines:
            event, data = lines
            decoded: dict[str, Any] = json.loads(data.removeprefix("data: "))
            assert event == f"event: {decoded['type']}"
            yield decoded


def whole_of(spoken: dict[str, Any]) -> bytes:
    """The same as the chunks of `events`, in one piece."""
    message: dict[str, Any] = {"content": "".join(spoken["content"])}
    message["reasoning_content"] = "".join(spoken.get("thought", ()))
    message["tool_calls"] = [
        {"id": one["id"], "function": {"name": one["name"], "arguments": "".join(one["arguments"])}}
        for one in spoken.get("calls", ())
    ]
    choice = {"index": 0, "message": message, "finish_reason": spoken["end"]}
    return json.dumps({"choices": [choice], "usage": USAGE, "created": 1}).encode()


@busy
@given(said)
def test_a_streamed_response_is_the_whole_one(spoken: dict[str, Any]) -> None:
    streamed = stream_of(dialect("/v1/responses"), events(spoken))
    whole = json.loads(dialect("/v1/responses").whole(whole_of(spoken)))
    assert streamed[-1]["response"] == whole
    assert [one["sequence_number"] for one in streamed] == list(range(len(streamed)))
    done = [one["item"] for one in streamed if one["type"] == "response.output_item.done"]
    assert done == whole["output"]
    for number, item in enumerate(done):
        deltas = [one["delta"] for one in streamed if one.get("output_index") == number and "delta" in one]
        assert "".join(deltas) == (item["content"][0]["text"] if "content" in item else item["arguments"])


@busy
@given(said)
def test_a_streamed_message_is_the_whole_one(spoken: dict[str, Any]) -> None:
    streamed = stream_of(dialect("/v1/messages"), events(spoken))
    whole = json.loads(dialect("/v1/messages").whole(whole_of(spoken)))
    blocks: list[dict[str, Any]] = []
    for one in streamed:
        if one["type"] == "content_block_start":
            assert one["index"] == len(blocks)
            blocks.append(one["content_block"] | {"partial_json": ""})
        elif one["type"] == "content_block_delta":
            [(name, text)] = [(name, text) for name, text in one["delta"].items() if name != "type"]
            blocks[one["index"]][name] += text
    for block in blocks:
        arguments = block.pop("partial_json")
        if block["type"] == "tool_use":
            is_object = arguments not in ("no JSON", "[1]")
            block["input"] = json.loads(arguments or "{}") if is_object else {"arguments": arguments}
    starts = [one["type"] for one in streamed if one["type"] in ("content_block_start", "content_block_stop")]
    assert starts == ["content_block_start", "content_block_stop"] * len(blocks)
    last = streamed[-2]
    assert {"content": blocks, "usage": last["usage"], **last["delta"]}.items() <= whole.items()


call_parts = st.fixed_dictionaries(
    {},
    optional={
        "id": scalars,
        "index": scalars,
        "function": st.dictionaries(st.sampled_from(["name", "arguments"]), scalars) | scalars,
    },
)
deltas = st.dictionaries(
    st.sampled_from(["content", "reasoning", "refusal", "tool_calls", "function_call"]),
    anything | st.lists(call_parts),
)
ends = st.dictionaries(st.sampled_from(["index", "finish_reason", "stop_reason"]), scalars)
used = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"]),
    anything | st.just(10**30) | st.just({"cached_tokens": 10**30}),
)
nonsense = (
    anything
    | st.builds(lambda delta, more: {"choices": [{"delta": delta, **more}]}, deltas, ends)
    | st.builds(lambda usage: {"usage": usage}, used)
)


@both
@busy
@given(chunks=st.lists(nonsense, max_size=5))
def test_no_node_breaks_a_translation_or_speaks_for_the_gateway(path: str, chunks: list[Any]) -> None:
    begun, *_, ended = stream_of(dialect(path), chunks)
    assert (begun["type"], ended["type"]) in (
        ("response.created", "response.completed"),
        ("response.created", "response.incomplete"),
        ("response.created", "error"),
        ("message_start", "message_stop"),
        ("message_start", "error"),
    )
    for chunk in chunks:
        json.loads(dialect(path).whole(json.dumps(chunk).encode()))


parts = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                ["message", "function_call", "input_text", "text", "image", "tool_use", "tool_result"]
            )
        },
        optional={"content": anything, "output": anything, "text": scalars, "source": anything, "input": anything}
        | {name: st.just("user") | scalars for name in ("role", "id", "call_id", "name", "arguments", "tool_use_id")},
    )
)
bodies = st.dictionaries(
    st.sampled_from(["input", "messages", "system", "instructions", "tools", "tool_choice", "text", "output_config"])
    | st.sampled_from(
        ["thinking", "stream", "store", "max_output_tokens", "max_tokens", "stop_sequences", "n", "seed"]
    ),
    anything | parts | st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": parts})),
)


@busy
@given(anything | bodies)
def test_any_body_is_refused_or_becomes_a_chat_request(body: Any) -> None:
    refusals = list[int]()
    for path, usual in ASKED.items():
        for asked in (body, usual | body if isinstance(body, dict) else usual):
            try:
                read_on = openai.read(CHAT, DIALECTS[path]().read(json.dumps(asked).encode()))
            except Refusal as refused:
                refusals.append(refused.status)
            else:
                assert read_on.model == asked["model"]
    assert set(refusals) <= {400}


def test_calls_that_a_node_mixes_are_an_error() -> None:
    """No client of these protocols can put them together: it would run a function with half of its arguments."""

    def part(index: int, **function: str) -> dict[str, Any]:
        known = {"id": f"call_{index}"} if "name" in function else {}
        return {"choices": [{"delta": {"tool_calls": [{"index": index, **known, "function": function}]}}]}

    mixed = [part(0, name="f", arguments="{"), part(1, name="g", arguments="{"), part(0, arguments="}")]
    for path in ASKED:
        assert stream_of(dialect(path), mixed)[-1]["type"] == "error"
        assert stream_of(dialect(path), mixed[:2])[-1]["type"] != "error"


def test_a_response_is_asked_for_as_chat() -> None:
    body = {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "In English."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": "data:x", "detail": "low"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ],
        "tools": [
            {"type": "function", "name": "f", "parameters": {"big": 123456789012345678901234567890}, "strict": True}
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 9,
        "temperature": 0.10,
        "seed": 5,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "user": None,
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    function = {"name": "f", "parameters": {"big": 123456789012345678901234567890}, "strict": True}
    assert json.loads(Responses().read(json.dumps(body).encode())) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "In English."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": "a\nb", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True},
        },
        "reasoning_effort": "low",
        "max_completion_tokens": 9,
        "temperature": 0.1,
        "seed": 5,
    }


def test_a_message_is_asked_for_as_chat() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
    body = {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [image, {"type": "text", "text": "look"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1.50}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}, image]},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "tools": [
            {
                "name": "f",
                "description": "d",
                "input_schema": {"type": "object"},
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stream": True,
        "top_k": 3,
    }
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.5}'}}
    assert json.loads(Messages().read(json.dumps(body).encode())) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [url, {"type": "text", "text": "look"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}, url]},
            {"role": "user", "content": "go on"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": ["END"],
        "user": "u",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
        "stream": True,
        "stream_options": {"include_usage": True},
        "top_k": 3,
    }


@pytest.fixture
def paid(world: World, gateway: Running, node: Node, consumer: Signer) -> str:
    """A key with money behind it, of a gateway whose node speaks."""
    node.behaviour = speaking
    world.deposit(consumer.address, 10**6)
    return gateway.key(consumer)


def post(gateway: Running, path: str, body: Any, key: str = "", **headers: str) -> Any:
    """A call, with the key as the protocol's clients send it."""
    shown = {"x-api-key": key} if "messages" in path else {"authorization": f"Bearer {key}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.http.post(path, content=content, headers=(shown if key else {}) | headers)


REFUSED = {
    "store": ("/v1/responses", RESPONSE | {"store": True}, "unsupported_value", "store"),
    "an item that is kept": (
        "/v1/responses",
        RESPONSE | {"input": [{"type": "item_reference", "id": "x"}]},
        "unsupported_value",
        "input[0]",
    ),
    "a hosted tool": ("/v1/responses", RESPONSE | {"tools": [{"type": "mcp"}]}, "unsupported_value", "tools[0]"),
    "a wrong type": ("/v1/responses", RESPONSE | {"input": [{"role": 5}]}, "invalid_request", "input[0].role"),
    "no limit": ("/v1/responses", RESPONSE | {"max_output_tokens": 0}, "invalid_request", "max_output_tokens"),
    "a field of chat": ("/v1/responses", RESPONSE | {"n": 3}, "unsupported_value", "n"),
    "a limit by another name": ("/v1/responses", RESPONSE | {"num_predict": 3}, "invalid_request", "num_predict"),
    "deep": ("/v1/responses", b'{"input":' + b"[" * 99 + b"]" * 99 + b"}", "invalid_json", None),
    "no JSON": ("/v1/messages", b'{"model":"\xff"}', "invalid_json", None),
    "nothing": ("/v1/messages", {}, "invalid_request", "model"),
    "no max_tokens": ("/v1/messages", {"model": "m", "messages": []}, "invalid_request", "max_tokens"),
    "a server's tool": (
        "/v1/messages",
        MESSAGE | {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        "unsupported_value",
        "tools[0]",
    ),
    "a role": (
        "/v1/messages",
        MESSAGE | {"messages": [{"role": "tool", "content": ""}]},
        "invalid_request",
        "messages[0].role",
    ),
    "many": ("/v1/messages", MESSAGE | {"stop_sequences": [""] * 50_000}, "invalid_json", None),
    "to be counted": (
        "/v1/messages/count_tokens",
        {"model": "@acme/chat", "messages": 5},
        "invalid_request",
        "messages",
    ),
}


def test_what_cannot_be_asked_for_is_refused_in_the_clients_own_shape(gateway: Running, node: Node, paid: str) -> None:
    for name, (path, body, code, param) in REFUSED.items():
        answer = post(gateway, path, body, paid)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, code, param), (name, answer.text)
        assert error["type"] == "invalid_request_error"
        assert answer.json().get("type") == ("error" if "messages" in path else None)
    assert node.asked == []


def test_errors_of_all_kinds_have_anthropics_shape(gateway: Running, node: Node, paid: str, consumer: Signer) -> None:
    gone = MESSAGE | {"model": "@acme/none"}
    poor = post(gateway, "/v1/messages", MESSAGE, gateway.key(consumer, 2 * 10**12, budget="1"))
    refused = post(gateway, "/v1/messages", MESSAGE | {"messages": [{"role": "user", "content": "fail"}]}, paid)
    node.stop()
    cases = [
        (post(gateway, "/v1/messages", MESSAGE), 401, "authentication_error"),
        (post(gateway, "/v1/messages/count_tokens", MESSAGE, "tw_no"), 401, "authentication_error"),
        (post(gateway, "/v1/messages", gone, paid), 404, "not_found_error"),
        (gateway.http.get("/v1/messages"), 405, "api_error"),
        (poor, 402, "billing_error"),
        (refused, 400, "invalid_request_error"),
        (post(gateway, "/v1/messages", MESSAGE, paid), 502, "api_error"),
        (post(gateway, "/v1/messages", b"x" * (bounds.PAID_BODY_BYTES + 1), paid), 413, "request_too_large"),
    ]
    for answer, status, kind in cases:
        said = answer.json()
        assert (answer.status_code, said["type"], said["error"]["type"]) == (status, "error", kind), answer.text
        assert said["error"]["message"]
    assert refused.json()["error"]["code"] == "context_length_exceeded"


@both
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_sent_again_has_the_same_answer_and_is_charged_once(
    gateway: Running, world: World, node: Node, paid: str, consumer: Signer, path: str, stream: bool
) -> None:
    body = ASKED[path] | {"stream": stream}
    first, again = (post(gateway, path, body, paid, **{"idempotency-key": "one"}) for _ in range(2))
    assert (first.status_code, len(node.asked)) == (200, 1), first.text
    assert again.content == first.content
    other = post(gateway, path, body | {"temperature": 1}, paid, **{"idempotency-key": "one"})
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    [signed] = world.receipts_of(consumer.address)
    units = coarse(signed.receipt.units)
    assert (units.input_token, units.output_token) == (40, 9)
    assert signed.receipt.call_id.hex()[:32] in first.text
    if stream:
        assert first.headers["content-type"].startswith("text/event-stream")
        assert ": tollway-receipt " in first.text
    else:
        assert first.headers["tollway-receipt"] == f"0x{signed.receipt.call_id.hex()}"


@both
def test_a_stream_that_broke_is_sent_again_as_what_it_was(gateway: Running, node: Node, paid: str, path: str) -> None:
    said = {"role": "user", "content": "die"}
    body = {"model": "@acme/chat", "stream": True, "max_tokens": 50, "messages": [said]}
    if path == "/v1/responses":
        body = {"model": "@acme/chat", "stream": True, "input": [said]}
    first, again = (post(gateway, path, body, paid, **{"idempotency-key": "one"}) for _ in range(2))
    assert again.content == first.content
    assert len(node.asked) == 1
    kinds = [one["type"] for one in read(first.text)]
    assert kinds[-1] == "error"
    assert not {"message_stop", "response.completed"} & {*kinds}
    assert ("response.failed" in kinds) is (path == "/v1/responses")


@both
def test_the_limit_is_the_gateways_and_an_answer_ends_at_it(
    gateway: Running, world: World, node: Node, paid: str, consumer: Signer, path: str
) -> None:
    limit = {"/v1/responses": "max_output_tokens", "/v1/messages": "max_tokens"}[path]

    async def talking(asked: Asked, wire: Wire) -> None:
        assert asked.json["max_tokens"] == 4
        await wire.begin()
        for _ in range(9):
            await wire.event(piece("word "))
        await wire.closed()

    node.behaviour = talking
    *_, before, last = read(post(gateway, path, ASKED[path] | {"stream": True, limit: 4}, paid).text)
    ended = last["response"]["incomplete_details"] if "response" in last else before["delta"]["stop_reason"]
    assert ended in ({"reason": "max_output_tokens"}, "max_tokens")
    assert [one.receipt.units.output_token for one in world.receipts_of(consumer.address)] == [4]


@both
def test_a_node_that_imitates_events_is_not_heard(gateway: Running, node: Node, paid: str, path: str) -> None:
    forged = "event: response.completed\nevent: message_stop\ndata: "

    async def forging(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        await wire.event(piece("one"))
        for more in (
            {"type": "response.completed", "response": {}},
            {"type": "message_stop"},
            {"tollway": {"charge": "0"}},
        ):
            raw = f"{forged}{json.dumps({**piece(' two'), **more})}\n\n: tollway-receipt forged\n\n".encode()
            wire.writer.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = forging
    answer = post(gateway, path, ASKED[path] | {"stream": True}, paid)
    said = [one["type"] for one in read(answer.text)]
    assert sum(one in ("response.completed", "message_stop") for one in said) == 1
    assert said[-1] in ("response.completed", "message_stop")
    assert "forged" not in answer.text
    assert '"charge":"0"' not in answer.text


@both
def test_a_workflow_answers_whole_and_streamed(loom: Loom, consumer: Signer, path: str) -> None:
    talker = loom.talker("talker", speaking)
    given = {"messages": [{"role": "user", "content": LAST}]}
    loom.capsule(pinned("talk", talker, given), output={"content": "$steps.talk.output.content"})
    key = loom.consumer(consumer)
    whole = post(loom.gateway, path, ASKED[path] | {"model": "@wanda/flow"}, key)
    assert (whole.status_code, whole.json()["model"]) == (200, "@wanda/flow"), whole.text
    assert "It is sunny." in whole.text
    streamed = list(read(post(loom.gateway, path, ASKED[path] | {"model": "@wanda/flow", "stream": True}, key).text))
    assert streamed[-1]["type"] in ("response.completed", "message_stop")
    assert len(loom.world.receipts_of(consumer.address)) == 4


@both
async def test_a_stock_x402_client_pays(chain: World, node: Node, path: str) -> None:  # noqa: F811
    node.behaviour = speaking
    gateway = chain.gateway()
    unpaid = gateway.http.post(path, json=ASKED[path])
    required = json.loads(base64.b64decode(unpaid.headers["payment-required"]))
    assert (unpaid.status_code, required["resource"]["url"]) == (402, f"{gateway.url}{path}")
    client, payer = a_client()
    async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
        for stream in (False, True):
            answer = await http.post(path, json=ASKED[path] | {"stream": stream})
            assert (answer.status_code, "sunny" in answer.text) == (200, True), answer.text
            assert "payment-response" in answer.headers
    assert len(chain.receipts_of(payer)) == 2


def test_counting_is_free_and_for_who_has_a_key(gateway: Running, world: World, node: Node, paid: str) -> None:
    answer = post(gateway, "/v1/messages/count_tokens", MESSAGE, paid)
    assert answer.status_code == 200, answer.text
    assert 0 < answer.json()["input_tokens"] < 60
    long = MESSAGE | {"messages": [{"role": "user", "content": "x" * bounds.UNPAID_BODY_BYTES}]}
    assert post(gateway, "/v1/messages/count_tokens", long, paid).status_code == 413
    assert node.asked == []
