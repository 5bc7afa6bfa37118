"""What a node may send and how long it may take: one beyond each bound fails its attempt, one below is passed on."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.upstream.guard import Guard, networks
from ledger.core.values.ids import to_hex
from ledger.core.values.tunnel_frames import Frame, Kind, decode, encode, tunnel_hash
from ledger.core.values.typed_data import Signer, signing_digest
from tests.attacks.strangers import chat as asks
from tests.attacks.strangers import chat_body, head, others_served
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, chat, piece
from tests.gateway.test_operating import words_of
from tests.gateway.world import PROVIDER, Running, World, events_of

KIB, MIB = 2**10, 2**20
OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEGIN_SECONDS, CALL_SECONDS = 2, 4


@pytest.fixture
def patient(world: World, node: Node) -> Running:
    """A gateway that gives a node 2 s to begin and 4 s for all of it, but lets it be silent for longer."""
    world.a_model_at(node.url)
    running = world.gateway(first_byte_seconds=BEGIN_SECONDS, call_seconds=CALL_SECONDS, idle_stream_seconds=10)
    return running.send_no_probes()


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 10**9)
    return gateway.send_no_probes().key(consumer)


def sending(*pieces: bytes, pause: float = 0.0, for_ever: bytes = b"") -> Behaviour:
    """A node that sends bytes, and then others for ever."""

    async def behave(asked: Asked, wire: Wire) -> None:
        for one in pieces:
            wire.writer.write(one)
            await wire.writer.drain()
        while for_ever:
            wire.writer.write(for_ever)
            await wire.writer.drain()
            await asyncio.sleep(pause)

    return behave


def chunk(data: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: Any) -> bytes:
    """An event of a stream."""
    return chunk(b"data: " + json.dumps(data).encode() + b"\n\n")


# Time
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("first", "trickle"),
    [(OK, b"x-a: b\r\n"), (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"), (EVENTS, chunk(b": keepalive\n\n"))],
)
def test_head_and_first_token_come_in_time_whatever_else_comes(
    patient: Running, world: World, node: Node, consumer: Signer, first: bytes, trickle: bytes, stream: bool
) -> None:
    world.deposit(consumer.address, 10**9)
    node.behaviour = sending(first, for_ever=trickle, pause=0.2)
    began = time.monotonic()
    answer = patient.chat(patient.key(consumer), stream=stream)
    took = time.monotonic() - began
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "node_timeout")
    least = CALL_SECONDS if first == EVENTS and not stream else BEGIN_SECONDS
    assert least - 0.5 < took < least + 5, took
    assert patient.gateway.leases.outstanding() == 0


def test_a_whole_answer_comes_in_time(patient: Running, world: World, node: Node, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**9)
    key = patient.key(consumer)
    node.behaviour = sending(OK + b"content-length: 100000\r\n\r\n", for_ever=b" ", pause=0.2)
    began = time.monotonic()
    assert patient.chat(key).status_code == 504
    assert CALL_SECONDS - 0.5 < time.monotonic() - began < CALL_SECONDS + 5
    node.behaviour = sending(EVENTS, event(piece("a")), for_ever=event(piece("")), pause=0.2)
    began = time.monotonic()
    answer = patient.chat(key, stream=True)
    assert CALL_SECONDS - 0.5 < time.monotonic() - began < CALL_SECONDS + 5
    assert "node_timeout" in answer.text
    assert "[DONE]" not in answer.text


# Size
def test_a_nodes_head_has_64_kib(gateway: Running, node: Node, key: str) -> None:
    body = json.dumps(chat()).encode()

    def headed(size: int) -> bytes:
        return OK + b"x-a: %b\r\ncontent-length: %d\r\n\r\n" % (b"y" * size, len(body)) + body

    node.behaviour = sending(headed(63 * KIB))
    assert gateway.chat(key).status_code == 200
    with others_served(gateway):
        for behaviour in (sending(headed(65 * KIB)), sending(OK + b"x-a: ", for_ever=b"y" * MIB)):
            node.behaviour = behaviour
            assert gateway.chat(key).status_code == 502


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_event_has_1_mib(gateway: Running, node: Node, key: str, end: bytes) -> None:
    def events(size: int) -> list[bytes]:
        empty = b"data: " + json.dumps(piece("")).encode()
        long = empty.replace(b'"content": ""', b'"content": "%b"' % (b"x" * (size - len(empty))))
        assert len(long) == size
        whole = long + end + b"data: [DONE]" + end
        pieces = [whole[at : at + 50_000] for at in range(0, len(whole), 50_000)]
        return [EVENTS, *map(chunk, pieces), b"0\r\n\r\n"]

    node.behaviour = sending(*events(MIB))
    assert len(
        events_of(gateway.chat(key, stream=True).text.replace("\r", ""))[0]["choices"][0]["delta"]["content"]
    ) > (MIB - 1000)
    node.behaviour = sending(*events(MIB + 1))
    assert gateway.chat(key, stream=True).json()["error"]["code"] == "node_too_long"
    with others_served(gateway):
        node.behaviour = sending(EVENTS, event(piece("a")), for_ever=chunk(b"data: " + b"x" * 60_000))
        assert "node_too_long" in gateway.chat(key, stream=True).text
        node.behaviour = sending(EVENTS, event(piece("a")), *[chunk(b"x")] * 200_000)
        assert "[DONE]" not in gateway.chat(key, stream=True).text


def test_there_are_64_kib_before_the_first_token(gateway: Running, node: Node, key: str) -> None:
    comment = b": " + b"k" * 1022  # 1 KiB
    rest = [event(piece("hello")), event(piece(None, "stop")), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
    node.behaviour = sending(EVENTS, *[chunk(comment + b"\n\n")] * 64, *rest)
    answer = gateway.chat(key, stream=True)
    assert (answer.status_code, "hello" in answer.text) == (200, True)
    with others_served(gateway):
        empty = b"data: " + json.dumps(piece("")).encode() + b"\n\n"
        usage = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}\n\n'
        for prelude in (comment + b"\n\n", empty, usage):
            node.behaviour = sending(EVENTS, for_ever=chunk(prelude * 50))
            answer = gateway.chat(key, stream=True, stream_options={"include_usage": True})
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "node_too_long")


def test_a_plain_answer_has_20_mib(gateway: Running, node: Node, key: str) -> None:
    def answer(size: int) -> bytes:
        body = json.dumps(chat()).encode()
        return OK + b"content-length: %d\r\n\r\n" % size + body + b" " * (size - len(body))

    node.behaviour = sending(answer(20 * MIB))
    assert gateway.chat(key).status_code == 200
    node.behaviour = sending(answer(20 * MIB + 1))
    assert gateway.chat(key).json()["error"]["code"] == "node_too_long"
    with others_served(gateway):
        node.behaviour = sending(OK + b"transfer-encoding: chunked\r\n\r\n", for_ever=chunk(b" " * MIB))
        assert gateway.chat(key).json()["error"]["code"] == "node_too_long"


@pytest.mark.parametrize("where", ["content", "x", "choices"])
def test_a_plain_answer_has_500_000_lists(gateway: Running, node: Node, key: str, where: str) -> None:
    """15 MiB of empty lists or objects took the loop a second and more, as text, as choices, or where a long answer is
    cut.
    """
    whole = json.dumps(chat("word " * 200, 5, 200))

    def crowded(lists: int) -> bytes:
        empty = "{}" if where == "choices" else "[]"
        many = ",".join([empty] * (lists - whole.count("{") - whole.count("[") - 1))
        if where == "content":
            body = whole.replace(json.dumps("word " * 200), f"[{many}]")
        elif where == "choices":
            body = whole.replace('"choices": [', f'"choices": [{many}, ')
        else:
            body = whole.replace("{", f'{{"x": [{many}], ', 1)
        return OK + b"content-length: %d\r\n\r\n%b" % (len(body), body.encode())

    with others_served(gateway):
        node.behaviour = sending(crowded(500_100))
        assert gateway.chat(key).json()["error"]["code"] == "node_nonsense"
    node.behaviour = sending(crowded(499_900))
    assert gateway.chat(key).status_code == 200


@pytest.mark.parametrize("where", ["content", "choices"])
def test_an_event_has_20_000_lists(gateway: Running, node: Node, key: str, where: str) -> None:
    """One of 1 MiB took the loop 0.2 s, and a node may send one after another."""

    def crowded(lists: int) -> bytes:
        said = piece("word")
        if where == "content":
            said["choices"][0]["delta"]["content"] = [[]] * lists
        else:
            said["choices"] = [*said["choices"], *[{}] * lists]
        return event(said)

    rest = event(piece("hello")), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"
    with others_served(gateway):
        node.behaviour = sending(EVENTS, crowded(20_100), *rest)
        assert gateway.chat(key, stream=True).json()["error"]["code"] == "node_nonsense"
    node.behaviour = sending(EVENTS, event(piece("a")), crowded(19_900), *rest)
    assert "hello" in gateway.chat(key, stream=True).text


# A tunnel's credit
@pytest.fixture
async def tunnelled(world: World, consumer: Signer) -> AsyncIterator[tuple[Running, ClientConnection, str]]:
    """A gateway, a node's end of a tunnel to it, and a key."""
    world.a_model_at(f"tunnel://{to_hex(PROVIDER.address)}")
    world.deposit(consumer.address, 10**9)
    gateway = await asyncio.to_thread(world.gateway, idle_stream_seconds=60)
    key = await asyncio.to_thread(gateway.key, consumer)
    async with connect(gateway.url.replace("http", "ws") + "/v1/tunnel") as tunnel:
        await join(world, tunnel)
        yield gateway, tunnel, key


