"""How long an answer may be is the gateway's: it tells the node one number, ends there, and bills what it passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.settings import Settings
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, chat, final_usage, piece
from tests.gateway.world import Running, World, a_model, events_of

ASK = {"call": "1", "input_token": "1", "output_token": "10"}
LIMIT = 8
DEFAULT = Settings.model_fields["default_output_tokens"].default


@pytest.fixture
def paid(world: World, node: Node, consumer: Signer) -> tuple[Running, str]:
    """A gateway with a model that is paid by the token, and a consumer's key."""
    world.a_model_at(node.url, ask=ASK)
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    return gateway, gateway.key(consumer)


def talking(words: int, claims: int | None, *, obeys: bool = False) -> Behaviour:
    """A node that says so many words of two letters, one a piece, and claims so many tokens; None: says nothing of it.

    One that obeys says no more than it was told.
    """

    async def behave(asked: Asked, wire: Wire) -> None:
        told = asked.json["max_tokens"]
        said = min(words, told) if obeys else words
        claimed = min(claims, told) if obeys and claims is not None else claims
        finish = "length" if said < words else "stop"
        if not asked.json.get("stream"):
            answer = chat("ab" * said, 3, claimed or 0)
            answer["choices"][0]["finish_reason"] = finish
            if claimed is None:
                del answer["usage"]
            await wire.answer(answer)
            return
        await wire.begin()
        for _ in range(said):
            await wire.event(piece("ab"))
        await wire.event(piece(None, finish))
        if claimed is not None:
            await wire.event(final_usage(3, claimed))
        await wire.event("[DONE]")
        await wire.end()

    return behave


def heard(answer: Any, *, stream: bool) -> tuple[str, set[str | None], int | None]:
    """The text, the reasons why it ended, and the tokens that the consumer is told."""
    if not stream:
        body = answer.json()
        choice = body["choices"][0]
        return choice["message"]["content"], {choice["finish_reason"]}, body.get("usage", {}).get("completion_tokens")
    *events, done = events_of(answer.text)
    assert done == "[DONE]", answer.text
    parts = [part for event in events for part in event["choices"]]
    text = "".join(part["delta"].get("content") or "" for part in parts)
    used = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
    return text, {part["finish_reason"] for part in parts} - {None}, used[0] if used else None


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("behaviour", "text", "reason", "billed"),
    [
        (talking(20, 20, obeys=True), "ab" * LIMIT, "length", LIMIT),
        (talking(5, 5, obeys=True), "ab" * 5, "stop", 5),
        (talking(20, 20), "ab" * LIMIT, "length", LIMIT),
        (talking(3, 10**6), "ab" * 3, "stop", 6),
        (talking(3, 0), "ab" * 3, "stop", 0),
    ],
    ids=["obeys", "obeys and is short", "overruns", "claims too much", "claims zero"],
)
def test_what_is_passed_on_is_billed_and_nothing_else(
    paid: tuple[Running, str],
    world: World,
    node: Node,
    consumer: Signer,
    behaviour: Behaviour,
    text: str,
    reason: str,
    billed: int,
    stream: bool,
) -> None:
    gateway, key = paid
    node.behaviour = behaviour
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = gateway.chat(key, max_tokens=LIMIT, **more)
    assert answer.status_code == 200, answer.text
    said, reasons, _ = heard(answer, stream=stream)
    signed = world.receipts_of(consumer.address)[0].receipt
    if text == "ab" * 3 and billed:
        billed = min(billed, LIMIT)  # a token has at least one byte of text
    assert (said, reasons, signed.units.output_token) == (text, {reason}, billed)
    assert node.asked[-1].json["max_tokens"] == LIMIT


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_node_that_says_nothing_of_its_use_is_billed_by_its_text(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, stream: bool
) -> None:
    gateway, key = paid
    node.behaviour = talking(6, None)
    assert gateway.chat(key, max_tokens=LIMIT, stream=stream).status_code == 200
    units = world.receipts_of(consumer.address)[0].receipt.units
    assert units.output_token == (6 if stream else 3), "a piece is a token at least, and 4 bytes are one"


