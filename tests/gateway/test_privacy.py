"""What callers say stays at the node that serves them, and their keys nowhere: canaries through every way and refusal.

A gateway in a process of its own, with everything on that logs, counts and traces; the node of the product behind a
tunnel; the worker's tasks. Then a look into all that any of them keeps or shows.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from sqlalchemy import Engine, insert, text
from x402.http.x402_http_client import x402HTTPClient

from ledger import log, tasks
from ledger.context import Context
from ledger.core.catalog.models import credentials_hash
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, ZERO_DIGEST, Address, Digest, address, cid, did, to_hex
from ledger.core.values.tunnel_frames import Kind, encode
from ledger.core.values.typed_data import Signer
from ledger.deployments import save
from ledger.store.access.tables import ApiKeyRow
from ledger.store.chain import lanes
from ledger.store.receipts.tables import QuarantineRow, TermsRow
from ledger.store.session import unit_of_work
from roles.client import credentials
from roles.node.callers import Callers
from roles.node.models.loader import LoadedModels
from roles.node.models.resale import Resold, Upstream
from roles.node.server import application
from roles.node.state import State
from roles.node.tunnel import Identity, Tunnel
from roles.node.witness import ServedLog, Witness
from tests.conftest import settings_for
from tests.gateway.canaries import Canaries, Places, database, joined, leaks
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, dying, final_usage, hanging, piece
from tests.gateway.processes import Process
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import _relay, a_client
from tests.gateway.workflows import pinned
from tests.gateway.world import (
    MAKER,
    PROVIDER,
    WEAVER,
    Signing,
    World,
    a_deployment,
    a_model,
    a_signer,
    a_voucher,
    code_of,
)

SALT = bytes(32)
A_KEY = {
    "lane": b"1",
    "hash": b"2",
    "id": "3",
    "consumer": b"4",
    "label": "",
    "created_at": 5,
    "rights": "[]",
    "made_by": "",
}


_numbers = count()


# The ways a call comes in.


@dataclass(frozen=True)
class Way:
    """A route with a body of a prompt, for a model of a kind."""

    path: str
    kind: str
    body: Callable[[str], dict[str, Any]]

    def request(self, model: str, prompt: str) -> tuple[str, bytes]:
        body = self.body(prompt)
        return self.path.format(model=model), json.dumps(
            {"model": model, **body} if self.names_model else body
        ).encode()

    @property
    def names_model(self) -> bool:
        """Its body names the model."""
        return "{model}" not in self.path


def messages(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 50, **more}


def tools(prompt: str) -> dict[str, Any]:
    """The prompt is in a tool's description, in its arguments, and in its result."""
    function = {"name": "look", "description": prompt, "parameters": {"type": "object"}}
    called = {"id": "1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"at": prompt})}}
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [called]}]
    said += [{"role": "tool", "tool_call_id": "1", "content": prompt}]
    return {"messages": said, "tools": [{"type": "function", "function": function}], "user": prompt, "max_tokens": 50}


