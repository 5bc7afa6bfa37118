"""Numbers, values and templates that others choose: none costs the event loop, the memory or a payer anything."""

from __future__ import annotations

import resource

import httpx
import pytest

from gateway import bounds
from gateway.errors import Refusal
from ledger.core.catalog import conditions, templates
from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer
from tests.attacks.strangers import chat_body, others_served
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.workflows import Loom, echoing, inferring, pinned
from tests.gateway.world import Running, World, code_of

PATH, INFER = "/v1/chat/completions", "/v2/models/x/infer"
LENGTH = "Inference-Header-Content-Length"
LONG = "9" * 5_000
"""Python reads no number of so many digits."""


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 10**9)
    return gateway.key(consumer)


@pytest.mark.parametrize("length", ["12", LONG])
def test_a_node_that_says_where_its_tensors_begin_in_a_chat_says_nothing(
    gateway: Running, world: World, node: Node, consumer: Signer, key: str, length: str
) -> None:
    """The consumer was charged, and got 500, or what its client cannot read."""
    node.behaviour = answering(chat(), inference_header_content_length=length)
    answer = gateway.chat(key)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert LENGTH not in answer.headers
    assert len(world.receipts_of(consumer.address)) == 1


@pytest.mark.parametrize("length", ["", "0", "10000", "-1", LONG])
def test_a_length_of_json_is_within_the_answer(world: World, node: Node, consumer: Signer, length: str) -> None:
    world.a_model_at(node.url, "@acme/sorter", protocol="oip/2")
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    key = gateway.key(consumer)
    node.behaviour = answering({"outputs": []}, inference_header_content_length=length)
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}
    bearer = {"Authorization": f"Bearer {key}"}
    answer = gateway.http.post("/v2/models/@acme/sorter/infer", json=body, headers=bearer)
    assert (answer.status_code, code_of(answer.json())) == (502, "node_nonsense")
    assert world.receipts_of(consumer.address) == []


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        (PATH, {"Tollway-Near": LONG}, 400),
        (INFER, {LENGTH: LONG}, 400),
        ("/v1/receipts/0x" + "0" * 40 + "-²", {}, 404),
        (f"/v1/receipts/0x{'0' * 40}-{LONG}", {}, 404),
    ],
)
def test_a_number_that_is_none_is_the_clients_error(
    gateway: Running, key: str, path: str, header: dict[str, str], status: int
) -> None:
    headers = header | {"Authorization": f"Bearer {key}"}
    method, body = ("POST", chat_body()) if path in (PATH, INFER) else ("GET", None)
    answer: httpx.Response = gateway.http.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text


def invoked(text: bytes) -> bytes:
    """An invocation of a classifier with this value."""
    return b'{"model":"@acme/sorter","input":{"text":%b}}' % text


@pytest.mark.parametrize(("levels", "numbers", "code"), [(60, 199_000, "rejected"), (1, 4_000_000, "invalid_json")])
def test_named_values_are_touched_once_and_are_200_000(
    loom: Loom, consumer: Signer, levels: int, numbers: int, code: str
) -> None:
    """1 MiB of numbers in 60 lists took the loop 2.7 s, and 20 MiB a minute: each level copied them all."""
    loom.classifier("sorter", inferring("joy"))
    loom.known("@acme/sorter")
    bearer = {"Authorization": f"Bearer {loom.consumer(consumer)}"}
    body = invoked(b"[" * levels + b",".join([b"1"] * numbers) + b"]" * levels)
    with others_served(loom.gateway):
        answer = loom.gateway.http.post("/v1/invoke", content=body, headers=bearer)
    assert (answer.status_code, code_of(answer.json())) == (400, code)


def test_commas_of_a_text_are_no_values() -> None:
    bounds.check_whole(b'{"x":"%b"}' % (b'\\",\\\\' * 200_001))
    for brackets in (b"[%b]", b'{"x":"[","y":[%b]}'):
        bounds.check_whole(brackets % b",".join([b"1"] * 199_990))
        with pytest.raises(Refusal, match="at most 200000 values"):
            bounds.check_whole(brackets % b",".join([b"1"] * 200_001))