@pytest.mark.parametrize("include", [False, True])
def test_a_stream_that_overruns_ends_as_one_of_full_length(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, include: bool
) -> None:
    gateway, key = paid
    node.behaviour = talking(300, 300)
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if include else {}
    answer = gateway.chat(key, max_tokens=LIMIT, stream=True, **more)
    text, reasons, told = heard(answer, stream=True)
    assert (text, reasons, told) == ("ab" * LIMIT, {"length"}, LIMIT if include else None)
    receipt = world.receipts_of(consumer.address)[0].receipt
    assert (receipt.end, receipt.units.output_token) == (EndReason.hold_reached, LIMIT)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_without_a_maximum_the_node_is_told_what_is_held(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, stream: bool
) -> None:
    gateway, key = paid
    node.behaviour = talking(4_000, 4_000, obeys=True)
    body = {"model": "@acme/chat", "messages": [], "stream": stream}
    answer = gateway.http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
    text, reasons, _ = heard(answer, stream=stream)
    assert node.asked[-1].json["max_tokens"] == DEFAULT
    assert (len(text), reasons) == (2 * DEFAULT, {"length"})
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == DEFAULT


def test_every_spelling_reaches_the_node_under_the_one_name_that_its_offer_says(
    world: World, node: Node, other_node: Node, consumer: Signer
) -> None:
    world.a_model_at(node.url, ask=ASK)
    modern = world.publish(a_model("@acme/modern"))
    world.serve(modern, other_node.url, ASK, output_limit="max_completion_tokens")
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    key = gateway.key(consumer)
    for named in ({"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_completion_tokens": 7, "max_tokens": 7}):
        for model, server, name in (("chat", node, "max_tokens"), ("modern", other_node, "max_completion_tokens")):
            body = {"model": f"@acme/{model}", "messages": [], **named}
            headers = {"Authorization": f"Bearer {key}"}
            answer = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert server.asked[-1].json == {"model": f"@acme/{model}", "messages": [], name: 7}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"max_tokens": 0', "max_tokens"),
        ('"max_completion_tokens": 0', "max_tokens"),
        ('"max_tokens": -1', "max_tokens"),
        ('"max_completion_tokens": 1, "max_tokens": 500', "max_tokens"),
        ('"max_tokens": 1, "MAX_TOKENS": 500', "MAX_TOKENS"),
        ('"max_tokens": 1, "Max_Completion_Tokens": 500', "Max_Completion_Tokens"),
        ('"max_tokens": 1, "n_predict": 500', "n_predict"),
        ('"max_tokens": 1, "min_tokens": 500', "min_tokens"),
        ('"max_tokens": 1, "Ignore_EOS": true', "Ignore_EOS"),
        ('"max_tokens": 1, "n": 0', "n"),
        ('"max_tokens": 1, "N": 5', "N"),
    ],
)
def test_a_request_that_says_two_lengths_is_refused(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, fields: str, param: str
) -> None:
    gateway, key = paid
    body = f'{{"model": "@acme/chat", "messages": [], {fields}}}'
    answer = gateway.http.post("/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (node.asked, world.receipts_of(consumer.address)) == ([], [])


def test_of_a_field_that_came_twice_the_node_gets_what_was_held(paid: tuple[Running, str], node: Node) -> None:
    gateway, key = paid
    body = b'{"model": "@acme/chat", "messages": [], "max_tokens": 500, "max_tokens": 5, "seed": 1, "seed": 2}'
    answer = gateway.http.post("/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert node.asked[-1].body.count(b"max_tokens") == 1
    assert node.asked[-1].json == {"model": "@acme/chat", "messages": [], "max_tokens": 5, "seed": 2}


def test_numbers_that_the_gateway_does_not_read_reach_the_node_to_the_digit(
    paid: tuple[Running, str], node: Node
) -> None:
    gateway, key = paid
    exact = b'"seed":123456789012345678901234567890,"temperature":0.10000000000000000001,"x":1E-400'
    body = b'{"model":"@acme/chat","messages":[],"stream":true,%b}' % exact
    gateway.http.post("/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {key}"})
    assert exact in node.asked[-1].body


def test_each_choice_may_be_as_long_as_the_request_says(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer
) -> None:
    gateway, key = paid

    async def two(asked: Asked, wire: Wire) -> None:
        assert (asked.json["n"], asked.json["max_tokens"]) == (2, 5)
        answer = chat("ab" * 5, 3, 10)
        other = json.loads(json.dumps(answer["choices"][0]))
        await wire.answer({**answer, "choices": [answer["choices"][0], {**other, "index": 1}]})

    node.behaviour = two
    answer = gateway.chat(key, max_tokens=5, n=2)
    assert [len(choice["message"]["content"]) for choice in answer.json()["choices"]] == [10, 10]
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == 10


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "x" * 39}}]},
        {"content": None, "function_call": {"name": "f", "arguments": "x" * 39}},
        {"content": "", "reasoning_content": "x" * 40},
        {"content": None, "refusal": "x" * 40},
        {"content": [{"type": "text", "text": "x" * 40}]},
    ],
    ids=["tools", "function", "reasoning", "refusal", "parts"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_whatever_is_generated_is_output(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, message: dict[str, Any], stream: bool
) -> None:
    gateway, key = paid

    async def behave(asked: Asked, wire: Wire) -> None:
        if not stream:
            answer = chat()
            answer["choices"][0]["message"] = {"role": "assistant", **message}
            del answer["usage"]
            await wire.answer(answer)
            return
        await wire.begin()
        part = piece(None)
        part["choices"][0]["delta"] = message
        await wire.event(part)
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = behave
    assert gateway.chat(key, stream=stream).status_code == 200
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == 10


def test_padding_is_nobodys_tokens(paid: tuple[Running, str], world: World, node: Node, consumer: Signer) -> None:
    gateway, key = paid

    async def behave(asked: Asked, wire: Wire) -> None:
        await wire.answer(json.dumps(chat("a", 3, 1024)).encode() + b" " * 1_500)

    node.behaviour = behave
    assert gateway.chat(key, max_tokens=1024).status_code == 200
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == 1


def test_zeros_beside_every_piece_are_no_claim(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer
) -> None:
    gateway, key = paid
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

    async def behave(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        for _ in range(6):
            await wire.event({**piece("ab"), "usage": zero})
        await wire.event({**piece(None, "stop"), "usage": zero})
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = behave
    assert gateway.chat(key, stream=True).status_code == 200
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == 6


@pytest.mark.parametrize("body", [{**chat(), "choices": []}, {**chat(), "error": {"message": "x"}}, {"choices": None}])
def test_an_answer_without_an_answer_is_not_charged(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, body: dict[str, Any]
) -> None:
    gateway, key = paid

    async def behave(asked: Asked, wire: Wire) -> None:
        await wire.answer(body)

    node.behaviour = behave
    assert gateway.chat(key).status_code == 502
    assert world.receipts_of(consumer.address) == []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("usage", [True, False], ids=["claims", "says nothing"])
def test_an_overrun_in_what_cannot_be_decoded_whole_is_the_nodes_failure(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer, usage: bool, stream: bool
) -> None:
    gateway, key = paid

    async def behave(asked: Asked, wire: Wire) -> None:
        if not stream:
            answer = chat("ab" * 200, 3, 400) | ({} if usage else {"usage": None})
            await wire.answer(json.dumps(answer).encode()[:-1] + b',"x":1e999}')
            return
        await wire.begin()
        for number in range(20):
            await wire.event(json.dumps(piece("ab"))[:-1] + (',"tollway":1,"x":1e999}' if number == 0 else "}"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = behave
    answer = gateway.chat(key, max_tokens=LIMIT, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "node_nonsense")
    assert world.receipts_of(consumer.address) == []


def test_an_overrun_without_a_claim_is_cut_too(
    paid: tuple[Running, str], world: World, node: Node, consumer: Signer
) -> None:
    gateway, key = paid
    node.behaviour = talking(40, None)  # 80 bytes of text are 20 tokens
    said, reasons, _ = heard(gateway.chat(key, max_tokens=LIMIT), stream=False)
    assert (said, reasons) == ("ab" * 16, {"length"})
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == LIMIT