def tensors(prompt: str) -> dict[str, Any]:
    return {"id": prompt, "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [prompt]}]}


PROTOCOLS = {
    "chat": "openai.chat/1",
    "text": "openai.completions/1 openai.embeddings/1",
    "label": "oip/2",
}
"""What the models of a kind speak that a node serves directly."""
WAYS = {
    "chat": Way("/v1/chat/completions", "chat", messages),
    "stream": Way("/v1/chat/completions", "chat", lambda prompt: messages(prompt, stream=True)),
    "tools": Way("/v1/chat/completions", "chat", tools),
    "completion": Way("/v1/completions", "text", lambda prompt: {"prompt": prompt, "max_tokens": 50}),
    "embedding": Way("/v1/embeddings", "text", lambda prompt: {"input": prompt}),
    "infer": Way("/v2/models/{model}/infer", "label", tensors),
    "invoke": Way("/v1/invoke", "chat", lambda prompt: {"input": messages(prompt)}),
    "invoke tensors": Way("/v1/invoke", "label", lambda prompt: {"input": {"text": prompt}}),
    "workflow": Way("/v1/chat/completions", "flow", messages),
    "workflow stream": Way("/v1/chat/completions", "flow", lambda prompt: messages(prompt, stream=True)),
    "tunnel": Way("/v1/chat/completions", "home", messages),
    "tunnel stream": Way("/v1/chat/completions", "home", lambda prompt: messages(prompt, stream=True)),
}


# The nodes, which say canaries too.


def saying(answer: str) -> Any:
    """A node that serves every protocol, and says the answer wherever it can."""

    async def behave(asked: Asked, wire: Wire) -> None:
        called = {"id": "1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"at": answer})}}
        if asked.path.endswith("/infer"):
            await wire.answer({"outputs": [{"name": "label", "datatype": "BYTES", "shape": [1], "data": [answer]}]})
        elif asked.path.endswith("/embeddings"):
            row = {"object": "embedding", "index": 0, "embedding": [0.5]}
            usage = {"prompt_tokens": 6, "total_tokens": 6}
            await wire.answer({"object": answer, "model": answer, "data": [row], "usage": usage})
        elif asked.json.get("stream"):
            await wire.begin(x_note=answer, set_cookie=answer)
            await wire.event(piece(answer))
            await wire.event(piece(None, answer))
            await wire.event(final_usage(10, 5))
            await wire.event("[DONE]")
            await wire.end()
        else:
            whole = chat(answer, id=answer, system_fingerprint=answer)
            whole["choices"][0]["finish_reason"] = answer
            whole["choices"][0]["message"]["tool_calls"] = [called]
            whole["choices"][0]["text"] = answer
            await wire.answer(whole, x_note=answer, set_cookie=answer)

    return behave


def cut(answer: str) -> Any:
    async def behave(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        await wire.event(piece(answer))
        wire.die()

    return behave


def raw(answer: bytes) -> Any:
    async def behave(asked: Asked, wire: Wire) -> None:
        wire.writer.write(answer)
        await wire.writer.drain()
        wire.die()

    return behave


def flood(answer: str) -> Any:
    """Events, or a body, that never end."""

    async def behave(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        wire.writer.write(b"7fffffff\r\ndata: ")
        while not wire.writer.transport.is_closing():
            wire.writer.write(answer.encode() * 10_000)
            await wire.writer.drain()

    return behave


LONG = ("chat", "stream", "infer")
FAILINGS: dict[str, Callable[[str], Any]] = {
    "refuses": lambda said: answering({"error": {"message": said, "code": said, "param": said}}, 400),
    "refuses in its own shape": lambda said: answering({"detail": said, "error": said}, 422),
    "fails": lambda said: answering({"error": said}, 500, x_note=said),
    "is busy": lambda said: answering({"error": said}, 429, retry_after=said),
    "redirects": lambda said: answering({}, 302, location=f"http://{said}.example/"),
    "is no JSON": lambda said: answering(said.encode()),
    "is other JSON": lambda said: answering({"choices": said, "outputs": said, "usage": said}),
    "is no HTTP": lambda said: raw(f"{said}\r\n\r\n".encode()),
    "has a bad head": lambda said: raw(f"HTTP/1.1 200 OK\r\n{said} {said}\r\n\r\n".encode()),
    "is too long": flood,
    "dies": lambda said: dying,
    "hangs": lambda said: hanging,
    "is cut": cut,
    "notes wrong units": lambda said: answering(chat(said), tollway_usage=said, content_type=said),
}


def by_part(behaviours: dict[str, Any]) -> Any:
    """One server with a node under each first part of a path."""

    async def behave(asked: Asked, wire: Wire) -> None:
        await behaviours[first_part(asked.path)](asked, wire)

    return behave


def first_part(path: str) -> str:
    return path.split("/")[1]


@dataclass
class House:
    """A lane with its gateway, node and worker, and the canaries in it."""

    world: World
    process: Process
    node: Node
    collector: Node
    canaries: Canaries
    folder: Path
    behaviours: dict[str, Any]
    home: Digest = ZERO_DIGEST
    key: str = ""
    poor: str = ""
    narrow: str = ""
    answers: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    def model(self, name: str, part: str, protocol: str = "openai.chat/1") -> None:
        """A model whose node is under `part` of the server."""
        owner = did(self.world.chain_id, MAKER.address)
        subject = self.world.publish(a_model(f"@acme/{name}", protocol, owner=owner))
        self.world.serve(subject, f"{self.node.url}/{part}")

    def flow(self) -> None:
        """A workflow of both kinds of models, streamed in its last step."""
        found = {
            name: self.world.publish(a_model(f"@acme/{name}", protocol, owner=did(self.world.chain_id, MAKER.address)))
            for name, protocol in (("label", "oip/2"), ("chat", "openai.chat/1"))
        }
        document = {
            "schema": "tollway/capsule/1",
            "name": "@wanda/flow",
            "version": "1.0.0",
            "weaver": did(self.world.chain_id, WEAVER.address),
            "steps": [
                pinned("label", found["label"], {"text": "$.messages[-1].content"}),
                pinned("reply", found["chat"], {"messages": "$.messages"}, when="steps.label.status == 'ok'"),
            ],
            "output": {"choices": "$steps.reply.output.choices"},
            "distribution": {"weaver": {"ratio_ppm": 100_000, "ask": {}}},
        }
        self.world.publish(document)

    def make_key(self, consumer: Signer, **limits: Any) -> str:
        """A key, which is a secret from now on."""
        voucher = a_voucher(consumer, 10**12, domain=self.world.domain)
        response = self.process.http.post("/v1/keys", json={"voucher": voucher, **limits})
        assert response.status_code == 201, response.text
        key = str(response.json()["key"])
        self.canaries.secret[f"API key of {to_hex(consumer.address)}"] = key
        return key

    def send(self, way: Way, model: str, prompt: str, headers: dict[str, str]) -> httpx.Response:
        path, body = way.request(model, prompt)
        return self.post(path, body, headers)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        hide, own = self.canaries.hide, {"X-Forwarded-For": an_address()}
        own |= {"Cookie": f"session={hide('cookie')}", "User-Agent": hide("user agent"), "X-Note": hide("own header")}
        own |= {"Traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "Tracestate": f"a={hide('trace state')}"}
        response = self.process.http.post(path, content=body, headers={**own, **headers})
        self.answers += [response.content, str(response.headers).encode()]
        return response


def an_address() -> str:
    """Another client each time: many wrong credentials from one are refused without a look."""
    number = next(_numbers)
    return f"10.0.{number // 250}.{number % 250}"


def model_of(way: Way) -> str:
    return "@wanda/flow" if way.kind == "flow" else f"@acme/{way.kind}"


# Calls that are served.


def serve_all(house: House) -> None:
    """Each way with a key, with a voucher, and with an x402 payment."""
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(serve_way, house, name, way) for name, way in WAYS.items()]:
            done.result()


def serve_way(house: House, name: str, way: Way) -> None:
    payers = {"key": by_key, "voucher": by_voucher, "payment": by_payment}
    for payer, headers_of in payers.items():
        prompt = house.canaries.say(f"prompt of {name} by {payer}")
        headers = headers_of(house, name, way, prompt)
        headers["Idempotency-Key"] = house.canaries.hide(f"idempotency key of {name} by {payer}")
        response = house.send(way, model_of(way), prompt, headers)
        assert response.status_code == 200, (name, payer, response.text)
        assert house.canaries.said["answer"] in response.text, (name, payer, response.text)
        if payer == "key":
            assert house.send(way, model_of(way), prompt, headers).content == response.content


def by_key(house: House, name: str, way: Way, prompt: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.key}"}


def by_voucher(house: House, name: str, way: Way, prompt: str) -> dict[str, str]:
    consumer = a_signer(f"voucher of {name}")
    house.world.deposit(consumer.address, 10**6)
    return {"Tollway-Voucher": json.dumps(a_voucher(consumer, 10**6, domain=house.world.domain))}


def by_payment(house: House, name: str, way: Way, prompt: str) -> dict[str, str]:
    """By the stock client, with an identifier of the payment."""
    unpaid = house.send(way, model_of(way), prompt, {})
    assert unpaid.status_code == 402, unpaid.text
    http = x402HTTPClient(a_client()[0])
    required = http.get_payment_required_response(unpaid.headers.get, None)
    payment = asyncio.run(http.create_payment_payload(required))
    shown = json.loads(base64.b64decode(http.encode_payment_signature_header(payment)["PAYMENT-SIGNATURE"]))
    identifier = house.canaries.hide(f"payment identifier of {name}")
    shown["extensions"] = {"payment-identifier": {"info": {"required": False, "id": identifier}}}
    return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(shown).encode()).decode()}


# Calls that are refused.


@dataclass
class Call:
    """One call, to be spoilt."""

    path: str
    body: bytes
    headers: dict[str, str]


def spoil(house: House, call: Call) -> Iterator[tuple[str, int, str, Call]]:
    """Every refusal of the gateway: its name, status and code, and a call that gets it."""
    hide, held = house.canaries.hide, {"Authorization": f"Bearer {house.key}"}

    def headers(**more: str) -> Call:
        return Call(call.path, call.body, {name.replace("_", "-"): value for name, value in more.items()})

    def body(changed: bytes) -> Call:
        return Call(call.path, changed, held)

    signed = a_voucher(a_signer("signer of nothing"), 10**6, signer=a_signer("another"), domain=house.world.domain)
    yield "basic", 401, "missing_key", headers(Authorization=f"Basic {hide('basic')}")
    yield "bare key", 401, "missing_key", headers(Authorization=hide("bare key"))
    yield "unknown key", 401, "invalid_api_key", headers(Authorization=f"Bearer tw_{hide('unknown key')}")
    yield "no voucher", 400, "invalid_voucher", headers(Tollway_Voucher=hide("no voucher"))
    lane = json.dumps({**signed, "lane": hide("voucher of no lane")})
    yield "voucher of no lane", 400, "rejected", headers(Tollway_Voucher=lane)
    yield "forged voucher", 401, "invalid_voucher", headers(Tollway_Voucher=json.dumps(signed))
    for what in (hide("no payment"), json.dumps({"x402Version": 2, "payload": hide("half a payment")})):
        given = base64.b64encode(what.encode()).decode()
        yield "no payment", 400, "invalid_payment", headers(PAYMENT_SIGNATURE=given)
    yield "not paid", 402, "payment_required", headers()
    yield "no money", 402, "insufficient_balance", headers(Authorization=f"Bearer {house.poor}")
    yield "not its model", 403, "model_not_allowed", headers(Authorization=f"Bearer {house.narrow}")
    yield "above its price", 402, "above_max_price", headers(**held, Tollway_Max_Price="1")
    yield "no price", 400, "rejected", headers(**held, Tollway_Max_Price=hide("no price"))
    yield "long name", 400, "invalid_request", headers(**held, Idempotency_Key=hide("long name") * 12)
    yield "no JSON", 400, "invalid_json", body(call.body + call.body)
    yield "half JSON", 400, "invalid_json", body(call.body[:-2])
    whole = "invalid_request"
    yield "no object", 400, whole, body(json.dumps([call.body.decode()]).encode())
    nested = call.body[:-1] + b', "more": ' + b"[" * 65 + b"]" * 65 + b"}"
    yield "too deep", 400, "invalid_json", body(nested)


def refuse_all(house: House) -> None:
    """Every refusal of every way; those of the gateway before a node is asked, then those of nodes."""
    asked = len(house.node.asked)
    for name, way in WAYS.items():
        prompt = house.canaries.say(f"prompt of {name}, refused")
        path, body = way.request(model_of(way), prompt)
        for what, status, code, call in spoil(house, Call(path, body, {})):
            answer = house.post(call.path, call.body, call.headers)
            told = (answer.status_code, code_of(answer.json()))
            assert told == (status, code), (name, what, answer.text)
        elsewhere = house.send(way, "@acme/none", prompt, {"Authorization": f"Bearer {house.key}"})
        assert elsewhere.status_code == 404, elsewhere.text
        used = {"Authorization": f"Bearer {house.key}"}
        used["Idempotency-Key"] = house.canaries.hide(f"idempotency key of {name} by key")
        again = house.send(way, model_of(way), prompt, used)
        assert (again.status_code, code_of(again.json())) == (409, "idempotency_mismatch")
    assert len(house.node.asked) == asked, "refused before any work"


def fail_all(house: House) -> None:
    """Every failing of a node, in every way that it can be asked."""
    jobs = [(kind, name) for kind in FAILINGS for name in failed_ways(kind)]

    def fail(job: tuple[str, str]) -> None:
        kind, name = job
        prompt = house.canaries.say(f"prompt of {name} to a node that {kind}")
        headers = {"Authorization": f"Bearer {house.key}"}
        answer = house.send(WAYS[name], failing_model(kind, name), prompt, headers)
        harmless = kind == "notes wrong units" or (kind == "is other JSON" and name == "embedding")
        assert harmless or answer.status_code >= 400 or '"error"' in answer.text, (kind, name, answer.text)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fail, jobs))