@pytest.mark.parametrize("numbers", [1_000_000, 0])
def test_a_nodes_answer_that_is_too_much_to_be_decoded_is_shown_as_text(
    loom: Loom, consumer: Signer, numbers: int
) -> None:
    """A deep one was charged, and answered with 500; a long one took the loop as long as its values are many."""
    data = b",".join([b"1"] * numbers) if numbers else b"[" * 700 + b"]" * 700
    answer = b'{"outputs":[{"name":"label","datatype":"INT64","shape":[%d],"data":[%b]}]}' % (numbers or 1, data)
    loom.classifier("sorter", answering(answer))
    loom.known("@acme/sorter")
    bearer = {"Authorization": f"Bearer {loom.consumer(consumer)}"}
    with others_served(loom.gateway):
        got = loom.gateway.http.post("/v1/invoke", content=invoked(b'"x"'), headers=bearer)
    assert (got.status_code, got.json()["output"]) == (200, answer.decode())
    assert len(loom.world.receipts_of(consumer.address)) == 1


@pytest.mark.parametrize("times", [300, 2])
def test_a_template_makes_no_more_of_a_request_than_20_mib(loom: Loom, consumer: Signer, times: int) -> None:
    """A capsule that named 1 MiB of a request 10,000 times would have had the gateway write 10 GB, before any money."""
    key = loom.consumer(consumer, 10**15)
    reply = loom.talker("reply", echoing())
    said = "{$.messages[0].content}" * times
    messages = [{"role": "user", "content": said}]
    loom.capsule(pinned("a", reply, {"messages": messages}), output={"content": "$steps.a.output.content"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with others_served(loom.gateway):
        answer = loom.gateway.chat(key, "@wanda/flow", text="x" * 1_000_000)
    if times == 300:
        assert (answer.status_code, "filled with more than 20971520 bytes" in answer.text) == (400, True), answer.text
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000, "KiB"
    else:
        assert (answer.status_code, answer.text.count("x" * 2_000_000)) == (200, 2)


def test_an_output_makes_no_more_of_an_answer_than_20_mib(loom: Loom, consumer: Signer) -> None:
    key = loom.consumer(consumer, 10**15)
    reply = loom.talker("reply", answering(chat("x" * 500_000)))
    parts = ["$steps.a.output.content"] * 50
    loom.capsule(pinned("a", reply, {"messages": "$.messages"}), output={"parts": parts})
    with others_served(loom.gateway):
        answer = loom.gateway.chat(key, "@wanda/flow")
    assert (answer.status_code, answer.json()["error"]["step"]) == (502, "output"), answer.text[:200]


def test_the_steps_of_a_workflow_are_sent_64_mib_together(loom: Loom, consumer: Signer) -> None:
    key = loom.consumer(consumer, 10**15)
    reply = loom.talker("reply", echoing())
    said = [{"role": "user", "content": "{$.messages[0].content}" * 10}]
    steps = [pinned(f"s{n}", reply, {"messages": said}) for n in range(8)]
    loom.capsule(*steps, output={"content": "$steps.s0.output.content"})
    with others_served(loom.gateway):
        answer = loom.gateway.chat(key, "@wanda/flow", text="x" * 1_000_000)
    assert (answer.status_code, code_of(answer.json())) == (413, "input_too_large")


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "1e999"])
def test_a_number_of_any_size_goes_through_a_workflow(loom: Loom, consumer: Signer, number: str) -> None:
    """An integer above 64 bits was an error of ours, after the steps had served: nobody paid them."""
    key = loom.consumer(consumer)
    reply = loom.talker("reply", echoing())
    loom.capsule(
        pinned("a", reply, {"messages": "$.messages", "seed": "$.seed"}),
        output={"content": "$steps.a.output.content", "seed": "$.seed"},
    )
    body = chat_body(model="@wanda/flow", seed=0).replace(b'"seed": 0', f'"seed": {number}'.encode())
    answer = loom.gateway.http.post(PATH, content=body, headers={"Authorization": f"Bearer {key}"})
    if number == "1e999":
        assert (answer.status_code, code_of(answer.json())) == (400, "invalid_json"), answer.text
    else:
        assert (answer.status_code, number in answer.text) == (200, True), answer.text


