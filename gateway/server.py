"""The HTTP server: stock uvicorn over httptools, with one subclass of its protocol for what is decided before ASGI is
called: how long a head may be and take, how many connections an address may have, offers of other protocols, and
clients that close their side after the request.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import bounds
from gateway.asgi import BodyTimeouts, Presence, Sender, request_id
from gateway.bounds import Addresses, Places, Tasks
from gateway.errors import Refusal, body_of
from gateway.upstream.guard import Network
from ledger.core.values.tunnel_frames import HEAD, MAX_PAYLOAD

MAX_JOINED_BYTES = 64 * 1024
"""More is sent before the turn ends: the transport must notice a slow reader."""
CHUNKED: Final = -1
"""The length of a body that says itself where it ends."""
LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
OFFER = re.compile(rb"\r\nUpgrade:", re.IGNORECASE)
WEBSOCKET = re.compile(rb"\r\nUpgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
IGNORED: Final = b"\r\nIgnored:"


class JoinedWrites:
    """A transport that sends what one turn of the event loop writes together. uvicorn writes the head of an answer and
    then its body; as two packets they cost a plain call 6 % more CPU.

    While a request is `unread` it closes slowly: it sends what there is, ends, and drops what still comes.
    """

    def __init__(self, transport: Any, unread: Callable[[], bool]) -> None:
        self._transport, self._unsent, self._unread = transport, b"", unread
        self.ended = False
        """It was closed, by the server."""
        self._may_drop: int | None = None
        """Bytes, once it closes slowly."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent += data
        if len(self._unsent) >= MAX_JOINED_BYTES:
            self._send()

    def is_closing(self) -> bool:
        return self._may_drop is not None or bool(self._transport.is_closing())

    def abort(self) -> None:
        self.ended = True
        self._transport.abort()

    def close(self) -> None:
        self.ended = True
        self._send()
        if self._may_drop is not None or self._transport.is_closing() or not self._unread():
            self._transport.close()
            return
        self._may_drop = bounds.DROPPED_BYTES
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(bounds.DROPPED_SECONDS, self._transport.abort)

    def drop(self, size: int) -> None:
        """Drop bytes that came after the end. When they are too many it closes at once."""
        if self._may_drop is not None:
            self._may_drop -= size
            if self._may_drop < 0:
                self._transport.abort()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent and not self._transport.is_closing():
            self._transport.write(unsent)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol within bounds, over joined writes. The methods it overrides are asyncio's.

    The parser gets a head when all of it is there. So its length is known, the parser joins no pieces, and an offer of
    another protocol can be hidden: the parser would drop the body. A body is cut where it ends: after it comes a head.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened: Connections = self.app_state["connections"]
        self.head, self.left, self.refused, self.presence = b"", 0, False, Presence()
        self.joined = JoinedWrites(transport, lambda: self.refused or self.left != 0)
        super().connection_made(cast(asyncio.Transport, self.joined))
        self.app_state = {**self.app_state, "sender": self.opened.enter(self), "presence": self.presence}

    def data_received(self, data: bytes) -> None:
        at = 0
        if self.head:
            data, self.head = self.head + data, b""
        for _ in range(bounds.AHEAD - len(self.pipeline)):
            if self.joined.ended:
                self.joined.drop(len(data) - at)
                return
            is_last = self.cycle is not None and not self.cycle.keep_alive and not self.left
            if at >= len(data) or is_last:
                return
            at = self.take_body(data, at) if self.left else self.take_head(data, at)
        self.refuse(Refusal(400, "too_far_ahead", f"a client may send {bounds.AHEAD} requests ahead of their answers"))

    def shutdown(self) -> None:
        """The server stops, and waits for the answers that are under way."""
        super().shutdown()
        self.opened.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.opened.unread.pop(self, None)
        self.presence.leave()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.opened.unread[self] = (self.joined.get_write_buffer_size(), monotonic())

    def resume_writing(self) -> None:
        super().resume_writing()
        self.opened.unread.pop(self, None)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never stays open
        """Stay open until a whole request is answered."""
        if self.joined.is_closing() or self.left or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        self.opened.half_closed.add(self)
        self.probe()
        return True

    def take_head(self, data: bytes, at: int) -> int:
        """Give a whole head to the parser, or keep the beginning of one. Returns where the rest begins."""
        end = data.find(b"\r\n\r\n", at) + 4
        if end < 4:
            end = len(data)
            if b"\n\n" not in data[at:] and b"\n\r\n" not in data[at:]:  # which the parser refuses
                self.head = data[at:]
                self.opened.heads.setdefault(self, monotonic())
        if end - at > bounds.HEAD_BYTES or data.count(b"\r\n", at, end) > bounds.HEADERS + 2:
            most = f"{bounds.HEAD_BYTES} bytes and {bounds.HEADERS} headers"
            self.refuse(Refusal(431, "head_too_large", f"a request's head has at most {most}"))
        elif not self.head:
            self.opened.heads.pop(self, None)
            before = self.cycle
            super().data_received(without_offers(data[at:end]))
            if self.cycle is not before:
                self.left = body_length(self.headers)
            elif self.parser.should_upgrade():
                return len(data)  # the connection is a WebSocket now
        return end

    def take_body(self, data: bytes, at: int) -> int:
        """Give the body's part of `data` to the parser. Returns where the rest begins."""
        cycle = self.cycle
        if cycle.response_complete:
            self.joined.close()
            return at
        if self.left != CHUNKED:
            end = min(len(data), at + self.left)
            self.left -= end - at
            super().data_received(data[at:end])
        else:
            last = data.find(LAST_CHUNK, at)
            end = last + len(LAST_CHUNK) if last >= 0 else len(data)
            super().data_received(data[at:end])
            if self.cycle is not cycle:  # a whole head stood behind it, its body's length is not known: the last one
                self.left, self.cycle.keep_alive = 0, False
            elif not cycle.more_body:
                self.left = 0
        if not self.left and not self.pipeline:  # while it is paused, for a long body, nobody learns that it is closed
            self.flow.resume_reading()
        return end

    def refuse(self, refused: Refusal) -> None:
        """Answer what is no request and close. Close at once while another answer is under way."""
        self.head, self.refused = b"", True
        if self.cycle is not None and not self.cycle.response_complete:
            self.joined.abort()
            return
        self.joined.write(whole_answer(refused))
        self.joined.close()

    def probe(self) -> None:
        """Send something, before the answer, to a client that closed its side: if it is gone its system resets."""
        cycle = self.cycle
        if self.joined.is_closing() or cycle.response_complete:
            self.opened.half_closed.discard(self)
        elif not cycle.response_started and not self.pipeline and cycle.scope["http_version"] == "1.1":
            self.joined.write(CONTINUE)