def failed_ways(kind: str) -> list[str]:
    """The ways to a node that fails so; a long answer is long in coming."""
    return [*LONG] if kind == "is too long" else [name for name, way in WAYS.items() if way.kind in PROTOCOLS]


def failing_model(kind: str, way: str) -> str:
    return f"@acme/{kind} {way}".replace(" ", "-").lower()


def refuse_others(house: House) -> None:
    """Refusals of the routes that are no calls."""
    hide, say, post = house.canaries.hide, house.canaries.say, house.process.http.post
    account = json.dumps({"account": to_hex(PROVIDER.address), "at": 1, "signature": hide("account's signature")})
    given = {"Authorization": hide("credential that nobody signed")}
    offer = {"offer": {"serve": {}}, "credentials": given, "salt": to_hex(SALT)}
    subject = house.world.publish(a_model("@acme/chat", owner=did(house.world.chain_id, MAKER.address)))
    withheld = hide("credential of a header that is none")
    bad = {"Host": withheld}
    named = to_hex(credentials_hash(SALT, bad))
    signed = house.world.offer(subject, house.node.url, credentials=named)
    voucher = a_voucher(a_signer("odd"), 10**6, domain=house.world.domain)
    for path, body, headers in (
        ("/v1/keys", {"voucher": {**voucher, "signature": hide("voucher's signature")}}, {}),
        ("/v1/keys", {"voucher": voucher, hide("unknown field of a key"): 1}, {}),
        ("/v1/keys", {"voucher": voucher, "label": f"{hide('label of no text')}\0"}, {}),
        ("/v1/keys", {"label": "a label"}, {"Authorization": f"Bearer tw_{hide('key of a key')}"}),
        ("/v1/keys/rotate", {}, {"Authorization": f"Bearer tw_{hide('rotated key')}"}),
        ("/v1/keys/rotate", {}, {"Tollway-Account": account}),
        ("/v1/offers", offer, {}),
        ("/v1/offers", {"offer": signed, "credentials": bad, "salt": to_hex(SALT)}, {}),
        ("/v1/quote", {"model": "@acme/chat", say("field of a quote"): 1}, {}),
        ("/v1/discover", {say("field of a search"): 1}, {}),
        ("/v1/documents", {"document": {"note": hide("document")}, "signature": hide("signature")}, {}),
        (f"/v1/nowhere?key={hide('query')}", {}, {}),
        (f"/v1/tunnel/{to_hex(PROVIDER.address)}/v1/chat/completions", messages(say("forwarded prompt")), {}),
    ):
        answer = post(path, json=body, headers={**headers, "Cookie": hide("cookie")})
        assert 400 <= answer.status_code < 500, (path, answer.text)
    for path in (f"/v1/receipts/{hide('path')}", f"/v1/statements/{hide('payee')}?cursor={hide('cursor')}", "/v1/keys"):
        answer = house.process.http.get(path, headers={"Authorization": f"Bearer tw_{hide('reading key')}"})
        assert 400 <= answer.status_code < 500, answer.text
    for rest in (hide("head"), f"Content-Length: {2**30}\r\nTollway-Voucher: {hide('voucher of a long body')}"):
        head = ("POST /v1/chat/completions HTTP/1.1", f"Cookie: {hide('cookie')}", rest, "", say("a long body"))
        with socket.create_connection(("127.0.0.1", house.process.port)) as broken:
            broken.sendall("\r\n".join(head).encode())
            assert b" 4" in broken.recv(1000)