@pytest.mark.parametrize("kind", ["refusal", "content", "cut"])
def test_a_nodes_answer_of_numbers_delays_nobody(
    gateway: Running, node: Node, world: World, consumer: Signer, key: str, kind: str
) -> None:
    """An error of 20 MiB took the loop 0.6 s, for nothing; one of the others 0.1 to 0.3 s."""
    numbers = b"[" + b",".join([b"1.5"] * 4_000_000) + b"]"
    said = b'{"choices":[{"message":{"content":%b}}],"usage":{"completion_tokens":%d},"y":%b}'
    sent = {
        "refusal": b'{"error":{"message":"no"},"y":%b}' % numbers,
        "content": said % (numbers, 1, b"1"),
        "cut": said % (b'"' + b"x" * 100 + b'"', 100, numbers),
    }[kind]
    node.behaviour = answering(sent, 400 if kind == "refusal" else 200)
    with others_served(gateway):
        answer = gateway.chat(key, max_tokens=50)
    assert answer.status_code == (400 if kind == "refusal" else 502)
    assert len(answer.content) < 10_000
    assert world.receipts_of(consumer.address) == []


@pytest.mark.parametrize("operator", ["||", "&&"])
def test_a_long_condition_is_no_error_for_which_nobody_pays(loom: Loom, consumer: Signer, operator: str) -> None:
    """A weaver could send an honest node's answer to a node of its own, and then have its workflow end in a 500: the
    answer was its, and nobody paid for it.
    """
    key = loom.consumer(consumer)
    honest, own = loom.talker("honest", echoing()), loom.talker("own", echoing())
    said = [{"role": "user", "content": "$steps.a.output.content"}]
    when = f" {operator} ".join(["steps.b.status == 'ok'" if operator == "&&" else "steps.b.status == 'x'"] * 3_000)
    loom.capsule(
        pinned("a", honest, {"messages": "$.messages"}),
        pinned("b", own, {"messages": said}),
        pinned("c", own, {"messages": said}, when=when),
        output={"content": "$steps.b.output.content"},
    )
    answer = loom.gateway.chat(key, "@wanda/flow")
    assert answer.status_code == 200, answer.text
    steps = {step["step"]: step["status"] for step in answer.json()["tollway"]["steps"]}
    assert steps == {"a": "ok", "b": "ok", "c": "ok" if operator == "&&" else "skipped"}
    assert len(loom.world.receipts_of(consumer.address)) == (4 if operator == "&&" else 3)


@pytest.mark.parametrize("text", ["$.a[" + "9" * 5_000 + "]", "$.a == " + "9" * 5_000])
def test_numbers_of_paths_and_conditions_are_such_as_there_are(text: str) -> None:
    with pytest.raises(Rejected):
        (templates if text.endswith("]") else conditions).parse(text)


def test_a_step_in_a_protocol_that_its_model_does_not_speak_is_refused_before_any_is_served(
    loom: Loom, consumer: Signer
) -> None:
    """It was an error of ours in the middle of the workflow, and nobody paid for the steps before."""
    key = loom.consumer(consumer)
    talker, sorter = loom.talker("talker", echoing()), loom.classifier("sorter", inferring("joy"))
    said = {"messages": [{"role": "user", "content": "$steps.a.output.content"}]}
    for model, given in ((talker, {"text": "$steps.a.output.content"}), (sorter, said)):
        loom.capsule(
            pinned("a", talker, {"messages": "$.messages"}),
            pinned("b", model, given),
            output={"content": "$steps.a.output.content"},
        )
        answer = loom.gateway.chat(key, "@wanda/flow")
        assert (answer.status_code, code_of(answer.json())) == (503, "no_provider"), answer.text
        assert "b speaks" in answer.json()["error"]["message"]
    assert loom.nodes[0].asked == []


def test_a_model_without_named_values_is_not_invoked(loom: Loom, consumer: Signer) -> None:
    loom.world.a_model_at("http://127.0.0.1:1", "@acme/responder", protocol="openresponses/1")
    loom.known("@acme/responder")
    bearer = {"Authorization": f"Bearer {loom.consumer(consumer)}"}
    body = {"model": "@acme/responder", "input": {"messages": []}}
    answer = loom.gateway.http.post("/v1/invoke", json=body, headers=bearer)
    assert (answer.status_code, code_of(answer.json())) == (400, "wrong_protocol"), answer.text
