"""How the gateway's process speaks HTTP: uvicorn, with a page of its own for what a paid call sends.

uvicorn's request cycle is made for every case there is and costs as much as a third of a paid call. A POST over
HTTP/1.1 whose connection stays open takes the cycle below; everything else (and every WebSocket) takes uvicorn's.
What an answer has to say in one turn of the event loop leaves as one packet, and a connection has one timer in its
life, not one for each request. A body that came with its head, and an answer that is there whole, pass without ASGI's
messages: the cycle is in the scope as `CYCLE`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MOST_BYTES = 64 * 1024
"""What has gathered goes out in the middle of a turn when it is so much: slow readers must be noticed."""
BODILESS = frozenset((204, 304))
CUT = "tollway.cut"
CYCLE = "tollway.cycle"


class Cycle(RequestResponseCycle):
    """One request and its answer. The application is started when the packet that began it has been read whole."""

    def __init__(self, protocol: Protocol, scope: dict[str, Any]) -> None:
        self.scope = cast(Any, scope)
        scope[CYCLE] = self
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.message_event = asyncio.Event()
        self.on_response = protocol.on_response_complete
        self.disconnected = False
        self.keep_alive = True
        self.waiting_for_100_continue = False
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self._loop = protocol.loop
        self._chunked = True
        self._left = 0
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self) -> None:
        """What came with the head is there to be received, or taken."""
        if self.body or not self.more_body:
            self.message_event.set()

    def take(self) -> bytes | None:
        """The body, if it is there whole and nothing of it was received. After it only a disconnect is received."""
        if self.more_body or self.disconnected or not self.message_event.is_set():
            return None
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        return body

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """A whole answer in one step. False when it must wait for a slow reader: then it is to be sent."""
        if self.flow.write_paused or self.response_started or self.disconnected:
            return False
        self.response_started = True
        head = self._head(status, [*self.default_headers, *headers])
        assert not self._chunked, "a whole answer says how long it is"
        assert self._left == len(body), "and is as long as it says"
        self.transport.write(head + body)
        self._end()
        return True

    async def send(self, message: Any) -> None:
        """ASGI's send: the answer's head, then its body in pieces. Ours beside it: an answer that is to end cut."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == CUT:
            self._flush()
            self.response_complete = True
            self.transport.close()
            return
        if not self.response_started:
            self.response_started = True
            self._parts.append(self._head(message["status"], [*self.default_headers, *message["headers"]]))
            return
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._chunked:
            if body:
                self._parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                self._parts.append(b"0\r\n\r\n")
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the answer's body is not as long as its head says")
            self._parts.append(body)
        if more:
            self._gather(len(body))
            return
        self._flush()
        self._end()

    def _end(self) -> None:
        cast(dict[str, Any], self.scope).pop(CYCLE, None)  # or scope and cycle are a ring, left to the collector
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        parts = [STATUS_LINE[status]]
        self._chunked = status not in BODILESS
        named = not self._chunked
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self._chunked, self._left, named = False, int(value), True
            elif name == b"transfer-encoding":
                named = True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        head = b"".join(parts)
        if head.count(b"\n") != len(headers) + 1 or head.count(b"\r") != len(headers) + 1:
            raise RuntimeError("a header's value has a line break")
        if not named:
            head += b"transfer-encoding: chunked\r\n"
        return head + (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")

    def _gather(self, size: int) -> None:
        if not self._size:
            self._loop.call_soon(self._flush)
        self._size += size + 1
        if self._size >= MOST_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self.transport.write(b"".join(parts))


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with our cycle where it fits."""

    _begun: Cycle | None = None
    _idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._begun is not None:
            cycle, self._begun = self._begun, None
            if not self.transport.is_closing():
                cycle.begin()
                self._start_asgi_task(cycle, self.app)

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        parser, url = self.parser, self.url
        if (
            parser.get_method() == b"POST"
            and b"%" not in url
            and url.startswith(b"/")
            and url.isascii()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and self.limit_concurrency is None
            and not self.root_path
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        ):
            self.cycle = self._begun = Cycle(self, self._scope(url))
            return
        headers, expects = self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.scope["headers"] = self.headers = headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._begun is not None and self._begun is self.cycle:
            self._begun.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._begun is not None and self._begun is self.cycle:
            self._begun.more_body = False
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for the time it may be; else look again when it might have been."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        left = self.timeout_keep_alive if busy else self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._look_again(left)

    def connection_lost(self, exc: Exception | None) -> None:
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def _look_again(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays: it finds out by itself whether the connection was idle."""

    def _scope(self, url: bytes) -> dict[str, Any]:
        path, _, query = url.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": "POST",
            "path": path.decode("ascii"),
            "raw_path": path,
            "query_string": query,
        }