TABLES = ("api_keys", "vouchers", "receipts")


def break_all(house: House) -> None:
    """Errors of the gateway itself, with a database's message each: tables that it needs are not there."""
    hide = house.canaries.hide
    given = {"Authorization": f"Bearer {house.key}"}
    rename(house, TABLES, "{0} RENAME TO {0}_gone")
    change = house.process.http.patch(
        "/v1/keys/an-id", json={"label": hide("label of a key")}, headers={**given, "Connection": "close"}
    )
    assert change.status_code == 500, change.text
    for name, way in WAYS.items():
        prompt = house.canaries.say(f"prompt of {name} when the gateway fails")
        for headers in (
            {"Authorization": f"Bearer tw_{hide('key when the gateway fails')}"},
            by_voucher(house, name, way, prompt),
            {**given, "Idempotency-Key": hide("idempotency key when the gateway fails")},
        ):
            answer = house.send(way, model_of(way), prompt, headers)
            assert (answer.status_code, code_of(answer.json())) == (500, "internal"), answer.text
    rename(house, TABLES, "{0}_gone RENAME TO {0}")


def rename(house: House, tables: tuple[str, ...], how: str) -> None:
    with unit_of_work(house.world.engine) as session:
        for table in tables:
            session.execute(text(f"ALTER TABLE {how.format(table)}"))


