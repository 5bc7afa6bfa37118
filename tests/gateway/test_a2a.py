"""A2A with its SDK's own client: it finds a card, sends messages to models and workflows, pays, and has the answer."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.client.errors import A2AClientError
from a2a.types.a2a_pb2 import AgentCard, GetTaskRequest, Message, Part, Role, SendMessageRequest
from a2a.utils.errors import A2AError, TaskNotFoundError
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf import json_format, struct_pb2
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.schemas import parse_payment_required

from gateway import bounds
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests import book
from tests.gateway.agents import does
from tests.gateway.nodes import Node, answering, streaming
from tests.gateway.test_exports import CHAT, EMOTION, FLOW, Shop, shop
from tests.gateway.test_x402 import BODY, PRICE, a_client, chain
from tests.gateway.world import Running, World

__all__ = ["chain", "shop"]

X402 = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2"
BY_EXTENSION = ClientCallContext(service_parameters={"A2A-Extensions": X402})
_numbers = itertools.count()
INVOKED = {"model": CHAT, "input": {"messages": BODY["messages"]}}


def a_message(*said: str | dict[str, Any], model: str = CHAT, **more: Any) -> SendMessageRequest:
    """A user's message of texts and data."""
    parts = [Part(text=one) if isinstance(one, str) else Part(data=a_value(one)) for one in said]
    named = {"metadata": {"model": model}} if model else {}
    kept = {"message_id": f"message {next(_numbers)}", "role": Role.ROLE_USER, **named, **more}
    return SendMessageRequest(message=Message(parts=parts, **kept))


def a_value(data: Any) -> struct_pb2.Value:
    """Data as A2A has it."""
    return json_format.ParseDict(data, struct_pb2.Value())


async def the_client(
    gateway: Running | str, http: httpx.AsyncClient, *, streams: bool = False, model: str = ""
) -> Client:
    """A client that found the gateway's card at its well-known address, or a model's own."""
    url = gateway if isinstance(gateway, str) else gateway.url
    path = {"agent_card_path": f"/v1/models/{model}/exports/a2a"} if model else {}
    card: AgentCard = await A2ACardResolver(http, url, **path).get_agent_card()
    validate_proto_required_fields(card)
    return ClientFactory(ClientConfig(httpx_client=http, streaming=streams)).create(card)


async def answers(client: Client, message: SendMessageRequest, context: ClientCallContext | None = None) -> list[Any]:
    """What comes back, each as JSON."""
    return [json_format.MessageToDict(one) async for one in client.send_message(message, context=context)]


async def the_text(client: Client, message: SendMessageRequest, context: ClientCallContext | None = None) -> str:
    """The text of an answer that is one message."""
    [answer] = await answers(client, message, context)
    [part] = answer["message"]["parts"]
    return str(part["text"])


def an_http(shop: Shop) -> httpx.AsyncClient:
    """An HTTP client with the consumer's key."""
    return httpx.AsyncClient(headers=shop.headers, timeout=60)


async def test_the_clients_of_the_sdk_find_the_card_and_talk_to_models_and_workflows(shop: Shop) -> None:
    async with an_http(shop) as http:
        client = await the_client(shop.gateway, http)
        card: AgentCard = await A2ACardResolver(http, shop.gateway.url).get_agent_card()
        assert {skill.id for skill in card.skills} == {CHAT, EMOTION, FLOW}
        assert await the_text(client, a_message("hi")) == "hello there"
        assert await the_text(client, a_message("hi", model=FLOW)) == "hello there"
        [answer] = await answers(client, a_message({"text": "hi"}, model=EMOTION))
        assert answer["message"]["parts"] == [{"data": {"label": "joy"}, "mediaType": "application/json"}]
        cost = answer["message"]["metadata"]["tollway"]
        assert (cost["charge"], cost["model"]) == ("115", EMOTION)
        for name in (CHAT, FLOW):
            own = await the_client(shop.gateway, http, model=name)
            assert await the_text(own, a_message("hi", model="")) == "hello there"
    assert shop.receipts() == 7, "a workflow's call has one for its step, too"


