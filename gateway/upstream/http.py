"""One HTTP/1.1 connection to a node: a protocol over httptools, one exchange at a time.

A general client (aiohttp) costs more CPU per call than everything else the gateway does together; this page does only
what a call needs: send one request, hand out the head, the body in pieces or whole, and say truthfully how it ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

import httptools

from gateway.errors import NodeFailed

HIGH_WATER = 256 * 1024


class Source(Protocol):
    """Where a reply's bytes come from: it can be slowed down, and it can be stopped."""

    def flow(self, on: bool) -> None:
        """Let bytes in, or hold them back."""

    def abort(self, failure: NodeFailed) -> None:
        """Stop, because of `failure`."""


class Reply:
    """A node's answer to one request: its head now, its body as it comes."""

    __slots__ = ("_buffered", "_chunks", "_connection", "_waiter", "complete", "failure", "headers", "status")

    def __init__(self, connection: Source | None) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.failure: NodeFailed | None = None
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises NodeFailed when it is cut, late, or longer than `limit` bytes."""
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
        """The body, each time all that has come. Ends cleanly only at the body's end; raises NodeFailed otherwise."""
        while True:
            if self._chunks:
                piece = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._buffered = 0
                if self._connection is not None:
                    self._connection.flow(True)
                yield piece
                continue
            if self.complete:
                return
            if self.failure is not None:
                raise self.failure
            await self._wait()

    def cancel(self) -> None:
        """Stop reading: the connection is closed, which tells the node to stop."""
        if not self.complete and self._connection is not None:
            self._connection.abort(NodeFailed("cancelled", "cancelled"))

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._connection is not None and self._buffered > HIGH_WATER:
            self._connection.flow(self._waiter is not None)
        self._wake()

    def finish(self, failure: NodeFailed | None = None) -> None:
        """Nothing more will come."""
        if failure is None:
            self.complete = True
        else:
            self.failure = failure
        self._wake()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        if self._connection is not None:
            self._connection.flow(True)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """A keep-alive connection. It hands itself to `release` whenever an exchange ended whole and it can serve again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._release = release
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._head: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_seconds = 0.0
        self._first_byte_by = 0.0
        self._heard_at = 0.0
        self._reading = True
        self.closed = False
        self.idle_since = 0.0

    def exchange(self, request: bytes, first_byte_seconds: float, idle_seconds: float) -> asyncio.Future[Reply]:
        """Send one request; the future has the reply as soon as its head is there.

        The head must come within `first_byte_seconds`, and after it no silence may last `idle_seconds`.
        """
        assert self._reply is None
        assert self._transport is not None
        self._head = self._loop.create_future()
        self._reply = Reply(self)
        self._idle_seconds = idle_seconds
        self._heard_at = 0.0
        self._first_byte_by = self._loop.time() + first_byte_seconds
        if self._timer is None or self._timer.when() > self._first_byte_by:
            self._look_at(self._first_byte_by)
        self.flow(True)
        self._transport.write(request)
        return self._head

    def abort(self, failure: NodeFailed) -> None:
        """Close now; whoever waits gets `failure`."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        self._end(failure)

    def flow(self, on: bool) -> None:
        """Let bytes in, or hold them back while the consumer is slow."""
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
            self.abort(NodeFailed("the node sent bytes nobody asked for", "nonsense"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(NodeFailed(f"the node does not speak HTTP: {error}", "nonsense"))

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._reply is not None and self._head is not None and self._head.done() and self._until_close():
            self._end(None)
        else:
            self._end(NodeFailed("the node closed the connection before its answer was whole", "cut"))

    # httptools callbacks
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reply is not None:
            self._reply.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        assert self._reply is not None
        self._reply.status = status
        if self._head is not None and not self._head.done():
            self._head.set_result(self._reply)

    def on_body(self, body: bytes) -> None:
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

    def _until_close(self) -> bool:
        reply = self._reply
        assert reply is not None
        return b"content-length" not in reply.headers and b"chunked" not in reply.headers.get(b"transfer-encoding", b"")

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        """Give up on a late answer, or look again when it could be late. One timer serves many quick exchanges."""
        self._timer = None
        if self._reply is None:
            return
        silent = self._heard_at == 0.0
        late_at = self._first_byte_by if silent else self._heard_at + self._idle_seconds
        if late_at > self._loop.time():
            self._look_at(late_at)
        elif silent:
            self.abort(NodeFailed("the node did not begin to answer in time", "timeout"))
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
            head.set_exception(failure or NodeFailed("the node answered nothing", "cut"))
        if failure is None and not self.closed:
            self._release(self)