async def greet(house: House) -> None:
    """A socket of a stranger: its head has a key, its hello is nobody's."""
    hide = house.canaries.hide
    hidden = {"Authorization": f"Bearer {hide('key of a socket')}", "Cookie": hide("cookie")}
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{house.url}/v1/tunnel", headers=hidden) as opened:
        await opened.receive()
        await opened.send_bytes(encode(Kind.hello, 0, hide("hello").encode()))
        assert (await opened.receive()).type is aiohttp.WSMsgType.CLOSE


# The house: a gateway with everything on that logs, counts and traces.


@pytest.fixture
def house(engine: Engine, postgres_url: str, tmp_path: Path) -> Iterator[House]:
    """Everything but the node behind the tunnel, not started yet."""
    world = World(engine, postgres_url, deployment=save(a_deployment(), tmp_path))
    world.open_lane()
    canaries, behaviours = Canaries(), dict[str, Any]()
    node, collector = Node(by_part(behaviours)).start(), Node(answering({})).start()
    process = Process(world, "private gateway", log=tmp_path / "gateway.log")
    world.add_gateway(Signer(keccak256(process.name.encode())).address)
    process.settings |= {
        "LEDGER_LANE": to_hex(PRIVATE_LANE),
        "LEDGER_DEPLOYMENT": str(world.deployment),
        "GATEWAY_LEASE_ATOMS": "1000",
        "GATEWAY_SECRET": "11" * 32,
        "GATEWAY_BOOK_SECONDS": "0.2",
        "GATEWAY_FIRST_BYTE_SECONDS": "1",
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
        "GATEWAY_LOG_CALLS": "true",
        "GATEWAY_TRACE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/{canaries.hide('key of the collector')}",
        "WEBSOCKETS_MAX_LOG_SIZE": "100000",
    }
    made = House(world, process, node, collector, canaries, tmp_path, behaviours)
    stop = threading.Event()
    relaying = threading.Thread(target=_relay, args=(world, stop))
    relaying.start()
    publish(made)
    process.start()
    yield made
    stop.set()
    relaying.join()
    node.stop()
    collector.stop()
    if process.process.poll() is None:
        process.process.kill()
    process.process.wait(30)


