"""A node that sells a server somebody has: here the server is another node, or one that misbehaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from openai import OpenAI

from ledger.core.values.errors import Rejected
from roles.node.models.loader import LoadedModels
from roles.node.models.resale import Resold, Upstream
from roles.node.serve import named
from roles.node.server import application
from roles.node.state import State
from tests.roles.model_servers import chats, paths, serving
from tests.roles.node.conftest import RunningNode

ASK = {"model": "mine", "messages": [{"role": "user", "content": "How long is the warranty?"}]}
STREAM = ASK | {"stream": True, "stream_options": {"include_usage": True}}
CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n'


def test_a_sold_node_answers_like_the_node_itself(node: RunningNode) -> None:
    seller = RunningNode("--upstream", f"mine={node.url}/v1#dialog", "--upstream", f"feel={node.url}#emotion")
    try:
        sold = OpenAI(base_url=f"{seller.url}/v1", api_key="x", max_retries=0)
        direct = httpx.post(f"{node.url}/v1/chat/completions", json=ASK | {"model": "dialog"}).json()
        plain = sold.chat.completions.create(
            model="mine", messages=[{"role": "user", "content": "How long is the warranty?"}]
        )
        assert plain.choices[0].message.content == direct["choices"][0]["message"]["content"]
        chunks = list(
            sold.chat.completions.create(
                model="mine",
                stream=True,
                stream_options={"include_usage": True},
                messages=[{"role": "user", "content": "How long is the warranty?"}],
            )
        )
        assert (
            "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == plain.choices[0].message.content
        )
        assert chunks[-1].usage == plain.usage
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["thank you, i love it"]}
        answer = httpx.post(f"{seller.url}/v2/models/feel/infer", json={"inputs": [text]})
        assert answer.json()["outputs"][0]["data"] == ["joy"]
        assert json.loads(answer.headers["tollway-usage"])["call"] == 1
        refused = httpx.post(f"{seller.url}/v1/chat/completions", json=ASK | {"max_tokens": 0})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")
    finally:
        assert seller.stop() == 0


@asynccontextmanager
async def selling(
    answer: Callable[[web.Request], web.StreamResponse | None], parts: list[str]
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A node that sells an upstream which streams `parts` and then hangs up without an end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        made = answer(request)
        if made is not None:
            return made
        response = web.StreamResponse()
        await response.prepare(request)
        for part in parts:
            await response.write(part.encode())
        if not parts or parts[-1] != "data: [DONE]\n\n":
            assert request.transport is not None
            request.transport.abort()
        return response

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", handle)])
    upstream = TestServer(app)
    await upstream.start_server()
    async with ClientSession() as http:
        sold = Resold(Upstream(str(upstream.make_url("")).rstrip("/"), "theirs", "secret-key"), http)
        async with TestClient(TestServer(application(State(LoadedModels([("mine", sold)]))))) as client:
            yield client
    await upstream.close()


def test_what_a_server_calls_a_model_is_learned_unless_it_is_said() -> None:
    with serving(paths(chats("llama3.2:latest"))) as server:
        learned = named("@acme/chat", Upstream(server.url, "@acme/chat", "key"))
        assert learned == Upstream(server.url, "llama3.2:latest", "key")
        asked = len(server.asked)
        assert named("@acme/chat", Upstream(server.url, "said")) == Upstream(server.url, "said")
        assert len(server.asked) == asked


async def test_an_answer_that_is_not_metered_is_not_sold() -> None:
    async with selling(lambda _: web.json_response({"choices": []}), []) as client:
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_failed")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, 502), (429, 429), (503, 503), (401, 502), (402, 502), (409, 409), (422, 422), (404, 404)],
)
async def test_an_upstream_refusal_is_the_callers_only_when_it_is_their_fault(status: int, expected: int) -> None:
    headers = {"Retry-After": "7"}
    async with selling(lambda _: web.json_response({"error": "no"}, status=status, headers=headers), []) as client:
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert answer.status == expected
        assert answer.headers.get("Retry-After") == ("7" if expected in (429, 503) else None)
        assert "secret-key" not in await answer.text()


async def test_an_upstream_refusal_keeps_its_words_code_and_parameter() -> None:
    said = {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded", "param": "x"}
    async with selling(lambda _: web.json_response({"error": said}, status=400), []) as client:
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert (answer.status, (await answer.json())["error"]) == (400, {**said, "upstream_status": 400})
    async with selling(lambda _: web.Response(text="no", status=400), []) as client:
        error = (await (await client.post("/v1/chat/completions", json=ASK)).json())["error"]
        assert (error["message"], error["code"]) == ("the upstream refused the request: no", "upstream_refused")


async def test_a_stream_tells_what_its_server_says_of_its_usage() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 1,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    last = f'data: {{"choices":[],"usage":{json.dumps(usage)}}}\n\n'
    async with selling(lambda _: None, [CHUNK, last, "data: [DONE]\n\n"]) as client:
        raw = await (await client.post("/v1/chat/completions", json=STREAM)).text()
    said = [json.loads(row[6:]) for row in raw.split("\n\n") if row.startswith("data: {")]
    assert said[-1]["usage"] == usage


async def test_other_interfaces_are_sold_as_they_are() -> None:
    asked: list[tuple[str, object]] = []
    answers: dict[str, dict[str, object]] = {
        "/v1/completions": {"choices": [{"text": "a"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
        "/v1/embeddings": {"data": [{"embedding": [0.5]}], "usage": {"total_tokens": 3}},
        "/v1/rerank": {"results": [{"index": 0, "relevance_score": 0.5}]},
    }
    bodies: dict[str, dict[str, object]] = {
        "/v1/completions": {"prompt": [1, 2], "echo": True},
        "/v1/embeddings": {"input": [[1, 2]], "dimensions": 5},
        "/v1/rerank": {"query": "a", "documents": [{"text": "b", "more": 1}]},
    }

    async def handle(request: web.Request) -> web.Response:
        asked.append((request.path, await request.json()))
        return web.json_response(answers[request.path])

    app = web.Application()
    app.add_routes([web.post(path, handle) for path in answers])
    upstream = TestServer(app)
    await upstream.start_server()
    async with ClientSession() as http:
        sold = Resold(Upstream(str(upstream.make_url("")).rstrip("/"), "theirs", None), http)
        async with TestClient(TestServer(application(State(LoadedModels([("mine", sold)]))))) as client:
            for path, body in bodies.items():
                answer = await client.post(path, json={"model": "mine", **body})
                assert (answer.status, await answer.json()) == (200, answers[path])
                assert asked[-1] == (path, {**body, "model": "theirs"})
            answers["/v1/embeddings"] = {"data": [{"embedding": [0.5]}]}
            answer = await client.post("/v1/embeddings", json={"model": "mine", "input": "a"})
            assert answer.status == 502, "it could not be sold by the token"
    await upstream.close()


async def test_a_cut_stream_ends_with_an_error_and_no_done() -> None:
    async with selling(lambda _: None, [CHUNK, CHUNK]) as client:
        raw = await (await client.post("/v1/chat/completions", json=STREAM)).text()
        events = [event for event in raw.split("\n\n") if event]
        assert "error" in json.loads(events[-1][6:])
        assert "[DONE]" not in raw


async def test_a_stream_without_usage_is_an_error_not_a_gift() -> None:
    async with selling(lambda _: None, [CHUNK, "data: [DONE]\n\n"]) as client:
        raw = await (await client.post("/v1/chat/completions", json=STREAM)).text()
        assert "does not report the usage of its stream" in raw
        assert "[DONE]" not in raw


async def test_usage_is_asked_for_and_kept_from_a_caller_who_did_not_ask() -> None:
    seen: list[object] = []

    def look(request: web.Request) -> None:
        seen.append(request.headers["Authorization"])

    async with selling(look, [CHUNK, USAGE, "data: [DONE]\n\n"]) as client:
        raw = await (await client.post("/v1/chat/completions", json=ASK | {"stream": True})).text()
        assert "usage" not in raw
        assert raw.endswith("data: [DONE]\n\n")
    assert seen == ["Bearer secret-key"]


INSIDE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "secret": "of the node's own network"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_server_does_not_send_the_node_elsewhere(status: int) -> None:
    """It read what only the node reaches, such as a cloud's metadata, and any caller was shown the answer."""
    inside = web.Application()
    asked: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response(INSIDE)

    inside.add_routes([web.route("*", "/secret", secret)])
    async with TestServer(inside) as hidden:
        elsewhere = {"Location": str(hidden.make_url("/secret"))}
        async with selling(lambda _: web.Response(status=status, headers=elsewhere), []) as client:
            for body in (ASK, STREAM):
                answer = await client.post("/v1/chat/completions", json=body)
                assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_failed")
    assert asked == []


