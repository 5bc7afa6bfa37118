"""An HTTP/1.1 client connection (RFC 9112) over httptools, one exchange at a time.

It sends one request, returns the answer's head and then its body, and reports how the answer ended. Its contract is
tests/gateway/test_upstream_http.py. Why it is not a library: docs/decisions/2026-11-28-upstream-http-client.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from gateway.errors import NodeFailed

HIGH_WATER = 256 * 1024
"""Bytes of a body that may wait for a reader before the connection stops reading."""
MAX_FRAMING_BYTES = 64 * 1024
"""Most bytes that are not body and come in a row: heads, chunk extensions, trailers. More is refused."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of each step, and the number of idle connections kept for a node.

    Within `first_byte_seconds` of the request the whole head must have come, and of a stream the first token too; after
    that each byte within `idle_seconds` of the one before, and all of it within `call_seconds`.
    """

    connect_seconds: float = 3.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 30.0
    call_seconds: float = 600.0
    keep_seconds: float = 30.0
    keep_connections: int = 256


class Source(Protocol):
    """The source of a reply's bytes."""

    def flow(self, on: bool) -> None:
        """Resume or pause reading."""

    def abort(self, failure: NodeFailed) -> None:
        """Close, and end the reply with `failure`."""


class Reply:
    """A node's answer to one request. Status and headers are there from the start; the body is read as it comes."""

    __slots__ = ("_buffered", "_chunks", "_connection", "_waiter", "begun", "complete", "failure", "headers", "status")

    def __init__(self, connection: Source) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.begun = False
        """Its reader has what had to come in the first seconds: the head, or the first token of a stream."""
        self.failure: NodeFailed | None = None
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits for more of it now."""
        return self._waiter is not None

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises NodeFailed when it is incomplete, late, or longer than `limit` bytes."""
        self.begun = True
        while not self.complete:
            if self._buffered > limit:
                break
            if self.failure is not None:
                raise self.failure
            await self._wait()
        if self._buffered > limit:
            self.cancel()
            raise NodeFailed(f"the node's answer is longer than {limit} bytes", "too_long", limit_bytes=limit)
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, each time all bytes that have come. Raises NodeFailed when it is incomplete."""
        while True:
            if self._chunks:
                piece = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._buffered = 0
                self._connection.flow(True)
                yield piece
                continue
            if self.complete:
                return
            if self.failure is not None:
                raise self.failure
            await self._wait()

    def cancel(self) -> None:
        """Stop reading and close the connection, so that the node stops too."""
        if not self.complete:
            self._connection.abort(NodeFailed("cancelled", "cancelled"))

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > HIGH_WATER:
            self._connection.flow(self._waiter is not None)
        self._wake()

    def finish(self, failure: NodeFailed | None = None) -> None:
        if failure is None:
            self.complete = True
        else:
            self.failure = failure
        self._wake()

    async def _wait(self) -> None:
        self._waiter = asyncio.Future()
        self._connection.flow(True)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """A keep-alive connection. It calls `release` with itself after each whole exchange that leaves it usable."""

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._release = release
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._head: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_seconds = 0.0
        self._begun_by = 0.0
        self._whole_by = 0.0
        self._heard_at = 0.0
        self._framing_bytes = 0
        self._header_bytes = 0
        self._reading = True
        self.closed = False
        self.idle_since = 0.0

    @property
    def heard(self) -> bool:
        """Whether a byte of the current or last answer has come."""
        return self._heard_at != 0.0

    def exchange(self, request: bytes, limits: Limits) -> asyncio.Future[Reply]:
        """Send one request. The future's result is the reply, as soon as its head has come."""
        assert self._reply is None
        assert self._transport is not None
        self._head = self._loop.create_future()
        self._reply = Reply(self)
        self._idle_seconds = limits.idle_seconds
        self._heard_at = 0.0
        self._framing_bytes = self._header_bytes = 0
        now = self._loop.time()
        self._begun_by, self._whole_by = now + limits.first_byte_seconds, now + limits.call_seconds
        check_at = min(self._begun_by, now + limits.idle_seconds)
        if self._timer is None or self._timer.when() > check_at:
            self._set_timer(check_at)
        self.flow(True)
        self._transport.write(request)
        return self._head

    def abort(self, failure: NodeFailed) -> None:
        """Close now. An open reply ends with `failure`."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        self._end(failure)

    def flow(self, on: bool) -> None:
        """Resume reading, or pause it while the consumer is slow."""
        if on is not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._reply is None:
            self.abort(NodeFailed("the node sent bytes without a request", "nonsense"))
            return
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(NodeFailed(f"the node's answer is not HTTP/1.1: {error}", "nonsense"))
        except httptools.HttpParserUpgrade:
            self.abort(NodeFailed("the node changed the protocol without being asked", "nonsense"))
        else:
            if self._reply is None and not self.closed:
                self._release(self)  # not before all of the segment is read: part of a next answer may be in it
            elif self._framing_bytes > MAX_FRAMING_BYTES and self._reply is not None:
                message = f"the node sent more than {MAX_FRAMING_BYTES} bytes of headers or framing"
                self.abort(NodeFailed(message, "nonsense"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if exc is None and self._reply is not None and self._reply.status and self._is_until_close(self._reply):
            self._end(None)
        else:
            self._end(NodeFailed("the node closed the connection before its answer was complete", "cut"))

    # httptools callbacks
    def on_message_begin(self) -> None:
        if self._reply is None:
            self.abort(NodeFailed("the node sent bytes after its answer", "nonsense"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reply is not None and not self._reply.status:  # after the head these are trailers, which are ignored
            self._reply.headers[name.lower()] = value
            self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        assert self._reply is not None
        if status < 200:
            self._reply.headers.clear()
            return
        if self._header_bytes > MAX_FRAMING_BYTES:
            self.abort(NodeFailed(f"the node's head has more than {MAX_FRAMING_BYTES} bytes", "too_long"))
            return
        self._reply.status = status
        if self._head is not None and not self._head.done():
            self._head.set_result(self._reply)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if self._reply is not None:
            self._reply.feed(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        if not self._parser.should_keep_alive():
            self.closed = True
            if self._transport is not None:
                self._transport.close()
        self._end(None)

    @staticmethod
    def _is_until_close(reply: Reply) -> bool:
        coding = reply.headers.get(b"transfer-encoding", b"").lower()
        return b"content-length" not in reply.headers and b"chunked" not in coding

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check_late)

    def _check_late(self) -> None:
        """Abort a late answer, or set the timer again. One timer serves many short exchanges."""
        self._timer = None
        if self._reply is None:
            return
        begun = self._reply.begun
        if begun and not self._reply.is_awaited:  # the consumer is slow, not the node
            self._heard_at = self._loop.time()
        late_at = min(self._heard_at + self._idle_seconds, self._whole_by) if begun else self._begun_by
        if late_at > self._loop.time():
            self._set_timer(late_at)
        elif not begun:
            self.abort(NodeFailed("the node did not begin to answer in time", "timeout"))
        elif late_at == self._whole_by:
            self.abort(NodeFailed("the node took too long for its whole answer", "timeout"))
        else:
            self.abort(NodeFailed("the node fell silent", "timeout"))

    def _end(self, failure: NodeFailed | None) -> None:
        reply, head, self._reply, self._head = self._reply, self._head, None, None
        if self.closed and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.idle_since = self._loop.time()
        if reply is None:
            return
        reply.finish(failure)
        if head is not None and not head.done():
            head.set_exception(failure or NodeFailed("the node did not answer", "cut"))
