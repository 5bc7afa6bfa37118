"""The table of bounds, a test a row: one beyond it is cut, one below is served, and so are others meanwhile.

The numbers stand here as GATEWAY has them; no test reads them from the code. What takes long is marked slow.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway import bounds
from gateway.__main__ import allow_files
from gateway.call.idempotency import Answers, StoredResponse
from gateway.dialects.messages import Messages
from gateway.dialects.responses import Responses
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Signer
from tests.attacks.strangers import (
    ATTACKER,
    OTHER,
    chat,
    chat_body,
    dial,
    flood,
    head,
    is_closed,
    others_served,
    read,
    read_answer,
    send,
)
from tests.gateway.nodes import Asked, Node, Wire, answering, piece
from tests.gateway.nodes import chat as a_chat
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World, a_signer, code_of

KIB, MIB = 2**10, 2**20
PATH = "/v1/chat/completions"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 10**9)
    return gateway.key(consumer)


def a_head(size: int) -> bytes:
    """A head of a GET, of so many bytes."""
    short = head("GET", "/health", "X-Long: ")
    return head("GET", "/health", "X-Long: " + "x" * (size - len(short)))


@pytest.fixture(scope="module", autouse=True)
def files() -> None:
    """Both ends of a connection are in this process: it may open as many files as a gateway's."""
    allow_files()


