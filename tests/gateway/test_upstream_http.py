"""RFC 9112, as far as a client needs it: how the gateway reads what a node sends, byte for byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from gateway.errors import NodeFailed
from gateway.upstream.guard import Guard
from gateway.upstream.http import MAX_FRAMING_BYTES, Limits, Reply
from gateway.upstream.pool import Pool
from gateway.upstream.target import Target
from gateway.upstream.tunnel import Forwarder, Tunnels
from ledger.core.values.ids import PRIVATE_LANE
from ledger.core.values.typed_data import Domain

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nok"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE, RESET = "close", "reset"

Step = bytes | str
"""Bytes to send, in a segment of their own; or how to end the connection."""


@dataclass
class RawNode:
    """A server that answers each request with the next of its scripts, and says what reached it."""

    scripts: list[tuple[Step, ...]] = field(default_factory=list)
    connections: int = 0
    requests: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.requests += 1
                for number, step in enumerate(self.scripts.pop(0)):
                    if step == RESET:
                        linger = struct.pack("ii", 1, 0)  # closes with a reset
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.transport.abort()
                    elif isinstance(step, str):
                        writer.close()
                    else:
                        if number:
                            await asyncio.sleep(0.02)
                        writer.write(step)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def raw() -> AsyncIterator[RawNode]:
    """A server on a free port."""
    node = RawNode()
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.port = int(server.sockets[0].getsockname()[1])
    yield node
    server.close()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """A pool that may call this machine."""
    limits = Limits(2.0, 2.0, 2.0)
    made = Pool(Guard([]), limits, Tunnels(PRIVATE_LANE, Domain(), limits), cast(Forwarder, None))
    yield made
    await made.close()


async def head_of(pool: Pool, raw: RawNode, *script: Step) -> Reply:
    """The head of the answer to one request, answered with `script`."""
    raw.scripts.append(script)
    target = Target("http", "127.0.0.1", raw.port, ours=True)
    return await asyncio.wait_for(pool.request(target, "/x", b"{}"), 5)


async def ask(pool: Pool, raw: RawNode, *script: Step) -> tuple[int, bytes]:
    """Status and whole body of the answer to one request, answered with `script`."""
    reply = await head_of(pool, raw, *script)
    return reply.status, await asyncio.wait_for(reply.body(2**20), 5)


async def failure(pool: Pool, raw: RawNode, *script: Step) -> str:
    """The kind of failure one request ends in, answered with `script`."""
    with pytest.raises(NodeFailed) as failed:
        await ask(pool, raw, *script)
    return failed.value.kind


async def is_reused(pool: Pool, raw: RawNode) -> bool:
    """Whether the next request, which is answered whole, goes out on a connection that was there before."""
    before = raw.connections
    await asyncio.sleep(0.05)
    assert await ask(pool, raw, WHOLE) == (200, b"ok")
    return raw.connections == before


# 6.3: the length of a body
@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2, 3",
        b"Content-Length: 2\r\nContent-Length: 2",
        b"Content-Length: +2",
        b"Content-Length: -2",
        b"Content-Length: 2 2",
        b"Content-Length: 0x2",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length : 2",
    ],
)
async def test_a_head_with_more_than_one_length_or_none_that_is_a_number_is_refused(
    pool: Pool, raw: RawNode, lines: bytes
) -> None:
    assert await failure(pool, raw, OK + lines + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n") == "nonsense"
    assert not await is_reused(pool, raw)


async def test_a_body_without_a_length_lasts_until_the_connection_closes(pool: Pool, raw: RawNode) -> None:
    assert await ask(pool, raw, OK + b"\r\nhel", b"lo", CLOSE) == (200, b"hello")
    assert not await is_reused(pool, raw)


async def test_a_coding_that_does_not_end_in_chunked_lasts_until_the_connection_closes(
    pool: Pool, raw: RawNode
) -> None:
    assert await ask(pool, raw, OK + b"Transfer-Encoding: gzip\r\n\r\nhello", CLOSE) == (200, b"hello")
    assert not await is_reused(pool, raw)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_ends_with_its_head(pool: Pool, raw: RawNode, status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    assert await ask(pool, raw, head) == (int(status[:3]), b"")
    assert await is_reused(pool, raw)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_body_after_a_status_that_has_none_reaches_nobody(pool: Pool, raw: RawNode, status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    assert await ask(pool, raw, head + b"hello") == (int(status[:3]), b"")
    assert not await is_reused(pool, raw)


# 7.1: chunked
async def test_chunks_are_joined_in_whatever_segments_they_come(pool: Pool, raw: RawNode) -> None:
    whole = CHUNKED + b"3\r\nhel\r\n00A\r\nlo, world!\r\n0\r\n\r\n"
    assert await ask(pool, raw, *(whole[at : at + 7] for at in range(0, len(whole), 7))) == (200, b"hello, world!")
    assert await is_reused(pool, raw)


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="b;c"', b";a=b;c=d"])
async def test_chunk_extensions_are_ignored(pool: Pool, raw: RawNode, extension: bytes) -> None:
    assert await ask(pool, raw, CHUNKED + b"2" + extension + b"\r\nok\r\n0\r\n\r\n") == (200, b"ok")
    assert await is_reused(pool, raw)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nok\r\n0\r\n\r\n",
        b"2x\r\nok\r\n0\r\n\r\n",
        b"0x2\r\nok\r\n0\r\n\r\n",
        b"-2\r\nok\r\n0\r\n\r\n",
        b"+2\r\nok\r\n0\r\n\r\n",
        b"2 2\r\nok\r\n0\r\n\r\n",
        b"\r\nok\r\n0\r\n\r\n",
        b"10000000000000002\r\nok\r\n0\r\n\r\n",
        b"ffffffffffffffffffffff\r\nok\r\n0\r\n\r\n",
        b"2\nok\r\n0\r\n\r\n",
        b"2;a\nb\r\nok\r\n0\r\n\r\n",
        b"2\r\nok0\r\n\r\n",
        b"1\r\nok\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
    ],
)
async def test_a_chunk_that_is_not_framed_exactly_is_refused(pool: Pool, raw: RawNode, body: bytes) -> None:
    assert await failure(pool, raw, CHUNKED + body) == "nonsense"
    assert not await is_reused(pool, raw)


async def test_trailers_are_read_and_change_no_header(pool: Pool, raw: RawNode) -> None:
    head = OK + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = await head_of(pool, raw, head + b"2\r\nok\r\n0\r\n", b"Content-Type: x\r\nTollway-Usage: 9\r\n\r\n")
    assert await reply.body(100) == b"ok"
    assert reply.headers == {b"content-type": b"text/plain", b"transfer-encoding": b"chunked"}
    assert await is_reused(pool, raw)


# 2.2, 5: the head
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.5 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
async def test_a_head_that_is_not_http_is_refused(pool: Pool, raw: RawNode, head: bytes) -> None:
    assert await failure(pool, raw, head) == "nonsense"
    assert not await is_reused(pool, raw)


async def test_a_head_may_come_byte_by_byte(pool: Pool, raw: RawNode) -> None:
    assert await ask(pool, raw, *(WHOLE[at : at + 1] for at in range(len(WHOLE)))) == (200, b"ok")
    assert await is_reused(pool, raw)


@pytest.mark.parametrize(
    "endless",
    [OK + b"A: " + b"a" * 70_000, OK + b"A: b\r\n" * 12_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000],
    ids=["a long line", "many lines", "many heads"],
)
async def test_a_head_is_bounded(pool: Pool, raw: RawNode, endless: bytes) -> None:
    assert len(endless) > MAX_FRAMING_BYTES
    assert await failure(pool, raw, endless) == "nonsense"
    assert not await is_reused(pool, raw)


@pytest.mark.parametrize(
    "endless",
    [b"2;" + b"a" * 70_000, b"0\r\n" + b"A: b\r\n" * 12_000],
    ids=["a chunk extension", "trailers"],
)
async def test_what_is_between_two_pieces_of_a_body_is_bounded(pool: Pool, raw: RawNode, endless: bytes) -> None:
    assert await failure(pool, raw, CHUNKED, endless, b"a") == "nonsense"
    assert not await is_reused(pool, raw)


# RFC 9110, 15.2: informational answers
async def test_informational_answers_are_skipped_with_their_headers(pool: Pool, raw: RawNode) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Type: y\r\n\r\n"
    reply = await head_of(pool, raw, b"HTTP/1.1 100 Continue\r\n\r\n" + early, WHOLE)
    assert (reply.status, await reply.body(100)) == (200, b"ok")
    assert reply.headers == {b"content-length": b"2"}
    assert await is_reused(pool, raw)


async def test_a_change_of_protocol_nobody_asked_for_is_refused(pool: Pool, raw: RawNode) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert await failure(pool, raw, switch, b"\x81\x02ok") == "nonsense"
    assert not await is_reused(pool, raw)


# 8: incomplete messages
@pytest.mark.parametrize(
    "script",
    [
        (CLOSE,),
        (b"HTTP/1.1 200", CLOSE),
        (OK + b"Content-Length: 2\r\n", CLOSE),
        (b"HTTP/1.1 100 Continue\r\n\r\n", CLOSE),
        (OK + b"Content-Length: 3\r\n\r\nok", CLOSE),
        (OK + b"Content-Length: 3\r\n\r\n", CLOSE),
        (CHUNKED + b"2\r\nok\r\n", CLOSE),
        (CHUNKED + b"5\r\nok", CLOSE),
        (CHUNKED + b"2\r\nok\r\n0\r\n", CLOSE),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nok", CLOSE),
        (OK + b"Transfer-Encoding: gzip, CHUNKED\r\n\r\n5\r\nok", CLOSE),
        (OK + b"\r\nhello", b"x", RESET),
    ],
)
async def test_an_answer_that_is_cut_is_never_whole(pool: Pool, raw: RawNode, script: tuple[Step, ...]) -> None:
    assert await failure(pool, raw, *script) == "cut"
    assert (raw.connections, raw.requests) == (1, 1)
    assert not await is_reused(pool, raw)


async def test_a_cut_body_hands_out_what_came_and_then_fails(pool: Pool, raw: RawNode) -> None:
    reply = await head_of(pool, raw, CHUNKED + b"2\r\nok\r\n", CLOSE)
    pieces = reply.chunks()
    assert await anext(pieces) == b"ok"
    with pytest.raises(NodeFailed):
        await anext(pieces)


# 9.3: reuse
async def test_a_connection_serves_again_after_a_whole_exchange(pool: Pool, raw: RawNode) -> None:
    for _ in range(5):
        assert await ask(pool, raw, WHOLE) == (200, b"ok")
        assert await ask(pool, raw, CHUNKED + b"2\r\nok\r\n0\r\n\r\n") == (200, b"ok")
    assert (raw.connections, raw.requests) == (1, 10)


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Connection: close\r\n",
        OK + b"Connection: keep-alive, Close\r\n",
        b"HTTP/1.0 200 OK\r\n",
    ],
)
async def test_a_connection_the_node_closes_is_not_used_again(pool: Pool, raw: RawNode, head: bytes) -> None:
    assert await ask(pool, raw, head + b"Content-Length: 2\r\n\r\nok") == (200, b"ok")
    assert not await is_reused(pool, raw)


async def test_a_connection_is_not_used_again_while_its_answer_is_read(pool: Pool, raw: RawNode) -> None:
    await head_of(pool, raw, OK + b"Content-Length: 4\r\n\r\nok")
    assert not await is_reused(pool, raw)


async def test_a_cancelled_answer_closes_its_connection(pool: Pool, raw: RawNode) -> None:
    reply = await head_of(pool, raw, OK + b"Content-Length: 4\r\n\r\nok")
    reply.cancel()
    assert not await is_reused(pool, raw)


async def test_a_kept_connection_that_died_is_replaced_once(pool: Pool, raw: RawNode) -> None:
    assert await ask(pool, raw, WHOLE) == (200, b"ok")
    raw.scripts.append((CLOSE,))
    assert await ask(pool, raw, WHOLE) == (200, b"ok")
    assert (raw.connections, raw.requests) == (2, 3)


async def test_a_request_is_not_sent_again_once_its_answer_has_begun(pool: Pool, raw: RawNode) -> None:
    assert await ask(pool, raw, WHOLE) == (200, b"ok")
    assert await failure(pool, raw, b"HTTP/1.1 200 OK\r\nContent", CLOSE) == "cut"
    assert (raw.connections, raw.requests) == (1, 2)


# 9.2, 11: bytes after an answer
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
ANSWERS = [WHOLE, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"]
PART_OF_A_HEAD = [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"]


@pytest.mark.parametrize("surplus", [b"x", b"\0", EVIL[:-4], EVIL, EVIL + EVIL, b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_bytes_after_an_answer_close_the_connection(
    pool: Pool, raw: RawNode, answer: bytes, surplus: bytes
) -> None:
    assert (await ask(pool, raw, answer + surplus))[0] == 200
    assert not await is_reused(pool, raw)


@pytest.mark.parametrize("surplus", [b"x", b"\r\n", EVIL, *PART_OF_A_HEAD])
async def test_bytes_that_come_between_two_exchanges_close_the_connection(
    pool: Pool, raw: RawNode, surplus: bytes
) -> None:
    assert await ask(pool, raw, WHOLE, surplus) == (200, b"ok")
    assert not await is_reused(pool, raw)


@pytest.mark.parametrize("surplus", PART_OF_A_HEAD)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_part_of_a_head_after_an_answer_closes_the_connection(
    pool: Pool, raw: RawNode, answer: bytes, surplus: bytes
) -> None:
    assert (await ask(pool, raw, answer + surplus))[0] == 200
    assert not await is_reused(pool, raw)
