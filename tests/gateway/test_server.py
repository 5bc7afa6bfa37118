"""HTTP as uvicorn serves it here: bodies in any form, pipelines, streams. Its bounds: tests/attacks."""

from __future__ import annotations

import json
import socket
import time

import pytest

from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, streaming
from tests.gateway.world import Running, World


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 100_000)
    return gateway.key(consumer)


def asked(key: str, *more: str, body: bytes | None = None, stream: bool = False, version: str = "1.1") -> bytes:
    """A request, byte by byte."""
    sent = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": stream}
    whole = json.dumps(sent).encode() if body is None else body
    length = [] if any("chunked" in line for line in more) else [f"Content-Length: {len(whole)}"]
    head = [f"POST /v1/chat/completions HTTP/{version}", "Host: here", f"Authorization: Bearer {key}", *length, *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + whole


def exchange(gateway: Running, *pieces: bytes, until: bytes, times: int = 1, pause: float = 0.0) -> bytes:
    """Send pieces, and read until `until` has come so often or the connection ends."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as wire:
        for piece in pieces:
            wire.sendall(piece)
            time.sleep(pause)
        got = b""
        while got.count(until) < times:
            more = wire.recv(65536)
            if not more:
                break
            got += more
        return got


def test_the_head_and_the_body_of_an_answer_leave_in_one_write(gateway: Running, key: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as wire:
        wire.sendall(asked(key))
        head, _, body = wire.recv(65536).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"hello there" in body


def test_a_body_may_come_in_one_packet_in_many_or_in_chunks(gateway: Running, key: str) -> None:
    whole = asked(key)
    at_once = exchange(gateway, whole, until=b"hello there")
    cut = [whole[:40], whole[40:-30], whole[-30:-10], whole[-10:]]
    in_pieces = exchange(gateway, *cut, until=b"hello there", pause=0.05)
    body = whole.partition(b"\r\n\r\n")[2]
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    chunked = exchange(gateway, asked(key, "Transfer-Encoding: chunked", body=chunks), until=b"hello there")
    for answer in (at_once, in_pieces, chunked):
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(rest)}".encode() in head


def test_pipelined_requests_are_answered_in_order_each_once(
    world: World, gateway: Running, consumer: Signer, key: str
) -> None:
    answers = exchange(gateway, asked(key) + asked(key, stream=False) + asked(key), until=b"hello there", times=3)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert len(world.receipts_of(consumer.address)) == 3


def test_old_clients_and_those_that_ask_first_or_leave_after_are_served(gateway: Running, key: str) -> None:
    old = exchange(gateway, asked(key, version="1.0"), until=b"never")
    assert b"200 OK" in old
    assert b"connection: close" in old
    leaving = exchange(gateway, asked(key, "Connection: close"), until=b"never")
    assert b"connection: close" in leaving
    head, _, body = asked(key, "Expect: 100-continue").partition(b"\r\n\r\n")
    assert b"100 Continue" in exchange(gateway, head + b"\r\n\r\n", body, until=b"hello there", pause=0.2)


def test_a_stream_is_chunked_and_the_connection_serves_again(gateway: Running, node: Node, key: str) -> None:
    node.behaviour = streaming(4)
    two = exchange(gateway, asked(key, stream=True), asked(key, stream=True), until=b"0\r\n\r\n", times=2, pause=0.3)
    assert two.count(b"transfer-encoding: chunked") == 2
    assert two.count(b"data: [DONE]") == 2
