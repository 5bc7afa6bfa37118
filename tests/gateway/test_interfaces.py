"""A model is called, probed and suggested by the interfaces that its document names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.call.probes import ask_of
from gateway.catalog.catalog import ModelEntry
from gateway.workflow import steps
from ledger.core.catalog import models
from ledger.core.catalog.protocols import CALLABLE, Protocol
from ledger.core.catalog.tensors import Tensor, filled
from ledger.core.values.documents import schema
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from roles.audit.readiness import Readiness
from roles.cli.context import here
from roles.cli.shared import readiness
from roles.cli.shared.readiness import Asked
from roles.client.model_server import ModelServer
from roles.node.models import described
from roles.node.models.described import Described
from tests.gateway.conftest import Refused, Run
from tests.gateway.nodes import answering
from tests.gateway.workflows import Loom
from tests.gateway.world import Running, a_model, a_signer
from tests.roles.model_servers import chats, paths, serving

USAGE = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
COMPLETED = {"object": "text_completion", "choices": [{"index": 0, "text": "ok"}], "usage": USAGE}
EMBEDDED = {"object": "list", "data": [{"index": 0, "embedding": [0.5, 0.25]}], "usage": USAGE}
PATHS = {"complete": "/v1/completions", "embed": "/v1/embeddings"}
TEXTS = {"complete": {"prompt": "hello"}, "embed": {"input": "hello"}}
ALICE = a_signer("alice")


@pytest.fixture
def gateway(loom: Loom) -> Running:
    """A gateway with a model for completions alone, and one for embeddings alone."""
    for name, protocol, answer in (
        ("@acme/complete", Protocol.completions, COMPLETED),
        ("@acme/embed", Protocol.embeddings, EMBEDDED),
    ):
        loom.world.a_model_at(loom.node(answering(answer)).url, name, protocol=protocol)
        loom.known(name)
    return loom.gateway


def test_a_document_names_every_protocol_and_no_other() -> None:
    one, tensors = schema("model")["properties"]["interfaces"]["items"]["oneOf"]
    named = [*one["properties"]["protocol"]["enum"], tensors["properties"]["protocol"]["const"]]
    assert sorted(named) == sorted(Protocol)


@pytest.mark.parametrize("name", ["complete", "embed"])
def test_a_model_takes_what_its_document_names_and_nothing_else(loom: Loom, gateway: Running, name: str) -> None:
    headers = {"Authorization": f"Bearer {loom.consumer(ALICE)}"}
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
        **{PATHS[one]: TEXTS[one] for one in PATHS},
    }
    for path, body in asked.items():
        answer = gateway.http.post(path, json={"model": f"@acme/{name}", **body}, headers=headers)
        taken = path == PATHS[name]
        assert (answer.status_code, taken or answer.json()["error"]["code"]) == (
            (200, True) if taken else (400, "wrong_protocol")
        ), answer.text

    invoked = {"model": f"@acme/{name}", "input": TEXTS[name]}
    output = gateway.http.post("/v1/invoke", json=invoked, headers=headers).json()["output"]
    assert output.get("content") == ("ok" if name == "complete" else None)
    assert output.get("embedding") == (None if name == "complete" else [0.5, 0.25])
    refused = gateway.http.post(
        "/v1/invoke", json={"model": f"@acme/{name}", "input": {"messages": []}}, headers=headers
    )
    assert f"send `{next(iter(TEXTS[name]))}`" in refused.json()["error"]["message"]


def test_coheres_clients_of_version_2_rank_and_are_told_where_chat_is(loom: Loom) -> None:
    ranked = {"id": "1", "results": [{"index": 0, "relevance_score": 0.5}]}
    node = loom.node(answering(ranked))
    loom.world.a_model_at(node.url, "@acme/rank", protocol=Protocol.rerank)
    loom.known("@acme/rank")
    gateway, headers = loom.gateway, {"Authorization": f"Bearer {loom.consumer(ALICE)}"}
    asked = {"model": "@acme/rank", "query": "a", "documents": ["b"]}
    answer = gateway.http.post("/v2/rerank", json=asked, headers=headers)
    assert (answer.status_code, answer.json()["results"]) == (200, ranked["results"]), answer.text
    assert node.asked[-1].path == "/v1/rerank"
    refused = gateway.http.post("/v2/chat", json={"model": "@acme/rank", "messages": []}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (404, "wrong_protocol")
    assert "/v1/chat/completions" in refused.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "shape", "value"),
    [
        ("FP32", [-1, 4], [1, 2, 3, 4, 5, 6, 7, 8]),
        ("FP32", [-1, -1], [[1, 2], [3, 4]]),
        ("FP32", [-1, -1], [1, 2, 3]),
        ("FP32", [2, 2], [[1, 2], [3]]),
        ("FP32", [2], ["1", "2"]),
        ("FP32", [2], [1, None]),
        ("BYTES", [1], 1),
        ("BYTES", [1], {"said": "hello"}),
        ("BOOL", [1], 0),
        ("INT64", [1], 1.5),
    ],
)
def test_a_step_fills_a_tensor_as_the_command_line_does(datatype: str, shape: list[int], value: Any) -> None:
    tensor = {"name": "X", "datatype": datatype, "shape": shape}
    document = a_model("@acme/tensors", interfaces=[{"protocol": "oip/2", "inputs": [tensor], "outputs": [tensor]}])

    def of(fill: Callable[[], Any]) -> Any:
        try:
            return fill()
        except Rejected as rejected:
            return rejected.message

    by_a_step = of(lambda: steps.tensor_request(models.model(document), {"X": value})["inputs"])
    assert by_a_step == of(lambda: [filled(Tensor("X", datatype, tuple(shape)), value)])


@pytest.mark.parametrize("name", ["complete", "embed"])
def test_a_probe_asks_by_the_models_own_interface(gateway: Running, name: str) -> None:
    entry = gateway.gateway.catalog.find(f"@acme/{name}")
    assert isinstance(entry, ModelEntry)
    assert ask_of(entry).path == PATHS[name]


@pytest.mark.parametrize(("name", "said"), [("complete", "ok"), ("embed", [0.5, 0.25])])
def test_the_command_that_is_suggested_calls_by_the_models_own_interface(
    loom: Loom, gateway: Running, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, said: Any
) -> None:
    monkeypatch.setenv("TOLLWAY_API_KEY", loom.consumer(ALICE))
    spoken = gateway.http.get(f"/v1/models/@acme/{name}").json()["protocols"]
    found = Readiness((), None, True, "", 10, 0, tuple(spoken))
    suggested = readiness.said(Asked(here(), Digest(bytes(32)), f"@acme/{name}"), found)["next"]
    assert suggested == f'tollway consumer call @acme/{name} "Hello!"'
    assert run(suggested.removeprefix("tollway "))["answer"] == said


def test_the_command_says_what_a_call_cannot_be(loom: Loom, gateway: Running, refused: Refused) -> None:
    loom.classifier("label", answering())
    loom.known("@acme/label")
    assert "consumer infer @acme/label NAME=VALUE" in refused("consumer call @acme/label hello -w alice")["error"]
    assert "leave --stream out" in refused("consumer call @acme/embed hello --stream -w alice")["error"]


@pytest.mark.parametrize("protocol", [Protocol.completions, Protocol.embeddings])
def test_a_server_is_sold_by_the_protocol_that_was_said(protocol: Protocol) -> None:
    with serving(paths(chats("m"))) as server:
        assert [one.protocol for one in ModelServer.typed(server.url).listed(protocol)] == [protocol]
        named = ModelServer.typed(server.url).described("m", protocol)
        assert named is not None
        assert named.interface == {"protocol": protocol}


@pytest.mark.parametrize("protocol", sorted({*CALLABLE} - {Protocol.chat, Protocol.tensors}))
def test_a_node_promises_no_route_that_it_has_not(protocol: str) -> None:
    tensor = Tensor("text", "BYTES", (1,))
    own = Described([tensor], [tensor], speaks=frozenset((Protocol.chat,)), task="text-generation", card={})
    described.check(own, own.interfaces)
    with pytest.raises(Rejected, match=f"speaks {protocol}, and a node serves it by oip/2, openai.chat/1|oip/2"):
        described.check(own, [{"protocol": protocol}])