async def test_the_books_client_of_a2a_sends_a_message(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    node.behaviour = streaming(2)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {gateway.key(consumer)}"}, timeout=60) as http:
        page = book.typed("docs/agents.md", "A2ACardResolver(http")
        known = await does(page, http=http, gateway=gateway.url, new_id="a message of the book")
    assert known["answer"].HasField("status_update"), "the task's end is its last event"
    assert [one.receipt.charge for one in world.receipts_of(consumer.address)] == [PRICE]


async def test_a_message_is_a_conversation_and_whole_numbers_stay_whole(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    wallet, _ = a_client()
    before = {"messages": [{"role": "system", "content": "be short"}], "max_tokens": 7}
    async with x402HttpxClient(wallet, timeout=60) as http:
        client = await the_client(gateway, http)
        await answers(client, a_message(before, "hi", "there"))
    said = node.asked[-1].json
    assert said["messages"] == [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi\nthere"}]
    assert (said["max_tokens"], type(said["max_tokens"])) == (7, int)


async def test_a_stream_comes_piece_by_piece_and_ends_with_its_cost(chain: World, node: Node) -> None:
    node.behaviour = streaming(5, (10, 5))
    gateway = chain.gateway()
    wallet, payer = a_client()
    async with x402HttpxClient(wallet, timeout=60) as http:
        client = await the_client(gateway, http, streams=True)
        begun, *pieces, ended = await answers(client, a_message("hi"))
    assert begun["task"]["status"]["state"] == "TASK_STATE_WORKING"
    assert "".join(one["artifactUpdate"]["artifact"]["parts"][0]["text"] for one in pieces) == "t0 t1 t2 t3 t4 "
    assert [one["artifactUpdate"].get("append", False) for one in pieces] == [False, True, True, True, True]
    status = ended["statusUpdate"]["status"]
    assert status["state"] == "TASK_STATE_COMPLETED"
    [signed] = chain.receipts_of(payer)
    cost = status["message"]["metadata"]["tollway"]
    assert (cost["charge"], cost["receipt"]) == (str(signed.receipt.charge), to_hex(signed.receipt.call_id))


async def test_a_stream_that_is_cut_has_failed(shop: Shop) -> None:
    async with an_http(shop) as http:
        client = await the_client(shop.gateway, http, streams=True)
        [only] = await answers(client, a_message({"text": "hi"}, model=EMOTION))
        assert only["message"]["parts"] == [{"data": {"label": "joy"}, "mediaType": "application/json"}]
        with pytest.raises(A2AError, match="before it said anything"):
            await answers(client, a_message("hi"))


async def test_an_unpaid_message_asks_for_what_any_route_does_and_an_http_client_of_x402_pays(
    chain: World, node: Node
) -> None:
    gateway = chain.gateway()
    wallet, payer = a_client()
    required = gateway.http.post("/v1/invoke", json=INVOKED).headers["payment-required"]
    async with httpx.AsyncClient(timeout=60) as http:
        client = await the_client(gateway, http)
        with pytest.raises(A2AClientError, match="402") as refused:
            await answers(client, a_message("hi"))
        assert isinstance(refused.value.__cause__, httpx.HTTPStatusError)
        assert refused.value.__cause__.response.headers["payment-required"] == required
    assert node.asked == []
    async with x402HttpxClient(wallet, timeout=60) as http:
        assert await the_text(await the_client(gateway, http), a_message("hi")) == "hello there"
    [signed] = chain.receipts_of(payer)
    assert signed.receipt.charge == PRICE


@pytest.mark.parametrize("streams", [False, True])
async def test_by_x402s_extension_an_unpaid_message_is_a_task_that_its_payment_completes(
    chain: World, node: Node, streams: bool
) -> None:
    node.behaviour = streaming(5, (10, 5)) if streams else answering()
    gateway = chain.gateway()
    wallet, payer = a_client()
    async with httpx.AsyncClient(timeout=60) as http:
        client = await the_client(gateway, http, streams=streams)
        [unpaid] = await answers(client, a_message("hi"), BY_EXTENSION)
        status, id = unpaid["task"]["status"], unpaid["task"]["id"]
        facts = status["message"]["metadata"]
        assert (status["state"], facts["x402.payment.status"]) == ("TASK_STATE_INPUT_REQUIRED", "payment-required")
        path, body = ("/v1/chat/completions", BODY) if streams else ("/v1/invoke", INVOKED)
        required = base64.b64decode(gateway.http.post(path, json=body).headers["payment-required"])
        assert facts["x402.payment.required"] == json.loads(required)
        payment = await a_payment(wallet, facts["x402.payment.required"])
        paid = a_message("here it is", model="", task_id=id, metadata=payment)
        *_, answer = await answers(client, paid, BY_EXTENSION)
        status = answer["statusUpdate" if streams else "task"]["status"]
        facts = status["message"]["metadata"]
        assert (status["state"], facts["x402.payment.status"]) == ("TASK_STATE_COMPLETED", "payment-completed")
        [receipt] = facts["x402.payment.receipts"]
        assert (receipt["success"], receipt["payer"]) == (True, to_hex(payer))
        if not streams:
            assert answer["task"]["artifacts"] == [{"artifactId": "answer", "parts": [{"text": "hello there"}]}]
        [signed] = chain.receipts_of(payer)
        assert facts["tollway"]["charge"] == str(signed.receipt.charge)
        with pytest.raises(TaskNotFoundError, match="send yours again"):
            await answers(client, paid, BY_EXTENSION)
    assert len(node.asked) == 1


async def a_payment(wallet: x402Client, required: Any) -> dict[str, Any]:
    """The metadata of a message that pays."""
    payment = await wallet.create_payment_payload(parse_payment_required(required))
    payload = payment.model_dump(by_alias=True, exclude_none=True)
    return {"x402.payment.status": "payment-submitted", "x402.payment.payload": payload}


async def test_a_payment_that_is_worth_nothing_fails_its_task_and_pays_once_with_its_message(
    chain: World, node: Node
) -> None:
    gateway = chain.gateway()
    wallet, payer = a_client()
    required = gateway.http.post("/v1/chat/completions", json=BODY).json()["error"]
    async with httpx.AsyncClient(timeout=60) as http:
        client = await the_client(gateway, http)
        paid = await a_payment(wallet, required)
        whole = [a_message("hi", metadata={"model": CHAT, **paid}) for _ in range(2)]
        first, again = [(await answers(client, one))[0]["task"] for one in whole]
        assert (first["status"]["state"], again["artifacts"]) == ("TASK_STATE_COMPLETED", first["artifacts"])
        with pytest.raises(A2AError):
            await answers(client, a_message("another", metadata={"model": CHAT, **paid}))
        forged = await a_payment(wallet, required)
        forged["x402.payment.payload"]["payload"]["signature"] = "0x" + "11" * 65
        [failed] = await answers(client, a_message("hi", metadata={"model": CHAT, **forged}))
        status = failed["task"]["status"]
        assert status["state"] == "TASK_STATE_FAILED"
        assert status["message"]["metadata"]["x402.payment.status"] == "payment-failed"
    assert len(chain.receipts_of(payer)) == len(node.asked) == 1


async def test_a_message_sent_again_with_a_key_is_made_once(shop: Shop) -> None:
    async with an_http(shop) as http:
        client = await the_client(shop.gateway, http)
        message = a_message("hi")
        costs = [(await answers(client, message))[0]["message"]["metadata"]["tollway"]["receipt"] for _ in range(2)]
        assert costs[0] == costs[1]
        other = a_message("other", message_id=message.message.message_id)
        with pytest.raises(A2AError, match="used for another request"):
            await answers(client, other)
    assert shop.receipts() == 1


async def test_tasks_are_refused_with_a_clear_word(shop: Shop) -> None:
    async with an_http(shop) as http:
        client = await the_client(shop.gateway, http)
        with pytest.raises(TaskNotFoundError, match="keeps no tasks"):
            await client.get_task(GetTaskRequest(id="task"))
        with pytest.raises(TaskNotFoundError, match="without a taskId"):
            await answers(client, a_message("hi", task_id="task"))


def sent(gateway: Running, body: Any, path: str = "/a2a", **headers: str) -> httpx.Response:
    """Send a body to /a2a."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.http.post(path, content=content, headers=headers)


def rpc(message: Any, method: str = "SendMessage") -> dict[str, Any]:
    """A request with a message."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}


def test_hostile_messages_are_refused_and_no_node_is_asked(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    said = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}], "metadata": {"model": CHAT}}
    assert sent(gateway, rpc(said)).status_code == 402
    wrong: list[Any] = [None, [], 7, {}, {"parts": []}]
    values: list[Any] = [None, 7, [], {}, "x" * 300]
    parts: list[Any] = [[{}], [7], [{"text": 7}], [{"raw": "aGk="}], [{"data": [1]}]]
    wrong += [{**said, name: value} for name in said for value in values]
    wrong += [{**said, "parts": one} for one in parts]
    wrong += [{**said, "parts": [{"data": {"messages": 7}}, {"text": "hi"}]}, {**said, "taskId": "x"}]
    wrong += [{**said, "metadata": {"model": CHAT, "x402.payment.payload": 7}}]
    for message in wrong:
        answer = sent(gateway, rpc(message))
        assert (answer.status_code, "error" in answer.json()) == (200, True), (message, answer.text)
        assert answer.json()["error"]["code"] in (-32602, -32001, -32005), answer.text
    deep = b'{"jsonrpc":"2.0","id":1,"params":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    for body, status in ((b"{", 400), (deep, 400), (b"x" * (2**20 + 1), 413), (b"\xff", 400)):
        assert sent(gateway, body).status_code == status
    for whole in ([rpc(said)], {}, 7, {"jsonrpc": "1.0", "id": 1}, {"jsonrpc": "2.0", "id": 1, "method": 7}):
        assert sent(gateway, whole).json()["error"]["code"] == -32600
    old = sent(gateway, rpc(said, "message/send")).json()["error"]
    assert (old["code"], "SendMessage" in old["message"]) == (-32009, True)
    assert sent(gateway, rpc(said, "rm")).json()["error"]["code"] == -32601
    assert sent(gateway, rpc(said), Origin="https://evil.example").status_code == 403
    unknown = sent(gateway, rpc(said), "/a2a/@acme/none").json()["error"]
    assert unknown["data"][0]["metadata"]["code"] == "model_not_found"
    assert node.asked == []


def test_what_waits_for_payment_is_bounded(chain: World) -> None:
    gateway = chain.gateway()
    said = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}], "metadata": {"model": CHAT}}
    for _ in range(12):
        assert sent(gateway, rpc(said), **{"A2A-Extensions": X402}).status_code == 200
    server = gateway.app.protocols._a2a
    assert (len(server._unpaid), bounds.UNPAID_TASKS_AN_ADDRESS) == (8, 8)
    long = {**said, "parts": [{"text": "x" * 70_000}]}
    assert sent(gateway, rpc(long), **{"A2A-Extensions": X402}).json()["result"]["task"]["id"] not in server._unpaid