def publish(house: House) -> None:
    """Models that are served and models that fail, a model behind a tunnel, and a workflow."""
    world, canaries, behaviours = house.world, house.canaries, house.behaviours
    behaviours["good"] = behaviours["resold"] = saying(canaries.say("answer"))
    for kind, failing in FAILINGS.items():
        part = kind.replace(" ", "-")
        behaviours[part] = failing(canaries.say(f"answer of a node that {kind}"))
        for name in failed_ways(kind):
            protocol = PROTOCOLS[WAYS[name].kind]
            house.model(failing_model(kind, name).removeprefix("@acme/"), part, protocol)
    house.model("chat", "good")
    house.model("label", "good", "oip/2")
    house.model("text", "good", PROTOCOLS["text"])
    house.flow()
    house.home = world.publish(a_model("@acme/home", owner=did(world.chain_id, MAKER.address)))
    world.serve(house.home, f"tunnel://{to_hex(PROVIDER.address)}", tier="edge")


def pay_in(house: House) -> None:
    """Money and keys, and a credential for the chat model's node."""
    consumer = a_signer("private consumer")
    for signer in (consumer, WEAVER):
        house.world.deposit(signer.address, 10**9)
    house.key = house.make_key(consumer)
    house.make_key(WEAVER)  # behind which the bond stands
    for name in ("poor", "narrow"):
        house.world.deposit(a_signer(name).address, 1)
    house.poor = house.make_key(a_signer("poor"))
    house.narrow = house.make_key(a_signer("narrow"), models=["@acme/none"])
    give_credentials(house)
    give_webhook(house)


