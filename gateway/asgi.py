"""ASGI without a framework: what paid calls and forwarded calls need of it."""

import asyncio
import os
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from time import monotonic
from typing import Any

from gateway import bounds
from gateway.bounds import Addresses, Place
from gateway.call.idempotency import JSON, Headers, StoredResponse
from gateway.clock import steady_ms
from gateway.errors import ClientLeft, Refusal, body_of

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
CLOSE = (b"connection", b"close")
API = ("/v1/", "/v2")
"""Where paths begin that programs in browsers may call, from any site: no answer here depends on a cookie."""
OPEN_TO_BROWSERS: Headers = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*")]
PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, *"),
    (b"access-control-max-age", b"86400"),
]
"""What else a browser is answered that asks before a request. Its `*` does not stand for `authorization`."""
AUTOMATIC = 47
"""The window bits by which zlib reads gzip's head, or zlib's own, which HTTP calls deflate."""
_RUN, _COUNT = os.urandom(8).hex(), count(1)


def request_id() -> str:
    """The next id of a request: unlike all others of this and other gateways. Errors of ours are logged with it."""
    return f"req_{_RUN}{next(_COUNT):08x}"


class Sender:
    """Who sends over a connection, or a request through a proxy: the address that bounds count, and its place among
    the strangers, whose calls were not admitted yet.
    """

    __slots__ = ("address", "is_served", "place")

    def __init__(self, address: str, place: Place[Any] | None) -> None:
        self.address = address
        self.place = place
        """None for a proxy's connection."""
        self.is_served = False

    def admit(self) -> None:
        """A call was admitted: this is no stranger."""
        if self.place is not None:
            self.place.leave()

    def settle(self, served: bool) -> None:
        """The call has ended. Who was never served is a stranger again: a key alone costs nothing."""
        self.is_served |= served
        if self.place is not None and not self.is_served:
            self.place.retake()


class Presence:
    """Whether the client of a connection is still there, and what is stopped when it leaves.

    `with presence:` stands around a wait for somebody else, a node or the chain: when the client leaves, the wait is
    cancelled, and the block ends with ClientLeft. Never around a booking, which would be done all the same.
    """

    __slots__ = ("is_gone", "stop")

    def __init__(self) -> None:
        self.is_gone = False
        self.stop: Callable[[], object] | None = None
        """Called once, when the client leaves."""

    def leave(self) -> None:
        """The connection is closed."""
        self.is_gone = True
        if self.stop is not None:
            stop, self.stop = self.stop, None
            stop()

    def __enter__(self) -> None:
        if self.is_gone:
            raise ClientLeft
        task = asyncio.current_task()
        assert task is not None
        self.stop = task.cancel

    def __exit__(self, *raised: object) -> None:
        if self.is_gone:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            raise ClientLeft from None
        self.stop = None


class BodyTimeouts:
    """Limits how long the reading of bodies may take: a late one is refused with 408.

    `cancel_late` is called once a second for all of them: an asyncio.timeout for each request, whose timer uvloop makes
    and closes, costs 6 % of a plain call's CPU.
    """

    def __init__(self) -> None:
        self._late_at: dict[asyncio.Task[Any] | None, float] = {}

    def begin(self, seconds: float) -> None:
        """The current task reads a body, from now on."""
        self._late_at[asyncio.current_task()] = monotonic() + seconds

    def end(self) -> None:
        """It has read it. Refused when it was late."""
        task = asyncio.current_task()
        if self._late_at.pop(task, None) is None and task is not None:
            task.uncancel()
            raise Refusal(408, "body_too_slow", "the request did not arrive in time")

    def cancel_late(self, now: float) -> None:
        """Stop the reading of bodies that are late."""
        for task, late_at in list(self._late_at.items()):
            if late_at <= now and task is not None:
                del self._late_at[task]
                task.cancel()