async def frame_of(tunnel: ClientConnection) -> Frame:
    """The next frame from the gateway."""
    message = await tunnel.recv()
    assert isinstance(message, bytes)
    return decode(message)


async def join(world: World, tunnel: ClientConnection, node: str = "one") -> Kind:
    """Say hello as the provider. Returns the kind of the answer."""
    nonce = (await frame_of(tunnel)).payload
    signature = PROVIDER.sign(signing_digest(world.domain, tunnel_hash(world.lane, PROVIDER.address, nonce)))
    hello = {"party": to_hex(PROVIDER.address), "node": node, "signature": to_hex(signature)}
    await tunnel.send(encode(Kind.hello, 0, json.dumps(hello).encode()))
    return (await frame_of(tunnel)).kind


async def asked(tunnel: ClientConnection) -> int:
    """The number of the next call that comes through the tunnel."""
    while True:
        frame = await frame_of(tunnel)
        if frame.kind is Kind.request:
            return frame.stream


def padded(size: int) -> bytes:
    """An event without output, of so many bytes."""
    empty = json.dumps({**piece(""), "pad": ""}).encode()
    return b"data: " + empty.replace(b'"pad": ""', b'"pad": "%b"' % (b"x" * (size - len(empty) - 8))) + b"\n\n"


async def spend_credit(tunnel: ClientConnection, number: int) -> Kind | None:
    """Send all that the gateway allows until it allows no more. Returns what it said last instead of more credit."""
    allowed, size = 256 * KIB, 16 * KIB
    await tunnel.send(encode(Kind.response, number, b'{"status": 200, "headers": {}}'))
    first = b"data: " + json.dumps(piece("a")).encode() + b"\n\n"
    await tunnel.send(encode(Kind.body, number, first))
    allowed -= len(first)
    while True:
        while allowed > 0:
            data = padded(min(size, allowed)) if allowed > 2 * KIB else b": " + b"x" * (allowed - 2)
            await tunnel.send(encode(Kind.body, number, data))
            allowed -= len(data)
        try:
            frame = await asyncio.wait_for(frame_of(tunnel), 3)
        except TimeoutError:
            return None
        if frame.kind is Kind.cancel:
            return frame.kind
        if frame.kind is Kind.credit:
            allowed += int.from_bytes(frame.payload, "big")


