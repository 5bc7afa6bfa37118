"""The two protocols of a node, as their own clients see them."""

from __future__ import annotations

import json

import httpx
import pytest
from openai import OpenAI

from tests.roles.node.conftest import RunningNode

FACT = "You can return any item within 30 days of delivery, unused and in its box."


def client(node: RunningNode) -> OpenAI:
    return OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0)


def infer(node: RunningNode, model: str, *inputs: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{node.url}/v2/models/{model}/infer", json={"inputs": list(inputs)})


def text(name: str, *values: str) -> dict[str, object]:
    return {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": list(values)}


def test_the_classifier_names_the_feeling_and_its_scores(node: RunningNode) -> None:
    answer = infer(node, "emotion", text("text", "this is unacceptable, the third time my parcel is broken!"))
    label, scores, confidence = answer.json()["outputs"]
    assert confidence["data"] == [max(scores["data"])]
    assert (label["data"], label["shape"]) == (["anger"], [1])
    assert scores["shape"] == [1, 6]
    assert sum(scores["data"]) == pytest.approx(1, abs=1e-4)


def test_the_child_knows_the_shop_better_than_its_parent(node: RunningNode) -> None:
    message = text("text", "i have been waiting for weeks for the lamp, enough")
    answers = {name: infer(node, name, message).json()["outputs"][0]["data"] for name in ("emotion-base", "emotion")}
    assert answers["emotion"] == ["anger"]


def test_the_retriever_returns_three_passages_with_the_answer_first(node: RunningNode) -> None:
    passages, scores = infer(node, "kb", text("query", "how do i return something i bought?")).json()["outputs"]
    assert passages["shape"] == [3]
    assert passages["data"][0].startswith(FACT)
    assert scores["data"] == sorted(scores["data"], reverse=True)


def test_one_call_may_carry_many_texts(node: RunningNode) -> None:
    outputs = infer(node, "emotion", text("text", "thank you, i love it", "i want to return the desk")).json()[
        "outputs"
    ]
    assert outputs[0]["data"] == ["joy", "neutral"]
    assert outputs[1]["shape"] == [2, 6]


def test_the_generator_says_the_fact_it_was_given(node: RunningNode) -> None:
    told = {"role": "system", "content": f"emotion: anger\nfact: {FACT}"}
    asked = {"role": "user", "content": "I want to send this lamp back!"}
    answer = client(node).chat.completions.create(model="dialog", messages=[told, asked])  # type: ignore[list-item]
    said = answer.choices[0].message.content or ""
    assert FACT in said
    assert said.split(".")[0].split(",")[0] in (
        "I am sorry",
        "I understand that you are upset",
        "You are right to be annoyed",
    )
    assert answer.choices[0].finish_reason == "stop"


def test_a_stream_carries_one_token_an_event_and_its_usage_last(node: RunningNode) -> None:
    stream = client(node).chat.completions.create(
        model="dialog",
        stream=True,
        stream_options={"include_usage": True},
        messages=[{"role": "user", "content": "How long is the warranty?"}],
    )
    chunks = list(stream)
    usage = chunks[-1].usage
    assert usage is not None
    pieces = [chunk.choices[0].delta.content for chunk in chunks[:-1] if chunk.choices[0].delta.content is not None]
    assert usage.completion_tokens == len(pieces)
    assert usage.prompt_tokens > 4
    assert chunks[-2].choices[0].finish_reason == "stop"
    plain = client(node).chat.completions.create(
        model="dialog", messages=[{"role": "user", "content": "How long is the warranty?"}]
    )
    assert "".join(pieces) == plain.choices[0].message.content
    assert plain.usage == usage


def test_max_tokens_is_kept_to_the_token(node: RunningNode) -> None:
    answer = client(node).chat.completions.create(
        model="dialog", max_tokens=5, messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"


def test_a_seed_makes_a_warm_choice_repeatable(node: RunningNode) -> None:
    def said(seed: int) -> str | None:
        answer = client(node).chat.completions.create(
            model="dialog", temperature=1.5, seed=seed, max_tokens=20, messages=[{"role": "user", "content": "hello"}]
        )
        return answer.choices[0].message.content

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(6)}) > 1


def test_a_stop_string_ends_the_answer_before_itself(node: RunningNode) -> None:
    answer = client(node).chat.completions.create(
        model="dialog",
        stop=["sorry"],
        messages=[{"role": "system", "content": f"emotion: anger\nfact: {FACT}"}, {"role": "user", "content": "hello"}],
    )
    assert "sorry" not in (answer.choices[0].message.content or "")


def test_text_can_not_forge_a_role_mark(node: RunningNode) -> None:
    def tokens(words: str) -> int:
        answer = client(node).chat.completions.create(
            model="dialog", max_tokens=1, messages=[{"role": "user", "content": words}]
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert tokens("<assistant>") > tokens("a") + 2


def test_usage_travels_in_a_header(node: RunningNode) -> None:
    answer = infer(node, "emotion", text("text", "hello"))
    used = json.loads(answer.headers["tollway-usage"])
    assert used["call"] == 1
    assert used["byte"] == len(answer.content)
    assert used["ms"] >= 1


def test_the_catalogue_and_its_metadata_agree(node: RunningNode) -> None:
    assert [model.id for model in client(node).models.list()] == ["emotion-base", "emotion", "kb", "dialog"]
    about = httpx.get(f"{node.url}/v2/models/kb").json()
    assert about["inputs"] == [{"name": "query", "datatype": "BYTES", "shape": [-1]}]
    assert httpx.get(f"{node.url}/v2/models/kb/ready").json() == {"name": "kb", "ready": True}
    assert httpx.get(f"{node.url}/v2/health/live").json() == {"live": True}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_body"),
        (b'{"model":"dialog","messages":"hi"}', 400, "invalid_body"),
        (b'{"model":"dialog","messages":[]}', 400, "bad_request"),
        (b'{"model":"dialgo","messages":[{"role":"user","content":"hi"}]}', 404, "model_not_found"),
        (b'{"model":"dialog","messages":[{"role":"wizard","content":"hi"}]}', 400, "bad_request"),
        (b'{"model":"dialog","max_tokens":0,"messages":[{"role":"user","content":"hi"}]}', 400, "bad_request"),
        (b'{"model":"dialog","temperature":9,"messages":[{"role":"user","content":"hi"}]}', 400, "bad_request"),
        (b'{"model":"dialog","temperature":1e-320,"messages":[{"role":"user","content":"hi"}]}', 400, "bad_request"),
        (b'{"model":"dialog","top_p":1e-320,"messages":[{"role":"user","content":"hi"}]}', 400, "bad_request"),
        (b'{"model":"dialog","messages":[{"role":"user","content":"\\ud800"}]}', 400, "invalid_body"),
        (b'{"model":"dialog","messages":%b}' % (b"[" * 5_000 + b"]" * 5_000), 400, "invalid_body"),
        (b'{"model":"dialog","stream":true,"messages":[{"role":"wizard","content":"hi"}]}', 400, "bad_request"),
        (
            b'{"model":"dialog","messages":[{"role":"user","content":"%s"}]}' % (b"word " * 600),
            400,
            "context_length_exceeded",
        ),
        (
            b'{"model":"dialog","messages":[{"role":"user","content":"%s"}]}' % (b"x" * (2 << 20)),
            413,
            "request_entity_too_large",
        ),
    ],
)
def test_a_bad_chat_is_told_what_is_wrong(node: RunningNode, body: bytes, status: int, code: str) -> None:
    answer = httpx.post(f"{node.url}/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("option", [b'"temperature":1e-306', b'"temperature":1,"seed":%b' % (b"9" * 40)])
def test_an_odd_option_that_is_in_range_is_served(node: RunningNode, option: bytes) -> None:
    body = b'{"model":"dialog",%b,"max_tokens":3,"messages":[{"role":"user","content":"hi"}]}' % option
    answer = httpx.post(f"{node.url}/v1/chat/completions", content=body)
    assert answer.status_code == 200, answer.text


def test_an_unknown_model_is_answered_with_the_nearest_names(node: RunningNode) -> None:
    answer = infer(node, "emotoin", text("text", "hello"))
    assert answer.status_code == 404
    assert "emotion" in answer.json()["nearest"]


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "txt", "datatype": "BYTES", "shape": [1], "data": ["a"]},
        {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a"]},
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": [5]},
        {"name": "text", "datatype": "FP32", "shape": [1], "data": [5]},
        {"name": "text", "datatype": "STRING", "shape": [1], "data": ["a"]},
        {"name": "text", "datatype": "BYTES", "shape": [-1], "data": ["a"]},
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(node: RunningNode, tensor: dict[str, object]) -> None:
    assert infer(node, "emotion", tensor).status_code == 400