def without_offers(head: bytes) -> bytes:
    """A head without offers of other protocols than WebSocket: the name of such a header is another one."""
    if b"\r\nupgrade:" in head.lower() and not (head.startswith(b"GET ") and WEBSOCKET.search(head)):
        return OFFER.sub(IGNORED, head)
    return head


def whole_answer(refused: Refusal) -> bytes:
    """The bytes of an answer to what is no request."""
    body, status = body_of(refused), HTTPStatus(refused.status)
    line = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    line += f"x-request-id: {request_id()}\r\n"
    return b"%bcontent-length: %d\r\n\r\n%b" % (line.encode(), len(body), body)


def body_length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The length of a request's body. The parser has refused what says two."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding":
            return CHUNKED
    return 0


class Connections:
    """What clients have open at this process, and what is closed because it is late or too much: once a second, because
    a timer for each request costs 6 % of a plain call's CPU.

    The bound in all holds at every moment, that of an address once a second: a client may open many connections at
    once, if it is admitted on them soon.
    """

    def __init__(self, proxies: Sequence[Network]) -> None:
        self.addresses = Addresses(proxies)
        self.strangers = Places[Protocol](
            bounds.CONNECTIONS_AN_ADDRESS, bounds.CONNECTIONS, lambda protocol: protocol.joined.abort()
        )
        self.requests = Tasks(bounds.CONNECTIONS_AN_ADDRESS, bounds.CONNECTIONS)
        """Requests behind the operator's proxies, in the place of connections."""
        self.bodies = BodyTimeouts()
        self.heads: dict[Protocol, float] = {}
        """Connections in the middle of a head, and since when."""
        self.half_closed: set[Protocol] = set()
        self.unread: dict[Protocol, tuple[int, float]] = {}
        """Connections whose clients do not take what waits for them: how many bytes waited, and when."""
        self.when_stopping: Callable[[], object] = lambda: None
        """Ends the answers that have no end of their own: the server waits for all answers before it stops."""

    def stop(self) -> None:
        """The server stops. Again changes nothing."""
        self.when_stopping()

    def enter(self, protocol: Protocol) -> Sender:
        """The sender of a new connection, which takes a place unless it is a proxy."""
        host = protocol.client[0] if protocol.client is not None else ""
        if self.addresses.is_proxy(host):
            return Sender(host, None)
        address = self.addresses.of_connection(host)
        return Sender(address, self.strangers.take(address, protocol))

    async def close_late(self) -> None:
        """Close what takes too long, and what is too much of an address."""
        now = monotonic()
        self.bodies.cancel_late(now)
        for protocol, since in list(self.heads.items()):
            if protocol.joined.is_closing():
                del self.heads[protocol]
            elif now - since >= bounds.HEAD_SECONDS:
                protocol.refuse(Refusal(408, "head_too_slow", "the request's head did not arrive in time"))
        for protocol in list(self.half_closed):
            protocol.probe()
        self._close_unread(now)
        for place in self.strangers:
            protocol = place.holder
            if protocol.joined.is_closing():
                place.leave()
            elif protocol.cycle is None and now - place.since >= bounds.IDLE_SECONDS:
                protocol.joined.abort()
        for address in self.strangers.addresses():
            self.strangers.close_excess(address)

    def _close_unread(self, now: float) -> None:
        for protocol, (waited, since) in list(self.unread.items()):
            waits = protocol.joined.get_write_buffer_size()
            if waits <= waited - bounds.UNREAD_BYTES:
                self.unread[protocol] = (waits, now)
            elif now - since >= bounds.UNREAD_SECONDS:
                protocol.joined.abort()


OPTIONS: Final[dict[str, Any]] = {
    "http": Protocol,
    "loop": "uvloop",
    "ws": "websockets-sansio",
    "ws_max_size": HEAD.size + MAX_PAYLOAD,
    "timeout_keep_alive": bounds.IDLE_SECONDS,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
}
"""How uvicorn is started."""
