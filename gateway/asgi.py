"""ASGI without a framework: what paid calls and forwarded calls need of it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.call.idempotency import JSON, Headers, StoredResponse
from gateway.errors import Refusal, body_of

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

MOST_JOINED_BYTES = 64 * 1024
"""More is sent before the turn ends: the transport must notice a slow reader."""


class JoinedWrites:
    """A transport that sends what one turn of the event loop writes together. uvicorn writes the head of an answer and
    then its body; as two packets they cost a plain call 6 % more CPU.
    """

    def __init__(self, transport: Any) -> None:
        self._transport, self._unsent = transport, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent += data
        if len(self._unsent) >= MOST_JOINED_BYTES:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent and not self._transport.is_closing():
            self._transport.write(unsent)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over joined writes. The method is asyncio's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))


class BodyTimeouts:
    """A context around the reading of a body: refused with 408 when it lasts longer than `seconds`.

    `cancel_late` is called once a second for all of them: an asyncio.timeout for each request, whose timer uvloop makes
    and closes, costs 6 % of a plain call's CPU.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late_at: dict[asyncio.Task[Any] | None, float] = {}

    def __enter__(self) -> None:
        self._late_at[asyncio.current_task()] = monotonic() + self._seconds

    def __exit__(self, *raised: object) -> None:
        task = asyncio.current_task()
        if self._late_at.pop(task, None) is None and task is not None:
            task.uncancel()
            raise Refusal(408, "body_too_slow", "the request did not arrive in time")

    async def cancel_late(self) -> None:
        """Stop the reading of bodies that are late."""
        now = monotonic()
        for task, late_at in list(self._late_at.items()):
            if late_at <= now and task is not None:
                del self._late_at[task]
                task.cancel()


class Client:
    """The client of one request: its headers and body come in, one answer goes out, whole or as a stream.

    A stream that must look cut is left without its last write: uvicorn then closes the connection without the last
    chunk.
    """

    __slots__ = ("_receive", "_send", "answered", "headers")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.answered = False
        """The answer has begun: its status is sent."""
        self._receive = receive
        self._send = send

    async def read_body(self, max_bytes: int, timeouts: BodyTimeouts) -> bytes:
        """The request's body. Refused when it is longer than `max_bytes` or comes too slowly."""
        length = self.headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > max_bytes:
            raise _too_large(max_bytes)
        with timeouts:
            message = await self._receive()
            body: bytes = message.get("body", b"")
            if not message.get("more_body", False):
                return body
            parts, size = [body], len(body)
            while message.get("more_body", False):
                message = await self._receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > max_bytes:
                    raise _too_large(max_bytes)
            return b"".join(parts)

    async def wait_until_gone(self) -> None:
        """Return when the client has closed its connection, or has its whole answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, response: StoredResponse) -> None:
        self.answered = True
        headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body})

    async def begin(self, status: int, headers: Headers) -> None:
        self.answered = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer's body; without `more` it is the last one."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def refused_response(refused: Refusal) -> StoredResponse:
    return StoredResponse(refused.status, [*JSON, *refused.headers], body_of(refused))


def _too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"a request has at most {most} bytes", facts={"max_bytes": most})