def test_a_gateway_takes_more_connections_than_the_open_files_a_process_has_at_first() -> None:
    script = """
import resource
from gateway import bounds
from gateway.__main__ import allow_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
allow_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert int(said.stdout) > 2_048


# A request's head
def test_a_head_has_32_kib(gateway: Running) -> None:
    with others_served(gateway):
        assert send(gateway, a_head(32 * KIB))[0] == 200
        assert send(gateway, a_head(32 * KIB + 1))[0] == 431
        assert send(gateway, a_head(60 * MIB))[0] in (0, 431)


def test_a_head_in_pieces_has_32_kib_too(gateway: Running) -> None:
    longest = a_head(32 * KIB)
    assert send(gateway, longest[:100], longest[100:-2], longest[-2:])[0] == 200
    with others_served(gateway), dial(gateway) as wire:
        flood(wire, b"GET /health HTTP/1.1\r\nX-Long: ", *[b"x" * 1000] * 1000)
        assert is_closed(wire)


def test_a_head_after_a_body_has_32_kib_too(gateway: Running, key: str) -> None:
    with dial(gateway) as wire:
        wire.sendall(chat(key) + a_head(32 * KIB))
        assert [read_answer(wire)[0] for _ in range(2)] == [200, 200]
    with dial(gateway) as wire:
        wire.sendall(chat(key))
        assert read_answer(wire)[0] == 200
        wire.sendall(a_head(32 * KIB + 1))
        assert read_answer(wire)[0] == 431


def test_a_head_has_100_headers(gateway: Running) -> None:
    some = [f"X-{n}: y" for n in range(99)]
    assert send(gateway, head("GET", "/health", *some))[0] == 200
    assert send(gateway, head("GET", "/health", *some, "X-99: y"))[0] == 431
    with others_served(gateway):
        assert send(gateway, head("GET", "/health", *["X: y"] * 1_000_000))[0] in (0, 431)


def test_requests_may_be_sent_ahead_but_not_without_end(gateway: Running) -> None:
    one = head("GET", "/health")
    with dial(gateway) as wire:
        wire.sendall(one * 200 + head("GET", "/health", "Connection: close"))
        assert read(wire).count(b"HTTP/1.1 200") == 201
    for endless in (one * 200_000, b"\r\n" * 2_000_000):
        with others_served(gateway), dial(gateway) as wire:
            flood(wire, endless)
            assert is_closed(wire, 20)


@pytest.mark.slow
def test_what_is_late_or_idle_is_closed(gateway: Running, key: str) -> None:
    """One socket a row, all at once, because the longest bound is 75 s."""
    body = chat_body()
    begun = {
        "silent": (b"", 75.0),
        "half a head": (b"GET /health HTTP/1.1\r\nHost: ", 10.0),
        "half a body of another route": (head("POST", "/v1/keys", length=100) + b"{", 10.0),
        "half a paid body": (chat(key)[: -len(body) // 2], 60.0),
        "an answered connection": (head("GET", "/health"), 75.0),
    }
    wires = {}
    for name, (sent, _) in begun.items():
        wires[name] = dial(gateway, seconds=100)
        wires[name].sendall(sent)
    assert read_answer(wires["an answered connection"])[0] == 200
    started = time.monotonic()
    for name, (_, seconds) in sorted(begun.items(), key=lambda row: row[1][1]):
        assert is_closed(wires[name], 100), name
        took = time.monotonic() - started
        assert seconds - 2 < took < seconds + 12, f"{name} was closed after {took} s"
        wires[name].close()


# Connections without an admitted call
def test_an_address_has_64_connections_that_carried_no_admitted_call(gateway: Running, key: str) -> None:
    wires = [dial(gateway) for _ in range(64)]
    time.sleep(2.5)
    wires[0].sendall(head("GET", "/health"))
    assert read_answer(wires[0])[0] == 200, "64 stay open"
    with others_served(gateway):
        newcomer = dial(gateway)
        assert is_closed(wires[0]), "the oldest goes"
        newcomer.sendall(head("GET", "/health"))
        assert read_answer(newcomer)[0] == 200, "never the newcomer"
        assert send(gateway, chat(key), source=OTHER)[0] == 200
    for wire in [*wires, newcomer]:
        wire.close()


def test_connections_that_carried_an_admitted_call_are_not_limited(gateway: Running, key: str) -> None:
    wires = [dial(gateway) for _ in range(80)]
    for wire in wires:
        wire.sendall(chat(key))
    assert {read_answer(wire)[0] for wire in wires} == {200}
    time.sleep(2.5)
    for wire in wires:
        wire.sendall(head("GET", "/health"))
    assert {read_answer(wire)[0] for wire in wires} == {200}
    for wire in wires:
        wire.close()


def test_a_key_without_money_admits_no_connection(gateway: Running, consumer: Signer) -> None:
    poor = gateway.key(consumer)
    wires = [dial(gateway) for _ in range(65)]
    for wire in wires:
        wire.sendall(chat(poor))
    assert {read_answer(wire)[0] for wire in wires[1:]} == {402}
    assert any(is_closed(wire, 0.2) for _ in range(20) for wire in wires)
    for wire in wires:
        wire.close()


def test_all_addresses_have_2048_connections_and_the_one_with_most_loses(gateway: Running, key: str) -> None:
    wires = [dial(gateway, f"127.0.1.{n}") for n in range(1, 34) for _ in range(62)]  # 2,046
    most = [dial(gateway, ATTACKER) for _ in range(2)]
    quiet = dial(gateway, OTHER)
    assert is_closed(wires[0]), "the oldest of an address that has most"
    for wire in [wires[1], *most, quiet]:
        wire.sendall(head("GET", "/health"))
        assert read_answer(wire)[0] == 200
    with others_served(gateway):
        more = [dial(gateway, f"127.0.2.{n}") for n in range(1, 200)]
        for wire in [*most, quiet, *more[:10]]:
            wire.sendall(head("GET", "/health"))
            assert read_answer(wire)[0] == 200, "who has few keeps them"
        assert send(gateway, chat(key), source=OTHER)[0] == 200
    for wire in [*wires, *most, quiet, *more]:
        wire.close()


def test_half_bodies_of_strangers_take_no_call_from_consumers(gateway: Running, key: str) -> None:
    with others_served(gateway):
        wires = [dial(gateway, f"127.0.1.{n}") for n in range(1, 34) for _ in range(32)]
        for wire in wires:
            wire.sendall(head("POST", PATH, length=100) + b"{")
        assert gateway.chat(key).status_code == 200
        assert gateway.gateway.open_calls == 0
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("path", ["/mcp", "/a2a"])
def test_an_address_has_8_requests_of_agents_until_one_shows_a_key(gateway: Running, key: str, path: str) -> None:
    with others_served(gateway):
        wires = [dial(gateway) for _ in range(9)]
        for wire in wires:
            wire.sendall(head("POST", path, "Content-Type: application/json", length=100) + b"{")
        status, said = read_answer(wires[0])
        assert (status, json.loads(said)["error"]["data"]["code"]) == (503, "overloaded")
        content = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).encode()
        lines = (f"Authorization: Bearer {key}", "Content-Type: application/json", "Accept: application/json")
        status, _ = send(gateway, head("POST", path, *lines, length=len(content)) + content)
        assert status == 200
        assert gateway.gateway.agents.taken(ATTACKER) == 8
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("path", ["/mcp", "/a2a"])
def test_a_request_of_an_agent_has_1_mib_and_200_000_values(gateway: Running, key: str, path: str) -> None:
    keyed = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept": "application/json"}
    with others_served(gateway):
        for size, status in ((MIB, 400), (MIB + 1, 413)):
            assert gateway.http.post(path, content=b"x" * size, headers=keyed).status_code == status
        many = gateway.http.post(path, content=b"[" + b"1," * 200_000 + b"1]", headers=keyed).json()["error"]
        assert many["data"]["values"] == 200_000


# Behind proxies
def test_behind_a_trusted_proxy_the_forwarded_address_counts(world: World, node: Node) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(trusted_proxies="127.0.0.2/32, 10.0.0.0/8", body_seconds=1)
    slow = head("POST", "/v1/quote", "X-Forwarded-For: 9.9.9.9, 8.8.8.8, 10.0.0.7", length=100) + b"{"
    wires = [dial(gateway) for _ in range(64)]
    for wire in wires:
        wire.sendall(slow)
    time.sleep(2.5)
    other = head("GET", "/health", "X-Forwarded-For: 8.8.4.4")
    assert send(gateway, other)[0] == 200, "the proxy's own connections are not limited"
    newcomer = dial(gateway)
    newcomer.sendall(slow)
    assert read_answer(wires[0])[0] == 503, "the oldest request of the address"
    forged = [dial(gateway, OTHER) for _ in range(64)]
    for wire in forged:
        wire.sendall(head("GET", "/health", "X-Forwarded-For: 1.1.1.1"))
        assert read_answer(wire)[0] == 200
    last = dial(gateway, OTHER)
    assert is_closed(forged[0]), "who is no proxy is counted by its own address"
    for wire in [*wires, newcomer, *forged, last]:
        wire.close()


# Bodies
def test_a_paid_body_has_20_mib(gateway: Running, key: str) -> None:
    whole = chat_body(messages=[{"role": "user", "content": ""}])
    longest = whole.replace(b'"content": ""', b'"content": "%b"' % (b"x" * (20 * MIB - len(whole))))
    assert len(longest) == 20 * MIB
    assert send(gateway, chat(key, body=longest))[0] == 200
    with others_served(gateway):
        assert send(gateway, chat(key, body=longest + b" "))[0] == 413


def test_a_body_is_read_only_after_its_key_was_checked(gateway: Running, key: str) -> None:
    wrong = head("POST", PATH, "Authorization: Bearer tw_wrong", length=10 * MIB)
    with dial(gateway) as wire:
        wire.sendall(wrong)
        assert read_answer(wire)[0] == 401, "before any of the body"
        wire.sendall(b"x" * (10 * MIB))
        assert is_closed(wire), "what was on its way is read and dropped, and then the connection ends"
    with dial(gateway) as wire:
        wire.sendall(head("POST", PATH, "Authorization: Bearer tw_wrong", "Expect: 100-continue", length=100))
        assert read(wire).startswith(b"HTTP/1.1 401"), "and nobody is asked to go on"


def test_a_form_has_32_parts_with_heads_of_2_kib_and_fields_of_64_kib(gateway: Running, key: str) -> None:
    disposition = b'Content-Disposition: form-data; name="%b"'

    def asked(*parts: tuple[bytes, bytes]) -> int:
        file = (disposition % b'file"; filename="a', b"OggS")
        whole = b"".join(b"--b\r\n%b\r\n\r\n%b\r\n" % one for one in (*parts, file)) + b"--b--\r\n"
        lines = (f"Authorization: Bearer {key}", "Content-Type: multipart/form-data; boundary=b")
        return send(gateway, head("POST", "/v1/audio/transcriptions", *lines, length=len(whole)) + whole)[0]

    model, other = (disposition % b"model", b"@no/model"), (disposition % b"x", b"1")
    longest = b"X: " + b"x" * (2 * KIB - len(disposition % b"x") - 11) + b"\r\n" + disposition % b"x"
    with others_served(gateway):
        assert asked(model, *[other] * 30) == 404, "it was read, and there is no such model"
        assert asked(model, *[other] * 31) == 400
        assert asked(model, *[other] * 100_000) == 400
        assert asked(model, (longest, b"1")) == 404
        assert asked(model, (b"x" + longest, b"1")) == 400
        assert asked(model, (disposition % b"x", b"1" * 64 * KIB)) == 404
        assert asked(model, (disposition % b"x", b"1" * (64 * KIB + 1))) == 400


@pytest.mark.slow
def test_what_comes_after_a_refusal_is_dropped_for_5_seconds_or_20_mib(gateway: Running) -> None:
    wrong = head("POST", PATH, "Authorization: Bearer tw_wrong", length=100 * MIB)
    with dial(gateway) as silent, dial(gateway) as endless:
        for wire in (silent, endless):
            wire.sendall(wrong)
            assert read_answer(wire)[0] == 401
        began = time.monotonic()
        assert 19 * MIB < flood(endless, *[b"x" * 65536] * 1600) < 40 * MIB
        while is_open_for_writing(silent):
            time.sleep(0.1)
        assert 4 < time.monotonic() - began < 9


def is_open_for_writing(wire: socket.socket) -> bool:
    """Whether the other side still takes a byte: a closed one resets."""
    return flood(wire, b"x") > 0


@pytest.mark.parametrize("route", ["/v1/keys", "/v1/documents", "/v1/offers", "/v1/deposits", "/v1/quote"])
def test_a_body_of_another_route_has_256_kib(gateway: Running, route: str) -> None:
    def asked(size: int) -> tuple[int, bytes]:
        return send(gateway, head("POST", route, "Content-Type: application/json", length=size) + b"{" * size)

    assert asked(256 * KIB)[0] in (400, 422)
    assert asked(256 * KIB + 1)[0] == 413
    with others_served(gateway):
        endless = head("POST", route, "Transfer-Encoding: chunked")
        assert send(gateway, endless, *[b"10000\r\n%b\r\n" % (b"{" * 65536)] * 160)[0] in (0, 413)


def test_json_has_64_levels(gateway: Running, key: str) -> None:
    def nested(levels: int) -> bytes:
        inner = b"[" * (levels - 1) + b'"]\\"[[[\\\\"' + b"]" * (levels - 1)
        return b'{"model": "@acme/chat", "max_tokens": 5, "messages": [], "x": %b}' % inner

    for body, status in ((nested(64), 200), (nested(65), 400), (nested(5000), 400)):
        assert send(gateway, chat(key, body=body))[0] == status
        assert send(gateway, chat(key, body=body.replace(b'"x"', b'"stream": false, "x"')))[0] == status
    for route in ("/v1/quote", "/v1/discover", "/v1/keys", "/v1/invoke", "/v2/models/@acme/chat/infer"):
        lines = (f"Authorization: Bearer {key}",)
        status, answer = send(gateway, head("POST", route, *lines, length=len(nested(70))) + nested(70))
        assert (status, b"64" in answer) == (400, True), route
    many = chat_body(messages=[{"role": "user", "content": [{"type": "text", "text": "{[\\"}]}] * 2000)
    assert send(gateway, chat(key, body=many))[0] == 200, "it counts levels, not brackets"
    with others_served(gateway):
        wide = chat_body(x="").replace(b'"x": ""', b'"x": [%b[]]' % (b"[]," * (MIB // 3)))
        assert send(gateway, chat(key, body=wide))[0] in (200, 402)


def test_brackets_and_tensors_without_end_delay_nobody(gateway: Running, key: str) -> None:
    """20 MiB of brackets took the loop 4.5 s, and as many of empty lists in an inference request 5 s."""
    bracketed = [b"[" * (8 * MIB), b"[" * (4 * MIB) + b"]" * (4 * MIB), (b"[" * 64 + b"]" * 64) * (MIB // 16)]
    with others_served(gateway):
        assert [send(gateway, chat(key, body=body))[0] for body in bracketed] == [400] * 3
        for lists, said in ((499_998, b"wrong_protocol"), (499_999, b"500000"), (2 * MIB, b"500000")):
            tensors = b'{"inputs": [%b0]}' % (b"[]," * lists)
            infer = head("POST", "/v2/models/@acme/chat/infer", f"Authorization: Bearer {key}", length=len(tensors))
            status, answer = send(gateway, infer + tensors)
            assert (status, said in answer) == (400, True), (lists, answer)


# A client that reads nothing
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_its_answer_is_gone_after_60_seconds(
    world: World,
    gateway: Running,
    node: Node,
    key: str,
    consumer: Signer,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    """16 MiB stayed for ever, for each connection; and so did an open call and its hold, for a stream."""
    assert (bounds.UNREAD_SECONDS, bounds.UNREAD_BYTES) == (60, 256 * KIB)
    monkeypatch.setattr(bounds, "UNREAD_SECONDS", 1)
    long = "x" * (16 * MIB)

    async def much(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        for at in range(0, len(long), MIB // 2):
            await wire.event(piece(long[at : at + MIB // 2]))
        await wire.closed()

    node.behaviour = much if stream else answering(a_chat(long))
    connections = gateway.server.server_state.connections
    others = set(connections)
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", gateway.port))
        wire.sendall(chat(key, body=chat_body(stream=stream)))
        eventually(lambda: gateway.gateway.connections.unread)
        eventually(lambda: connections <= others)
        eventually(lambda: not gateway.gateway.open_calls and not gateway.gateway.leases.outstanding())
        assert not gateway.gateway.connections.unread
    eventually(lambda: gateway.world.receipts_of(consumer.address))
    [signed] = gateway.world.receipts_of(consumer.address)
    assert signed.receipt.end.name == ("client_abort" if stream else "normal")
    node.behaviour = answering(a_chat(long))
    assert len(send(gateway, chat(key))[1]) > 16 * MIB


# A model's name
def test_a_models_name_has_128_characters(gateway: Running, key: str) -> None:
    near = "@acme/" + "c" * 122
    answer = gateway.chat(key, near)
    assert (answer.status_code, code_of(answer.json())) == (404, "model_not_found")
    assert gateway.chat(key, "@acme/chut").json()["error"]["nearest"] == ["@acme/chat"]
    with others_served(gateway):
        for name in (near + "c", "@acme/chat" * 100_000):
            answer = gateway.chat(key, name)
            assert (answer.status_code, code_of(answer.json())) == (400, "invalid_request")
            assert len(answer.content) < 300, "it is not repeated"
        for path in ("/v1/models/", "/v2/models/"):
            answer = gateway.http.get(path + near + "c")
            assert answer.status_code == 400, path
            assert len(answer.content) < 300
        quoted = gateway.http.post("/v1/quote", json={"model": "@acme/chat" * 10_000})
        assert quoted.status_code == 400


# What costs the gateway work
def test_an_address_sends_60_wrong_credentials_a_minute(gateway: Running, key: str) -> None:
    with others_served(gateway), dial(gateway) as wire:
        began = time.monotonic()
        statuses: list[int] = []
        while 429 not in statuses and len(statuses) < 100:
            wire.sendall(head("GET", "/v1/balance", f"Authorization: Bearer tw_{len(statuses)}"))
            statuses.append(read_answer(wire)[0])
        assert 60 <= statuses.count(401) <= 62 + time.monotonic() - began, "60 at once, and one a second"
        assert send(gateway, chat("tw_wrong"))[0] == 429
        assert send(gateway, chat(key))[0] == 429, "a key that was never seen is not looked up"
        assert send(gateway, chat(key), source=OTHER)[0] == 200
        assert send(gateway, chat(key))[0] == 200, "a key that is known may be behind the same address"
        assert send(gateway, chat("tw_wrong"), source=OTHER)[0] == 401
        assert send(gateway, head("GET", "/v1/models"))[0] == 200, "who shows none is not refused"


def test_a_voucher_without_a_deposit_is_a_wrong_credential(gateway: Running) -> None:
    """Anybody signs as many as it likes, and each cost a signature's check and a read of the database."""
    gateway.gateway.failures = bounds.Rates(3)
    statuses = []
    for n in range(6):
        voucher = json.dumps(gateway.voucher(a_signer(f"nobody {n}"), 10**6))
        body = chat_body()
        statuses.append(send(gateway, head("POST", PATH, f"Tollway-Voucher: {voucher}", length=len(body)) + body)[0])
    assert statuses[:3] == [402] * 3
    assert statuses[-1] == 429


