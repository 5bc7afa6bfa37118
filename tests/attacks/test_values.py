"""Numbers, values and templates that others choose: none costs the event loop, the memory or a payer anything."""

from __future__ import annotations

import httpx
import pytest

from ledger.core.values.typed_data import Signer
from tests.attacks.strangers import chat_body
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.world import Running, World

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
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "node_nonsense")
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
