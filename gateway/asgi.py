"""ASGI without a framework: what paid calls and forwarded calls need of it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.call.idempotency import JSON, Headers, StoredResponse
from gateway.errors import Refusal, body_of

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class BodyTimeouts:
    """A context around the reading of a body: refused with 408 when it lasts longer than `seconds`.

    `cancel_late` is called once a second for all of them: an asyncio.timeout for each request, whose timer uvloop makes
    and closes, costs 6 % of a plain call's CPU.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late_at: dict[asyncio.Task[Any] | None, float] = {}

    def __enter__(self) -> None:
        self._late_at[asyncio.current_task()] = asyncio.get_running_loop().time() + self._seconds

    def __exit__(self, *raised: object) -> None:
        task = asyncio.current_task()
        if self._late_at.pop(task, None) is None and task is not None:
            task.uncancel()
            raise Refusal(408, "body_too_slow", "the request did not arrive in time")

    async def cancel_late(self) -> None:
        """Stop the reading of bodies that are late."""
        now = asyncio.get_running_loop().time()
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
        await self.begin(response.status, [*response.headers, (b"content-length", b"%d" % len(response.body))])
        await self.write(response.body, more=False)

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