def test_an_address_leaves_120_rows_a_minute(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("gateway.bounds.monotonic", lambda: now)  # two more are allowed each second
    with others_served(gateway), dial(gateway) as wire:
        statuses: list[int] = []
        while 429 not in statuses and len(statuses) < 200:
            wire.sendall(head("POST", "/v1/documents", length=2) + b"{}")
            statuses.append(read_answer(wire)[0])
        assert statuses.count(400) == 120
        assert send(gateway, head("POST", "/v1/deposits", length=2) + b"{}")[0] == 429
        assert send(gateway, head("POST", "/v1/webhooks/hook_1/test"))[0] == 429
        assert send(gateway, head("POST", "/v1/documents", length=2) + b"{}", source=OTHER)[0] == 400


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_a_request_for_no_path_is_answered(gateway: Running, method: str) -> None:
    assert send(gateway, head(method, "*"))[0] in (404, 405)


def test_an_address_is_shown_240_pages_a_minute(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("gateway.bounds.monotonic", lambda: now)  # four more are allowed each second
    with others_served(gateway), dial(gateway) as wire:
        statuses: list[int] = []
        while 429 not in statuses and len(statuses) < 1_000:
            wire.sendall(head("GET", "/keys/none"))
            statuses.append(read_answer(wire)[0])
        assert statuses.count(404) == 240
        for as_dear in ("/", "/v1/payees/0x00", "/v1/proofs/receipt/1", "/overview/events"):
            assert send(gateway, head("GET", as_dear))[0] == 429
        assert send(gateway, head("GET", "/v1/models"))[0] == 200
        assert send(gateway, head("GET", "/"), source=OTHER)[0] == 200


def test_all_addresses_together_leave_1200_rows_a_minute_and_then_few_each(gateway: Running) -> None:
    """Whoever has many addresses wrote without a bound, and a bound for all together would have shut out the others."""
    post = head("POST", "/v1/documents", length=2) + b"{}"
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < 100:
        for number in range(1_200 if not statuses else 100):
            gateway.gateway.writes.note(f"10.0.0.{number % 250}")
        statuses.append(send(gateway, post)[0])
    assert statuses[:6] == [400] * 6
    assert statuses[-1] == 429, "though the address has sent fewer than 120"
    assert send(gateway, post, source=OTHER)[0] == 400


def test_a_body_for_another_gateways_tunnel_is_read_after_its_proof(gateway: Running) -> None:
    forged = f"0-{'ab' * 32}-{'cd' * 32}"
    path = "/v1/tunnel/0x" + "11" * 20 + PATH
    assert send(gateway, head("POST", path, f"tollway-relay: {forged}", length=10 * MIB))[0] == 401


# Other protocols, and clients that close their side
def test_an_offer_of_another_protocol_is_ignored(gateway: Running, key: str) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA")
    for lines in (offer, ("Connection: Upgrade", "uPGRADE: websocket"), ("Connection: upgrade", "Upgrade: TLS/1.0")):
        status, answer = send(gateway, chat(key, *lines))
        assert (status, b"hello there" in answer) == (200, True), lines
    whole = chat(key, *offer)
    at = whole.index(b"Upgrade: h2c") + 4
    assert send(gateway, whole[:at], whole[at:])[0] == 200, "also one that comes in two packets"
    assert send(gateway, head("GET", "/health", *offer))[0] == 200


def test_a_client_that_closes_its_side_after_the_request_is_served(
    world: World, gateway: Running, key: str, consumer: Signer
) -> None:
    for lines in ((), ("Connection: close",)):
        with dial(gateway) as wire:
            wire.sendall(chat(key, *lines))
            wire.shutdown(socket.SHUT_WR)
            status, answer = read_answer(wire)
            assert (status, b"hello there" in answer) == (200, True)
            assert is_closed(wire)
    assert [one.receipt.end.name for one in world.receipts_of(consumer.address)] == ["normal"] * 2


def test_there_is_no_page_with_scripts_of_others(gateway: Running) -> None:
    page, none = gateway.http.get("/docs"), gateway.http.get("/redoc")
    assert (page.status_code, none.status_code) == (200, 404)
    assert re.findall(r"(?:https?:)?//[^\s\"']+", page.text) == []


# What is kept of answers
CALLER, NEIGHBOUR = a_signer("caller").address, a_signer("neighbour").address


def kept_of(answers: Answers, sizes: list[int]) -> list[bool]:
    """Which of the answers to as many calls, of bodies of these sizes, are kept at the end."""
    ids = [Digest(keccak256(b"%d" % number)) for number in range(len(sizes))]
    for call, size in zip(ids, sizes, strict=True):
        assert answers.begin(call, b"a request") is None
        answers.finish(call, CALLER, StoredResponse(200, [], b"x" * size))
    return [answers.begin(call, b"a request") is not None for call in ids]


def test_a_kept_answer_has_4_mib_and_all_have_64_mib(gateway: Running) -> None:
    answers = gateway.gateway.answers
    assert kept_of(answers, [4 * MIB, 4 * MIB + 1]) == [True, False]
    assert kept_of(Answers(), [4 * MIB] * 17) == [False] + [True] * 16
    headers = StoredResponse(200, [(b"x", b"y" * 4 * MIB)], b"")
    answers.begin(Digest(bytes(32)), b"a request")
    answers.finish(Digest(bytes(32)), CALLER, headers)
    assert answers.begin(Digest(bytes(32)), b"a request") is None, "headers count too"


@pytest.mark.parametrize(("many", "size"), [(40, 4 * MIB), (10_000, 1)])
def test_nobodys_kept_answers_take_the_place_of_others(many: int, size: int) -> None:
    """17 answers of 4 MiB were enough to make everybody's retries fail that were charged already."""
    answers, mine = Answers(), Digest(keccak256(b"mine"))
    assert answers.begin(mine, b"a request") is None
    answers.finish(mine, NEIGHBOUR, StoredResponse(200, [], b"x" * size))
    kept = kept_of(answers, [size] * many)
    assert answers.begin(mine, b"a request") is not None
    assert sum(kept) == min(9_999, 64 * MIB // size - 1)
    assert not kept[0], "the oldest of who has most"


def test_10_000_answers_are_kept() -> None:
    assert kept_of(Answers(), [0] * 10_001) == [False] + [True] * 10_000


def test_a_body_has_40_000_strings(gateway: Running, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    known = ('"model":"@acme/chat"', '"messages":[]', '"max_tokens":5', '"user":"\\"' + '\\"' * 80_000 + '"')
    strings = 6  # four keys and two texts; a quote in a text makes none
    with others_served(gateway):
        for more, status in ((40_000 - strings, 200), (40_001 - strings, 400), (200_000, 400)):
            rows = (*known, *(f'"{number:x}":0' for number in range(more)))
            answer = gateway.http.post(PATH, content=f"{{{','.join(rows)}}}", headers=headers)
            assert answer.status_code == status, answer.text[:300]


# A packed body
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_packed_body_holds_256_kib_or_32_times_its_own(
    gateway: Running, key: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    shown = {"Authorization": f"Bearer {key}"}

    def call(body: bytes, **more: str) -> httpx.Response:
        return gateway.http.post(PATH, content=body, headers={**headers, **more})

    def padded(size: int) -> bytes:
        return chat_body().ljust(size, b" ")

    assert call(pack(padded(256 * KIB)), **shown).status_code == 200
    with others_served(gateway):
        for size in (256 * KIB + 1, 19 * MIB):
            answer = call(pack(padded(size)), **shown)
            assert (answer.status_code, code_of(answer.json())) == (413, "body_too_large")
    noise = json.dumps({"model": "@acme/chat", "messages": [{"role": "user", "content": os.urandom(300 * KIB).hex()}]})
    assert call(pack(noise.encode()), **shown).status_code == 200, "what is no bomb may be longer"
    for odd in (pack(chat_body())[:-3], pack(chat_body()) + b"x", b"", chat_body()):
        answer = call(odd, **shown)
        assert (answer.status_code, code_of(answer.json())) == (400, "invalid_encoding"), odd
    unknown = call(chat_body(), **{**shown, "Content-Encoding": "br"})
    assert (unknown.status_code, code_of(unknown.json())) == (415, "unknown_encoding")


def test_an_answer_in_another_protocol_has_1024_calls_of_functions() -> None:
    """A node may name 20,000 in each event, and each becomes several events there, and an object of the last one."""
    calls = [{"id": f"call_{n}", "function": {"name": "f"}} for n in range(1025)]
    for most in (1024, 1025):
        answer = json.dumps({"choices": [{"message": {"tool_calls": calls[:most]}}]}).encode()
        assert len(json.loads(Responses().whole(answer))["output"]) == 1024
        assert len(json.loads(Messages().whole(answer))["content"]) == 1024
