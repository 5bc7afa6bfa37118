"""Clients of other protocols than chat: their requests become chat requests before anything else is done, and what
would be sent to a chat client becomes their answer, event by event, after everything else was.

Between the two a call is one like any other: held, metered, charged, kept and replayed as chat. So a chat client's call
does nothing for this, and nothing here is seen by a node.
"""

from typing import Any, Protocol

import orjson

from gateway.asgi import Client, Message, Receive, Send
from gateway.dialects.messages import COUNT_PATH, Messages, TokenCount
from gateway.dialects.messages import PATH as MESSAGES
from gateway.dialects.responses import PATH as RESPONSES
from gateway.dialects.responses import Responses
from gateway.metering import openai

CALL_HEADERS = frozenset((b"tollway-receipt", b"tollway-call"))
"""Headers that name the call of an answer."""


class Dialect(Protocol):
    """One request of a protocol, and its answer, both as chat has them. Only `read` raises."""

    id: str
    """The answer's, by the call's."""
    prefix: str
    key_header: bytes
    """Where its clients send their key."""

    def read(self, body: bytes) -> bytes: ...
    def whole(self, chat: bytes) -> bytes: ...
    def refused(self, status: int, body: bytes) -> bytes: ...
    def begin(self) -> bytes: ...
    def take(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def fail(self, error: dict[str, Any]) -> bytes: ...


DIALECTS: dict[str, type[Dialect]] = {RESPONSES: Responses, MESSAGES: Messages, COUNT_PATH: TokenCount}
PAID = frozenset((RESPONSES, MESSAGES))


class TranslatedClient(Client):
    """The client of a request in one of these protocols."""

    __slots__ = ("_call", "_is_begun", "_is_stream", "_parts", "_sending", "_start", "dialect")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, self._translate)
        self.dialect = DIALECTS[scope["path"]]()
        self._sending = send
        self._start: Message = {}
        self._parts: list[bytes] = []
        self._is_stream = self._is_begun = False
        key = self.headers.get(self.dialect.key_header)
        if key is not None and b"authorization" not in self.headers:
            self.headers[b"authorization"] = b"Bearer " + key

    async def _translate(self, message: Message) -> None:
        """Send a message of a chat answer as this protocol's. The head of a whole answer waits for its body."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._is_stream:
            body, more = self._events(message.get("body", b"")), message.get("more_body", False)
            if body or not more:
                await self._sending({"type": "http.response.body", "body": body, "more_body": more})
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._answer_whole(b"".join(self._parts))

    async def _begin(self, message: Message) -> None:
        headers = [(name, value) for name, value in message.get("headers", ()) if name != b"content-length"]
        for name, value in list(headers):
            if name in CALL_HEADERS:
                self.dialect.id = self.dialect.prefix + value.decode()[2:34]
            elif name == b"x-request-id" and self.dialect.key_header == b"x-api-key":
                headers.append((b"request-id", value))
        self._start = {**message, "headers": headers}
        self._is_stream = any(
            value.startswith(b"text/event-stream") for name, value in headers if name == b"content-type"
        )
        if self._is_stream:
            await self._sending(self._start)

    async def _answer_whole(self, body: bytes) -> None:
        status: int = self._start["status"]
        if body:
            body = self.dialect.whole(body) if status < 300 else self.dialect.refused(status, body)
        headers = [*self._start["headers"], (b"content-length", b"%d" % len(body))]
        await self._sending({**self._start, "headers": headers})
        await self._sending({"type": "http.response.body", "body": body})

    def _events(self, body: bytes) -> bytes:
        """The events for those of a chat stream. Its comments are ours: the receipt, and signs of life."""
        out: list[bytes] = []
        for raw in body.split(b"\n\n"):
            data = openai.data_of(raw)
            if data is None:
                out += [raw, b"\n\n"] if raw else []
                continue
            if not self._is_begun:
                self._is_begun = True
                out.append(self.dialect.begin())
            if data == b"[DONE]":
                out.append(self.dialect.end())
                continue
            error = _error_in(data)
            out.append(self.dialect.take(data) if error is None else self.dialect.fail(error))
        return b"".join(out)


def _error_in(data: bytes) -> dict[str, Any] | None:
    """The error that ends a stream: no node's event has one here."""
    if b'"error"' not in data:
        return None
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, dict) else None