async def test_a_tunnelled_node_sends_no_more_than_its_credit(
    tunnelled: tuple[Running, ClientConnection, str],
) -> None:
    gateway, tunnel, key = tunnelled
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", gateway.port))
    with reader, others_served(gateway):
        reader.sendall(asks(key, body=chat_body(stream=True)))
        number = await asked(tunnel)
        assert await spend_credit(tunnel, number) is None, "all of its credit is taken while the consumer reads nothing"
        await tunnel.send(encode(Kind.body, number, b"x"))
        assert (await asyncio.wait_for(frame_of(tunnel), 5)).kind is Kind.cancel, "and not a byte more"


class RawTunnel:
    """A node's end of a tunnel that reads nothing but what it is told to."""

    def __init__(self, gateway: Running) -> None:
        self.wire = socket.socket()
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.wire.connect(("127.0.0.1", gateway.port))
        lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        self.wire.sendall(head("GET", "/v1/tunnel", *lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
        self.bytes = self.wire.makefile("rb")
        while self.bytes.readline() != b"\r\n":
            pass

    def frame(self) -> Frame:
        """The next frame from the gateway."""
        size = self.bytes.read(2)[1]
        if size >= 126:
            size = int.from_bytes(self.bytes.read(2 if size == 126 else 8), "big")
        return decode(self.bytes.read(size))

    def send(self, frame: bytes) -> None:
        """Send a frame, masked by zeros."""
        size = bytes([0x80 | len(frame)]) if len(frame) < 126 else b"\xfe" + len(frame).to_bytes(2, "big")
        self.wire.sendall(b"\x82" + size + bytes(4) + frame)


def test_what_waits_for_a_tunnelled_node_is_4_mib(world: World, consumer: Signer) -> None:
    """A node that gave credit and read nothing had 20 MiB of each call stay with the gateway, after the call too."""
    world.a_model_at(f"tunnel://{to_hex(PROVIDER.address)}")
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway()
    key, tunnel = gateway.key(consumer), RawTunnel(gateway)
    signature = PROVIDER.sign(
        signing_digest(world.domain, tunnel_hash(world.lane, PROVIDER.address, tunnel.frame()[2]))
    )
    hello = {"party": to_hex(PROVIDER.address), "node": "one", "signature": to_hex(signature)}
    tunnel.send(encode(Kind.hello, 0, json.dumps(hello).encode()))
    assert tunnel.frame().kind is Kind.welcome
    [nodes] = gateway.gateway.upstream.tunnels._nodes.values()
    [node] = nodes.values()
    with ThreadPoolExecutor(12) as threads, others_served(gateway), tunnel.wire:
        calls = [threads.submit(gateway.chat, key, text="x" * 4 * MIB) for _ in range(12)]
        numbers = set[int]()
        while len(numbers) < 12:
            frame = tunnel.frame()
            if frame.kind is Kind.request:
                numbers.add(frame.stream)
        for number in numbers:
            tunnel.send(encode(Kind.credit, number, (20 * MIB).to_bytes(4, "big")))
        assert {call.result().status_code for call in calls} == {504}
        waiting: list[bytes] = list(node.outbox._queue)  # type: ignore[attr-defined]
        assert sum(map(len, waiting)) < 5 * MIB


async def test_an_address_has_4_tunnels(world: World, gateway: Running) -> None:
    url = gateway.url.replace("http", "ws") + "/v1/tunnel"
    async with AsyncExitStack() as open_ones:
        for name in "1234":
            assert await join(world, await open_ones.enter_async_context(connect(url)), name) is Kind.welcome
        fifth = await open_ones.enter_async_context(connect(url))
        with pytest.raises(ConnectionClosed) as closed:
            await join(world, fifth, "5")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4429
        other = await open_ones.enter_async_context(connect(url, local_addr=("127.0.0.9", 0)))
        assert await join(world, other, "6") is Kind.welcome
        assert await asyncio.to_thread(lambda: gateway.http.get("/health").status_code) == 200


async def test_a_frame_has_64_kib(world: World, tunnelled: tuple[Running, ClientConnection, str]) -> None:
    _, tunnel, _ = tunnelled
    await tunnel.send(encode(Kind.body, 99, b"x" * 64 * KIB))
    await (await tunnel.ping())
    await tunnel.send(b"\x05\0\0\0\x63" + b"x" * (64 * KIB + 1))
    await asyncio.wait_for(tunnel.wait_closed(), 5)


# Where a node may be
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "100.64.0.1", "169.254.169.254", "192.0.0.8", "192.88.99.1", "224.0.0.1", "240.0.0.1",
        "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001::1", "2001:db8::1",
        "3fff::1", "4000::1", "fc00::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_special_addresses_are_never_called(address: str) -> None:
    assert not Guard([]).permits(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"])
def test_public_addresses_are_called(address: str) -> None:
    assert Guard([]).permits(address)
    assert Guard(networks("10.0.0.0/8, fd00::/8")).permits(address)
    assert Guard(networks("10.0.0.0/8, fd00::/8")).permits("fd00::1")


def test_the_tokens_of_a_long_answer_are_counted_beside_the_event_loop(
    world: World, node: Node, consumer: Signer, tmp_path: Path
) -> None:
    words_of(world.a_model_at(node.url, ask={"output_token": "1"}), tmp_path)
    gateway = world.gateway(tokenizers=tmp_path)
    world.deposit(consumer.address, 10**9)
    key, words = gateway.key(consumer), 200_000

    async def in_pieces(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        for _ in range(10):
            await wire.event(piece("two " * (words // 10)))
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    for behaviour, stream in ((answering(chat("two " * words, 10, 10)), False), (in_pieces, True)):
        node.behaviour = behaviour
        with others_served(gateway):
            assert gateway.chat(key, stream=stream, max_tokens=words).status_code == 200
    counted, claimed = (one.receipt.units.output_token for one in world.receipts_of(consumer.address))
    assert (claimed, words <= counted <= words + 20) == (10, True)