class Client:
    """The client of one request: its headers and body come in, one answer goes out, whole or as a stream.

    A stream that must look cut is left without its last write: uvicorn then closes the connection without the last
    chunk.
    """

    __slots__ = (
        "_bodies",
        "_is_unread",
        "_send",
        "arrived",
        "ended",
        "headers",
        "is_backed",
        "is_open_call",
        "model",
        "more_headers",
        "path",
        "presence",
        "receive",
        "request_id",
        "sender",
        "status",
    )

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.arrived = steady_ms()
        self.request_id = request_id()
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.sender: Sender = scope["state"]["sender"]
        self.presence: Presence = scope["state"]["presence"]
        self.status: int | None = None
        """The answer's, once it has begun."""
        self.ended = False
        """The last of it was sent by `send`."""
        self.is_backed = False
        """A deposit stands behind what it shows, also if that pays for nothing."""
        self.is_open_call = False
        """It was admitted, and counts among the gateway's open calls."""
        self.model: str | None = ""
        """The name of the model or workflow that it calls, once the catalog has it. None in a realm: no metric counts
        such a call.
        """
        self.more_headers: Headers = []
        """Headers of the answer, whatever it is."""
        self._bodies: BodyTimeouts = scope["state"]["connections"].bodies
        self.receive = receive
        self._send = send
        self._is_unread = self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers

    @property
    def answered(self) -> bool:
        """Whether the answer has begun."""
        return self.status is not None

    @property
    def is_unread(self) -> bool:
        """Whether there is a body of which not all was read."""
        return self._is_unread

    def forwarded_for(self, addresses: Addresses) -> str:
        """The address for which a proxy sends this."""
        return addresses.of_request(self.sender.address, self.headers)

    async def read_body(self, max_bytes: int, seconds: float) -> bytes:
        """The request's body. Refused when it is longer than `max_bytes`, or comes too slowly."""
        length = bounds.number(self.headers.get(b"content-length", b"0"))
        if length is None or length > max_bytes:
            raise too_large(max_bytes)
        body = await self.read_beginning(max_bytes + 1, seconds)
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        return body if b"content-encoding" not in self.headers else self.unpacked(body, max_bytes)

    def unpacked(self, body: bytes, max_bytes: int) -> bytes:
        """A body without its Content-Encoding. Refused when it is not whole, of an encoding that nobody here reads, or
        longer than `max_bytes` or than its own length allows.
        """
        encoding = self.headers[b"content-encoding"].strip().lower()
        if encoding == b"identity":
            return body
        if encoding not in (b"gzip", b"deflate"):
            raise Refusal(415, "unknown_encoding", "a body may be packed by gzip or deflate", param="Content-Encoding")
        most = min(max_bytes, max(bounds.INFLATED_BYTES, bounds.INFLATED_TIMES * len(body)))
        unpacking = zlib.decompressobj(AUTOMATIC)
        try:
            found = unpacking.decompress(body, most + 1)
        except zlib.error as error:
            raise _not_packed(encoding) from error
        if len(found) > most:
            raise too_large(most)
        if not unpacking.eof or unpacking.unused_data:
            raise _not_packed(encoding)
        return found

    async def read_beginning(self, size: int, seconds: float) -> bytes:
        """The body, or at least its first `size` bytes. Refused when they come too slowly."""
        parts, got, more = [], 0, True
        self._bodies.begin(seconds)
        try:
            while more and got < size:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "body_cut", "the client left before its request was complete")
                parts.append(message.get("body", b""))
                got += len(parts[-1])
                more = message.get("more_body", False)
        finally:
            self._bodies.end()
        self._is_unread = more
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def again(self, body: bytes) -> Receive:
        """Receives the body that was read, once more, and then what comes after it."""
        parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return parts.pop() if parts else await self.receive()

        return receive

    async def send(self, message: Message) -> None:
        """Send a message of the answer. Its head gets the request's id, what a browser wants to see, and, when not all
        was read, that the connection ends.
        """
        self.ended = message["type"] == "http.response.body" and not message.get("more_body")
        if self.status is None:
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode()), *self.more_headers]
            if b"origin" in self.headers and self.path.startswith(API):
                headers += OPEN_TO_BROWSERS
            if self._is_unread:
                headers.append(CLOSE)
            message["headers"] = headers
        await self._send(message)

    async def answer(self, response: StoredResponse) -> None:
        headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body})

    async def refuse(self, refused: Refusal) -> None:
        """Answer with an error."""
        await self.answer(self.refusal(refused))

    def refusal(self, refused: Refusal) -> StoredResponse:
        """An error as an answer to this request, in the shape of its path's protocol."""
        return StoredResponse(refused.status, [*JSON, *refused.headers], body_of(refused, self.path))

    async def begin(self, status: int, headers: Headers) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer's body; without `more` it is the last one."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _not_packed(encoding: bytes) -> Refusal:
    said = f"the body is not what {encoding.decode()} makes of one"
    return Refusal(400, "invalid_encoding", said, param="Content-Encoding")


def too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"a request has at most {most} bytes", facts={"max_bytes": most})
