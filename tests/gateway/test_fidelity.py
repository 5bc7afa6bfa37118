"""What clients read beside the answer: ids of requests, rates, the name of the model, browsers' headers, and refusals
of what a model cannot do.
"""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from gateway.metering import openai
from ledger.core.values.ids import cid
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.workflows import Loom, pinned
from tests.gateway.world import Running, World, a_model, events_of

CALL = "/v1/chat/completions"
ORIGIN = {"Origin": "https://a.site"}
CROSSES = re.compile("^access-control-")


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 10**9)
    return gateway.key(consumer)


def test_every_answer_has_an_id_of_its_own(gateway: Running, key: str) -> None:
    http = gateway.http
    answers = [http.get(path) for path in ("/v1/models", "/v2", "/health", "/v1/nowhere", "/metrics")]
    answers += [gateway.chat(key), gateway.chat(key, stream=True), gateway.chat("tw_no"), gateway.chat(key, "@no/no")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("req_[0-9a-f]{24}", one) for one in ids)
    with socket.create_connection(("127.0.0.1", gateway.port)) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 40_000))
        assert b"\r\nx-request-id: req_" in wire.recv(4096)


def test_a_program_in_a_browser_may_call_and_read_the_api_of_any_gateway(gateway: Running, key: str) -> None:
    asks = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in (CALL, "/v1/models", "/v2/models/@acme/chat/infer"):
        allowed = gateway.http.options(path, headers=asks)
        assert (allowed.status_code, allowed.content) == (204, b"")
        assert allowed.headers["access-control-allow-origin"] == "*"
        assert allowed.headers["access-control-allow-headers"] == "authorization, *"
    body = {"model": "@acme/chat", "messages": []}
    for answer in (
        gateway.http.get("/v1/models", headers=ORIGIN),
        gateway.http.post(CALL, json=body, headers={**ORIGIN, "Authorization": f"Bearer {key}"}),
        gateway.http.post(CALL, json=body, headers=ORIGIN),
        gateway.http.post(CALL, content=b"{", headers=ORIGIN),
    ):
        said = {name: value for name, value in answer.headers.items() if CROSSES.match(name)}
        assert said == {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}, answer.text
    for path in ("/metrics", "/health", "/"):
        for answer in (gateway.http.get(path, headers=ORIGIN), gateway.http.options(path, headers=asks)):
            assert not any(map(CROSSES.match, answer.headers)), path
    assert not any(map(CROSSES.match, gateway.http.get("/v1/models").headers)), "nobody asked"


def test_a_key_with_a_rate_is_told_what_is_left_of_it(gateway: Running, world: World, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**9)
    free, limited = gateway.key(consumer, 10**9), gateway.key(consumer, 10**9 + 1, rate=2)
    assert "x-ratelimit-limit-requests" not in gateway.chat(free).headers
    left = []
    for _ in range(3):
        answer = gateway.chat(limited)
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert float(answer.headers["x-ratelimit-reset-requests"].removesuffix("s")) > 0
        left.append((answer.status_code, answer.headers["x-ratelimit-remaining-requests"]))
    assert left == [(200, "1"), (200, "0"), (429, "0")]
    assert int(answer.headers["retry-after"]) > 0


NAMES = [
    b'{"model":"m","x":1}',
    b'{"x": {"model":"m"}, "model": "m"}',
    b'{"text":"\\"model\\":\\"m\\"","model":"m"}',
    b'{"model":"m","x":{"model":"m"}}',
    b'{"mod\\u0065l":"m","x":2}',
    b'{"model":7}',
    b'{"model":123456789012345678901234567890}',
]


@pytest.mark.parametrize("body", NAMES)
def test_an_answer_names_the_model_as_it_was_asked_for_and_nothing_else_changes(body: bytes) -> None:
    said = json.loads(body)
    named = json.loads(openai.named(body, said["model"], "@acme/ch\u00e4t"))
    assert named == {**said, "model": "@acme/ch\u00e4t"}


def test_the_name_that_was_asked_for_stands_in_answers_streams_and_workflows(loom: Loom, consumer: Signer) -> None:
    subject = loom.talker("chat")
    loom.known("@acme/chat")
    loom.capsule(
        pinned("reply", subject, {"messages": "$.messages"}), output={"choices": "$steps.reply.output.choices"}
    )
    key = loom.consumer(consumer)
    for name in ("@acme/chat", "@acme/chat@1.0.0", cid(subject), "@wanda/flow", "@wanda/flow@1.0.1"):
        events = events_of(loom.gateway.chat(key, name, stream=True, stream_options={"include_usage": True}).text)
        assert {event["model"] for event in events if event != "[DONE]"} == {name}
    loom.nodes[0].behaviour = answering(chat(strange={"model": "kept"}))
    for name in ("@acme/chat", "@acme/chat@1.0.0", "@wanda/flow"):
        assert loom.gateway.chat(key, name).json()["model"] == name
    assert loom.gateway.chat(key).json()["strange"] == {"model": "kept"}


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
MEANT: list[dict[str, Any]] = [{"tool_choice": "required"}, {"response_format": SCHEMA}, {"logprobs": True}]
HINTS: list[dict[str, Any]] = [
    {"tool_choice": "auto"},
    {"response_format": {"type": "text"}},
    {"logprobs": False, "response_format": None},
]


def test_what_would_change_the_meaning_is_refused_by_a_model_that_declares_other_features(
    world: World, node: Node, consumer: Signer
) -> None:
    capability = a_model()["capabilities"][0]
    for name, features in (("@acme/plain", ["streaming"]), ("@acme/able", ["tools", "json", "logprobs"])):
        world.a_model_at(node.url, name, capabilities=[{**capability, "features": features}])
    world.a_model_at(node.url, "@acme/silent")
    gateway = world.gateway()
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer)
    for meant in MEANT:
        asked = len(node.asked)
        refused = gateway.chat(key, "@acme/plain", **meant)
        said = refused.json()["error"]
        assert (refused.status_code, said["code"]) == (400, "unsupported_parameter"), refused.text
        assert said["param"] == next(iter(meant))
        assert len(node.asked) == asked, "before any node is asked"
        assert gateway.chat(key, "@acme/able", **meant).status_code == 200
        assert gateway.chat(key, "@acme/silent", **meant).status_code == 200, "its document says nothing: its node does"
    for hint in HINTS:
        assert gateway.chat(key, "@acme/plain", **hint).status_code == 200
    rows = {row["id"]: row["supported_parameters"] for row in gateway.http.get("/v1/models").json()["data"]}
    assert rows["@acme/plain"] == ["max_tokens"]
    assert {*rows["@acme/able"]} >= {"max_tokens", "tools", "tool_choice", "response_format", "logprobs"}
