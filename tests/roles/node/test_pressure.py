"""Many callers, leaving callers, a leaving node."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from ledger.core.values.errors import Rejected
from roles.node.server import NodeOptions, serve
from tests.roles.node.conftest import RunningNode, serving

CHAT = {
    "model": "dialog",
    "messages": [
        {"role": "system", "content": "emotion: worry\nfact: Gift cards are valid for 4 years."},
        {"role": "user", "content": "How long is my gift card valid?"},
    ],
}


async def test_concurrent_conversations_say_what_each_says_alone(node: RunningNode) -> None:
    facts = [f"Delivery takes {days} days and costs {days + 3} euros." for days in range(2, 14)]
    bodies = [
        {
            "model": "dialog",
            "messages": [
                {"role": "system", "content": f"emotion: neutral\nfact: {fact}"},
                {"role": "user", "content": "how long does delivery take " * (1 + place % 3)},
            ],
        }
        for place, fact in enumerate(facts)
    ]
    async with httpx.AsyncClient(base_url=node.url, timeout=30) as http:
        alone = [(await http.post("/v1/chat/completions", json=body)).json() for body in bodies]
        together = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for body in bodies))
    assert [answer.json()["choices"] for answer in together] == [answer["choices"] for answer in alone]
    assert [answer.json()["usage"] for answer in together] == [answer["usage"] for answer in alone]


@pytest.mark.parametrize(("model", "tensor"), [("emotion", "text"), ("kb", "query")])
async def test_calls_that_run_together_answer_what_each_answers_alone(
    node: RunningNode, model: str, tensor: str
) -> None:
    texts = [f"{'please ' * (place % 5)}where is order {place}, it is late again!" for place in range(24)]
    bodies = [
        {"inputs": [{"name": tensor, "datatype": "BYTES", "shape": [1], "data": [text]}]} for text in (*texts, "?")
    ]
    path = f"/v2/models/{model}/infer"
    async with httpx.AsyncClient(base_url=node.url, timeout=30) as http:
        alone = [(await http.post(path, json=body)).json() for body in bodies]
        together = await asyncio.gather(*(http.post(path, json=body) for body in bodies))
    for answer, expected in zip((answer.json()["outputs"] for answer in together), alone, strict=True):
        for got, one in zip(answer, expected["outputs"], strict=True):
            assert got["data"] == (one["data"] if got["datatype"] == "BYTES" else pytest.approx(one["data"], abs=1e-6))


async def test_a_caller_who_leaves_frees_its_place(node: RunningNode) -> None:
    async with httpx.AsyncClient(base_url=node.url, timeout=30) as http:
        for _ in range(100):
            async with http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
                async for _line in answer.aiter_lines():
                    break
        answer = await http.post("/v1/chat/completions", json=CHAT)
        assert answer.status_code == 200


async def test_a_full_queue_refuses_at_once() -> None:
    running = serving("dialog", extra=("--queue", "2", "--batch", "1"))
    try:
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as http:
            answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=CHAT) for _ in range(12)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.headers["retry-after"] == "1"
    finally:
        assert running.stop() == 0


async def test_a_call_over_its_time_is_cut_with_504() -> None:
    running = serving("dialog", extra=("--call-seconds", "0.001"))
    try:
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as http:
            answer = await http.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    finally:
        assert running.stop() == 0


async def test_sigterm_lets_the_open_stream_end_and_takes_nothing_new() -> None:
    running = serving("dialog")
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=30) as http,
        http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        running.process.send_signal(signal.SIGTERM)
        rest = [line async for line in lines]
        assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
        assert json.loads(next(line for line in reversed(rest) if '"finish_reason":"stop"' in line)[6:])
    began = time.monotonic()
    assert running.process.wait(10) == 0
    assert time.monotonic() - began < 5


def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"holds no \.onnx file"):
        serve(NodeOptions([(tmp_path, None)]))
