"""ASGI without a framework: what paid calls and forwarded calls need of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.call.idempotency import Headers, StoredResponse
from gateway.errors import Refusal
from gateway.settings import Settings

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

JSON: Headers = [(b"content-type", b"application/json")]


class Client:
    """Who sent one request: its headers and body come in, one answer goes out, whole or as a stream.

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

    async def read_body(self, settings: Settings) -> bytes:
        """The request's body. Refused above `max_body_bytes`, or when it is not whole after `body_seconds`."""
        most = settings.max_body_bytes
        length = self.headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(settings.body_seconds):
                message = await self._receive()
                body: bytes = message.get("body", b"")
                if not message.get("more_body", False):
                    return body
                parts, size = [body], len(body)
                while message.get("more_body", False):
                    message = await self._receive()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                return b"".join(parts)
        except TimeoutError as late:
            raise Refusal(408, "body_too_slow", "the request did not arrive in time") from late

    async def wait_until_gone(self) -> None:
        """Return when the client has closed its connection, or has its whole answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, response: StoredResponse) -> None:
        """Send a whole answer."""
        headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
        await self.begin(response.status, headers)
        await self.write(response.body, more=False)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send an answer's status and headers. uvloop sends them with what is written in the same turn of its loop."""
        self.answered = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer's body; without `more` it is the last one."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"a request has at most {most} bytes", facts={"max_bytes": most})
