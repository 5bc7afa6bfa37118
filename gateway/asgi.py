"""ASGI as far as it is spoken without a framework: reading a request's body, sending a whole answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gateway.call.idempotency import Headers, StoredResponse
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.server import CYCLE, Cycle

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

JSON: Headers = [(b"content-type", b"application/json")]


async def answer(scope: Message, send: Send, stored: StoredResponse) -> None:
    """Send a whole answer: in one step where the server is ours."""
    headers = [*stored.headers, (b"content-length", b"%d" % len(stored.body))]
    cycle: Cycle | None = scope.get(CYCLE)
    if cycle is not None and cycle.answer(stored.status, headers, stored.body):
        return
    await send({"type": "http.response.start", "status": stored.status, "headers": headers})
    await send({"type": "http.response.body", "body": stored.body})


async def read_body(gateway: Gateway, scope: Message, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The request's body, within its size and its time."""
    most = gateway.settings.max_body_bytes
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > most:
        raise Refusal(413, "body_too_large", f"a request has at most {most} bytes", facts={"max_bytes": most})
    cycle: Cycle | None = scope.get(CYCLE)
    whole = cycle.take() if cycle is not None else None
    if whole is not None:
        return whole
    with gateway.body_timeouts:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body
        parts, size = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise Refusal(413, "body_too_large", f"a request has at most {most} bytes")
        return b"".join(parts)
