"""MCP with the official client: an agent finds a model, asks for its price, calls it and pays; and hostile ones."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import httpx
import jsonschema
import pytest
from mcp.shared.exceptions import MCPError

from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests import book
from tests.attacks.strangers import head
from tests.gateway.agents import an_agent, content_of, does, paying
from tests.gateway.nodes import Asked, Node, Wire
from tests.gateway.test_exports import CHAT, EMOTION, FLOW, MESSAGES, Shop, shop
from tests.gateway.test_leaving import leave_once, was_left
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import BODY, PRICE, a_client, chain
from tests.gateway.world import PROVIDER, Running, World, a_model, a_signer

__all__ = ["chain", "shop"]

INPUT = {"messages": MESSAGES}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
INVOKED = {"model": CHAT, "input": {"messages": BODY["messages"]}}


def rpc(method: str, params: Any, id: Any = 1) -> dict[str, Any]:
    """A request of MCP, as clients before 2026 send it."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def a_call(model: str = CHAT, **more: Any) -> dict[str, Any]:
    """The same, of a model."""
    return rpc("tools/call", {"name": "call", "arguments": {"model": model, "input": INPUT, **more}})


def post(gateway: Running, body: Any, **headers: str) -> httpx.Response:
    """Send a body to /mcp."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.http.post("/mcp", content=content, headers=ACCEPT | headers)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_finds_asks_calls_and_pays_with_a_key(shop: Shop, mode: str) -> None:
    async with an_agent(shop.gateway, shop.key, mode) as agent:
        tools = {tool.name for tool in (await agent.client.list_tools()).tools}
        assert tools == {"find_models", "quote", "call", "balance"}
        found = {row["model"]: row for row in (await agent.use("find_models"))["models"]}
        assert {*found} == {CHAT, EMOTION, FLOW}
        for name, said, answer in (
            (CHAT, INPUT, "hello there"),
            (EMOTION, {"text": "hi"}, "joy"),
            (FLOW, INPUT, "hello there"),
        ):
            jsonschema.validate(said, found[name]["input"])
            assert "Price" in found[name]["description"] or "POST /v1/quote" in found[name]["description"]
            quote = await agent.use("quote", model=name, meters={"call": 1, "input_token": 100, "output_token": 50})
            called = await agent.use("call", model=name, input=said)
            assert answer in called["output"].values()
            assert 0 < int(called["charge"]) <= int(quote["hold"])
        [receipt] = [
            one
            for one in shop.world.receipts_of(shop.consumer.address)
            if one.receipt.call_id.hex() in called["receipt"]
        ]
        assert receipt.receipt.charge > 0
        assert [key["account"] for key in (await agent.use("balance"))["data"]] == [to_hex(shop.consumer.address)]
    assert shop.receipts() == 4, "a workflow's call has one for its step, too"


async def test_the_books_client_of_mcp_calls_a_model(shop: Shop) -> None:
    page = book.typed("docs/agents.md", "streamable_http_client").with_({"@acme/chat": CHAT})
    await does(page, key=shop.key, gateway=shop.gateway.url, messages=BODY["messages"])
    assert shop.receipts() == 1


async def test_models_for_a_task_come_by_price_and_what_nobody_can_is_said(shop: Shop) -> None:
    async with an_agent(shop.gateway) as agent:
        [found] = (await agent.use("find_models", task="text-generation", limit=1))["models"]
        assert (found["model"], found["sponsored"], int(found["price"]) > 0) == (CHAT, False, True)
        none = await agent.use("find_models", task="translation")
        assert (none["models"], none["diagnostic"]["tasks_here"]) == ([], ["text-classification", "text-generation"])
        pages = [await agent.use("find_models", limit=2, offset=at) for at in (0, 2)]
        assert [[row["model"] for row in page["models"]] for page in pages] == [[CHAT, EMOTION], [FLOW]]
        assert (await agent.fail("find_models", offset="nonsense"))["code"] == "invalid_request"


async def test_a_key_that_may_manage_sees_the_accounts_balance_and_nobody_sees_none(shop: Shop) -> None:
    made = shop.gateway.of(shop.consumer).post("/v1/keys", json={"rights": ["manage"]}).json()["key"]
    async with an_agent(shop.gateway, made) as agent:
        assert (await agent.use("balance"))["account"] == to_hex(shop.consumer.address)
    async with an_agent(shop.gateway) as agent:
        assert (await agent.fail("balance"))["code"] == "missing_key"


async def test_an_unpaid_call_asks_for_what_any_route_does_and_x402s_client_pays_it(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    wallet, payer = a_client()
    async with an_agent(gateway) as agent:
        unpaid = await agent.client.call_tool("call", {"model": CHAT, "input": {"messages": BODY["messages"]}})
        required = base64.b64decode(gateway.http.post("/v1/invoke", json=INVOKED).headers["payment-required"])
        assert (unpaid.is_error, content_of(unpaid)) == (True, json.loads(required))
        assert node.asked == []
        answer = await paying(agent, wallet).call_tool("call", {"model": CHAT, "input": {"messages": BODY["messages"]}})
        assert (answer.is_error, answer.payment_made) == (False, True)
        called = json.loads(answer.content[0]["text"])
        assert (called["output"]["content"], called["charge"]) == ("hello there", str(PRICE))
        assert answer.payment_response is not None
        assert (answer.payment_response.success, answer.payment_response.payer) == (True, to_hex(payer))
    [signed] = chain.receipts_of(payer)
    assert (signed.receipt.charge, to_hex(signed.receipt.call_id)) == (PRICE, called["receipt"])


async def test_a_payment_seen_by_others_pays_for_nothing_else(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    wallet, payer = a_client()
    asked = {"model": CHAT, "input": {"messages": BODY["messages"]}}
    async with an_agent(gateway) as agent:
        client = paying(agent, wallet)
        required = await client.get_tool_payment_requirements("call", asked)
        assert required is not None
        payment = await wallet.create_payment_payload(required)
        first, again = [await client.call_tool_with_payment("call", asked, payment) for _ in range(2)]
        assert (first.is_error, again.content) == (False, first.content)
        other = {**asked, "input": {"messages": [{"role": "user", "content": "another"}]}}
        for changed in (other, asked | {"idempotency_key": "stolen"}):
            stolen = await client.call_tool_with_payment("call", changed, payment)
            assert stolen.is_error, stolen.content
        forged = payment.model_copy(deep=True)
        forged.payload["signature"] = "0x" + "11" * 65
        assert (await client.call_tool_with_payment("call", asked, forged)).is_error
    assert len(chain.receipts_of(payer)) == len(node.asked) == 1


async def test_a_call_with_a_key_of_its_own_is_made_once_and_no_dearer_than_it_says(shop: Shop) -> None:
    async with an_agent(shop.gateway, shop.key) as agent:
        once = [await agent.use("call", model=CHAT, input=INPUT, idempotency_key="once") for _ in range(2)]
        assert once[0] == once[1]
        other = {"messages": [{"role": "user", "content": "other"}]}
        refused = await agent.fail("call", model=CHAT, input=other, idempotency_key="once")
        assert refused["code"] == "idempotency_mismatch"
        assert "may cost" in (await agent.fail("call", model=CHAT, input=INPUT, max_price="1"))["message"]
    assert shop.receipts() == 1


async def test_what_is_wrong_is_said_and_changes_nothing(shop: Shop) -> None:
    async with an_agent(shop.gateway, shop.key) as agent:
        for arguments, code in (
            ({"model": "@acme/none", "input": INPUT}, "model_not_found"),
            ({"model": 7, "input": INPUT}, "invalid_request"),
            ({"model": CHAT}, "invalid_request"),
            ({"model": CHAT, "input": []}, "invalid_request"),
            ({"model": CHAT, "input": {"messages": "hi"}}, "invalid_request"),
            ({"model": CHAT, "input": INPUT, "unheard": 1}, "rejected"),
            ({"model": CHAT, "input": INPUT, "idempotency_key": None}, "invalid_request"),
            ({"model": CHAT, "input": INPUT, "max_price": 5}, "invalid_request"),
        ):
            assert (await agent.fail("call", **arguments))["code"] == code, arguments
        assert (await agent.fail("quote", model=CHAT, unheard=1))["code"] == "rejected"
        with pytest.raises(MCPError, match="there is no tool"):
            await agent.client.call_tool("rm", {})
    assert shop.receipts() == 0


def test_hostile_bodies_are_refused_and_no_node_is_asked(gateway: Running, node: Node) -> None:
    deep = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    long = json.dumps(a_call(text="x" * 2**20)).encode()
    bodies = [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"jsonrpc":"2.0"}', deep, long]
    bodies += [json.dumps(one).encode() for one in ([a_call()], [a_call()] * 100, [], {"id": 1})]
    bodies += [b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', b'{"jsonrpc":"2.0","id":1' + b"0" * 5_000 + b"}"]
    wrong: list[Any] = [None, 7, []]
    bodies += [json.dumps(rpc(name, params)).encode() for name in ("tools/call", "unheard") for params in wrong]
    bodies += [json.dumps(rpc("tools/call", {"name": name, "arguments": 7})).encode() for name in ("call", None, 7)]
    for body in bodies:
        for version in ({}, {"MCP-Protocol-Version": "2026-07-28"}, {"MCP-Protocol-Version": "nonsense"}):
            answer = post(gateway, body, **version)
            assert answer.status_code < 500, (body[:80], answer.text)
            assert answer.status_code >= 400 or "error" in answer.json(), (body[:80], answer.text)
    assert post(gateway, long).status_code == 413
    assert post(gateway, deep).json()["error"]["data"]["levels"] == 64
    assert post(gateway, [a_call()]).status_code == 400, "there are no batches"
    assert post(gateway, rpc("initialize", HELLO)).status_code == 200
    assert node.asked == []
    assert gateway.http.get("/health").status_code == 200


def test_there_are_no_sessions_and_no_streams_to_hold_open(gateway: Running) -> None:
    began = post(gateway, rpc("initialize", HELLO))
    assert (began.status_code, "mcp-session-id" in began.headers) == (200, False)
    assert began.headers["content-type"] == "application/json"
    for method in ("GET", "DELETE", "PUT"):
        refused = gateway.http.request(method, "/mcp", headers=ACCEPT)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    listen = rpc("subscriptions/listen", {"_meta": {}})
    assert post(gateway, listen, **{"MCP-Protocol-Version": "2026-07-28"}).status_code == 400


def test_pages_of_others_are_refused(world: World, node: Node) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(public_url="https://gateway.example")
    for origin in ("https://evil.example", "http://gateway.example", "https://gateway.example.evil", "null", "x"):
        refused = post(gateway, rpc("initialize", HELLO), Origin=origin, Host=origin.partition("//")[2] or "x")
        assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (403, "origin_not_allowed")
    for origin in ("https://gateway.example", "http://localhost:6274", "http://127.0.0.1", "http://[::1]:9"):
        assert post(gateway, rpc("initialize", HELLO), Origin=origin).status_code == 200


def test_an_agent_that_leaves_stops_its_node_and_pays_nothing(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(first_byte_seconds=600)  # nothing else ends the call

    async def hanging(asked: Asked, wire: Wire) -> None:
        await wire.closed()

    node.behaviour = hanging
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer)
    lines = [f"{name}: {value}" for name, value in ACCEPT.items()]
    for version in ([], ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: call"]):
        meta = (
            {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in MODERN.items()}} if version else {}
        )
        body = a_call()
        body["params"] |= meta
        content, made = json.dumps(body).encode(), len(node.asked) + 1
        request = head("POST", "/mcp", f"Authorization: Bearer {key}", *lines, *version, length=len(content)) + content
        leave_once(gateway, request, partial(has_asked, node, made))
        eventually(partial(was_left, node, made))
        eventually(lambda: gateway.gateway.open_calls == 0)
    assert world.receipts_of(consumer.address) == []


MODERN = {"protocolVersion": "2026-07-28", "clientCapabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}


def has_asked(node: Node, times: int) -> bool:
    """Whether a node was asked so often."""
    return len(node.asked) >= times


def test_a_wrong_key_is_refused_before_the_body_and_counted(gateway: Running) -> None:
    wrong = {"Authorization": "Bearer tw_nobody"}
    refused = post(gateway, b"{", **wrong)
    assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (401, "invalid_api_key")
    eventually(lambda: post(gateway, a_call(), **wrong).status_code == 429)


async def test_a_realms_model_is_found_and_called_by_its_members_alone(gateway: Running, node: Node) -> None:
    world, member = gateway.world, a_signer("a member who is an agent")
    owner = a_signer("a realm's owner whose members are agents")
    realm = world.realm(owner, member, PROVIDER)
    secret = world.publish(a_model("@acme/within"))
    world.serve(secret, node.url, realm=realm)
    world.deposit(member.address, 10**9)
    key = gateway.key(member)
    eventually(
        lambda: (
            len(
                gateway.http.get(
                    "/v1/models", headers={"Tollway-Realm": realm, "Authorization": f"Bearer {key}"}
                ).json()["data"]
            )
            > 0
        )
    )
    async with an_agent(gateway, key, **{"Tollway-Realm": realm}) as agent:
        assert "@acme/within" in {row["model"] for row in (await agent.use("find_models"))["models"]}
        assert int((await agent.use("call", model="@acme/within", input=INPUT))["charge"]) > 0
    async with an_agent(gateway, key) as agent:
        assert {row["model"] for row in (await agent.use("find_models"))["models"]} == {CHAT}
        assert (await agent.fail("call", model="@acme/within", input=INPUT))["code"] == "model_not_found"