@pytest.mark.parametrize(("said", "expected"), [("9" * 5_000, "1"), ("999999999", "3600"), ("٣", "1"), ("-1", "1")])
async def test_a_server_that_is_busy_for_ever_is_asked_again(said: str, expected: str) -> None:
    """Python reads no number of 5,000 digits: the node failed."""
    headers = {"Retry-After": said}
    async with selling(lambda _: web.json_response({}, status=429, headers=headers), []) as client:
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert (answer.status, answer.headers.get("Retry-After")) == (429, expected)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (["data: {" + "x" * (3 << 20)], "an event of more than"),
        ([CHUNK + ": " + "x" * 400_000 + "\n\n"] * 60, "stream is longer than"),
        (['data: {"choices":' + "[" * 3_000 + "]" * 3_000 + "}\n\n"], "not JSON"),
    ],
    ids=["an endless event", "an endless stream", "a deep event"],
)
async def test_a_stream_that_nobody_could_read_ends_with_an_error(parts: list[str], why: str) -> None:
    """The node kept all of it, to sign it at its end."""
    async with selling(lambda _: None, [CHUNK, *parts]) as client:
        raw = await (await client.post("/v1/chat/completions", json=STREAM)).text()
        assert why in raw.splitlines()[-2]
        assert "[DONE]" not in raw


@pytest.mark.parametrize(
    "url",
    ["http://me:secret@host/v1#m", "http://host/v1?x=1#m", "http://host#" + "m" * 201, "http://host# m", "http://:9"],
)
def test_an_upstream_is_read_as_every_model_server_is(url: str) -> None:
    with pytest.raises(Rejected):
        Upstream.typed(f"@a/b={url}", None)
    assert Upstream.typed("@a/b=http://host:9/v1/#m", "k") == ("@a/b", Upstream("http://host:9", "m", "k"))
    assert Upstream.typed("@a/b=http://host", None) == ("@a/b", Upstream("http://host", "@a/b"))
