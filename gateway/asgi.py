"""ASGI as far as it is spoken without a framework: reading a request's body, sending a whole answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gateway.answers import Headers, Kept
from gateway.deps import Gateway
from gateway.errors import Refusal

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

JSON: Headers = [(b"content-type", b"application/json")]


async def answer(send: Send, kept: Kept) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(kept.body)).encode())
    await send({"type": "http.response.start", "status": kept.status, "headers": [*kept.headers, length]})
    await send({"type": "http.response.body", "body": kept.body})


async def read_body(gateway: Gateway, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The request's body, within its size and its time."""
    most = gateway.settings.max_body_bytes
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > most:
        raise Refusal(413, "body_too_large", f"a request has at most {most} bytes", facts={"max_bytes": most})
    with gateway.patience:
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