def give_webhook(house: House) -> None:
    """A webhook, whose secret signs what its receiver gets and stands nowhere."""
    sign = credentials.request(a_signer("private consumer"), house.world.domain, house.world.lane)
    with httpx.Client(base_url=house.process.http.base_url, auth=Signing(sign)) as client:
        body = {"url": f"{house.collector.url}/webhook", "events": ["budget.reached"]}
        made = client.post("/v1/webhooks", json=body)
        assert made.status_code == 201, made.text
        secret = made.json()["secret"]
        house.canaries.secret["secret of a webhook"] = secret.removeprefix("whsec_")
        house.canaries.secret["bytes of a webhook's secret"] = base64.b64decode(secret[6:]).hex()
        assert client.post(f"/v1/webhooks/{made.json()['id']}/test").status_code == 202
    eventually(lambda: [one for one in house.collector.asked if one.path == "/webhook"])


def give_credentials(house: House) -> None:
    """The chat model's node wants a credential from now on."""
    given = {"X-Api-Key": house.canaries.hide("credential")}
    subject = house.world.publish(a_model("@acme/chat", owner=did(house.world.chain_id, MAKER.address)))
    named = to_hex(credentials_hash(SALT, given))
    offer = house.world.offer(subject, f"{house.node.url}/good", credentials=named)
    answer = house.process.http.post("/v1/offers", json={"offer": offer, "credentials": given, "salt": to_hex(SALT)})
    assert answer.status_code == 201, answer.text

    def is_given() -> bool:
        called = house.send(WAYS["chat"], "@acme/chat", "hi", {"Authorization": f"Bearer {house.key}"})
        assert called.status_code == 200, called.text
        return house.node.asked[-1].headers.get("x-api-key") == given["X-Api-Key"]

    eventually(is_given)


@asynccontextmanager
async def tunnelled(house: House) -> AsyncIterator[None]:
    """The product's node behind a tunnel: it resells a server that wants a key, and logs what it served."""
    served = ServedLog(house.folder / "served.sqlite")

    def list_keys(lane: bytes) -> frozenset[Address]:
        return frozenset(address(key) for key in httpx.get(f"{house.url}/v1/lane").json()["gateways"])

    async with aiohttp.ClientSession() as http:
        upstream = Upstream(f"{house.node.url}/resold", "m", house.canaries.hide("key of the resold server"))
        models = LoadedModels([("@acme/home", Resold(upstream, http))])
        witness = Witness(PROVIDER, house.world.domain, {}, served)
        runner = web.AppRunner(application(State(models, Callers(PROVIDER, PRIVATE_LANE, list_keys), witness)))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        local = f"http://127.0.0.1:{runner.addresses[0][1]}"
        tunnel = Tunnel(
            house.url, local, Identity(PROVIDER, house.world.domain, PRIVATE_LANE, "home", [cid(house.home)])
        )
        running = asyncio.create_task(tunnel.run())
        await asyncio.wait_for(tunnel.opened.wait(), 20)
        yield
        running.cancel()
        await runner.cleanup()
    served.close()


def settle(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker does: post, close a batch, publish it, check the books."""
    context = Context(settings_for(house.world.url, lane=PRIVATE_LANE, window_seconds=0, batch_seconds=0))
    monkeypatch.setattr(context.__class__, "domain", house.world.domain)  # a private grid's worker asks no chain
    monkeypatch.setattr(tasks, "here", lambda: context)
    with unit_of_work(house.world.engine) as session:
        paying = session.execute(text("SELECT DISTINCT consumer FROM receipts")).scalars()
        lanes.assign(session, PRIVATE_LANE, [Address(bytes(one)) for one in paying])
    tasks.post.run(to_hex(Signer(keccak256(house.process.name.encode())).address))
    tasks.close.run()
    tasks.publish.run()
    tasks.reclaim.run()
    tasks.audit.run()
    context.engine.dispose()


@contextmanager
def logging_all() -> Iterator[io.StringIO]:
    """This process's log at debug level, as the product writes it, but for this test's own HTTP client."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    log.configure("DEBUG")
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).disabled = True
    try:
        yield written
    finally:
        root.handlers, root.level = handlers, level
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).disabled = False


async def live(house: House, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Every call, every refusal, and a batch. Returns all that anything keeps or shows of it, nodes apart."""
    with logging_all() as written:
        async with tunnelled(house):
            for step in (pay_in, serve_all, refuse_all, fail_all, refuse_others, break_all):
                await asyncio.to_thread(step, house)
            await greet(house)
            metrics = house.process.http.get("/metrics").content
            await asyncio.to_thread(settle, house, monkeypatch)
            [batch] = house.process.http.get("/v1/settlement/batches").json()["data"]
            file = house.process.http.get(batch["file"]).content
            assert to_hex(hashlib.sha256(file).digest()) == batch["header"]["data_ref"], file
            assert batch["calls"] > len(WAYS), batch
        house.process.process.terminate()
        await asyncio.to_thread(house.process.process.wait, 40)
    assert house.process.log is not None
    places = {
        "gateway's log": house.process.log.read_bytes(),
        "node's and worker's log": written.getvalue().encode(),
        "metrics": metrics,
        "traces": joined(asked.body for asked in house.collector.asked),
        "batch file": file,
        "batch": json.dumps(batch).encode(),
        "served log": joined(one.read_bytes() for one in house.folder.glob("served.sqlite*")),
    }
    assert all(places.values()), {place: len(content) for place, content in places.items()}
    return places | database(house.world.engine)


def at_nodes(house: House) -> Places:
    """What the nodes got, by their part of the server's paths."""
    found: dict[str, list[bytes]] = {}
    for asked in house.node.asked:
        head = json.dumps([asked.path, asked.headers]).encode()
        found.setdefault(f"node {first_part(asked.path)}", []).extend((head, asked.body))
    return {place: joined(parts) for place, parts in found.items()}


def test_a_word_is_found_in_every_place_and_form(engine: Engine) -> None:
    canaries = Canaries()
    word = canaries.say("a word")
    with unit_of_work(engine) as session:
        rows = {"lane": b"1", "gateway": b"2", "first": 1, "last": 2, "at": 3}
        session.execute(insert(QuarantineRow).values({**rows, "reason": f"because of {word}"}))
        session.execute(insert(TermsRow).values({"id": b"1", "body": b"\0" + word.encode()}))
        session.execute(insert(ApiKeyRow).values(A_KEY | {"models": json.dumps([word])}))
    found = leaks(database(engine), canaries.all)
    assert sorted(found) == [
        f"database {one}: a word" for one in ("api_keys.models", "quarantine.reason", "terms.body")
    ]
    for form in (
        f"< BINARY 05 {word.encode().hex(' ')} 2c",
        f"{b'x' + word.encode() + b'yz'!r}",
        word.encode().hex().upper(),
    ):
        assert leaks({"a log": form.encode()}, canaries.all) == ["a log: a word"]
    for before in ("", "u", "us", "use"):
        basic = base64.b64encode(f"{before}{word}:password".encode())
        assert leaks({"a head": basic}, canaries.all) == ["a head: a word"]
    assert leaks({"a log": word[:-1].encode()}, canaries.all) == []


async def test_what_is_said_is_at_its_node_only_and_keys_are_nowhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = await live(house, monkeypatch)
    canaries, nodes = house.canaries, at_nodes(house)
    found = leaks(places, canaries.all)
    assert not found, "\n".join(found)
    found = leaks(nodes, canaries.secret)
    assert found == ["node good: credential", "node resold: key of the resold server"], "\n".join(found)
    prompts = {where: word for where, word in canaries.said.items() if re.match("prompt of .* (by|to)", where)}
    came = {found.partition(": ")[2] for found in leaks(nodes, prompts)}
    assert came == prompts.keys(), "each call that should reach a node did"
    theirs = ("credential", "key of the resold server")
    assert leaks({"answers": joined(house.answers)}, {where: canaries.secret[where] for where in theirs}) == []
