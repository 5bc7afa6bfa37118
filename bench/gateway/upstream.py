"""A mock node as fast as Python gets: a raw protocol that answers fixed bytes, whole or as a stream of 16 tokens; the
stream in one write, or one event every 2 ms when the request says so.

`python -m bench.gateway.upstream PORT`
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

TOKENS = 16
PACED = b'"user":"paced"'
"""What a request says that wants its stream event by event."""
PAUSE_SECONDS = 0.002
OPTIONS_BYTES = 512
"""Options stand at the begin or the end of a body: a long prompt between them is not read."""


def _piece(content: str | None, finish: str | None = None) -> bytes:
    delta = {"content": content} if content is not None else {}
    row = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [row]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def models_answer() -> bytes:
    """The one model, for whoever looks before it calls."""
    return _whole({"object": "list", "data": [{"id": "mock", "object": "model", "created": 1, "owned_by": "bench"}]})


def plain_answer() -> bytes:
    """A whole chat completion."""
    message = {"role": "assistant", "content": "the quick brown fox jumps over the lazy dog and rests"}
    usage = {"prompt_tokens": 12, "completion_tokens": TOKENS, "total_tokens": 12 + TOKENS}
    row = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1, "model": "m", "choices": [row]}
    return _whole({**body, "usage": usage})


def _whole(body: dict[str, object]) -> bytes:
    raw = json.dumps(body, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)


def stream_answer() -> list[bytes]:
    """The same as a stream: its head with the first event, each other event, and its end."""
    usage = b'"usage":{"prompt_tokens":12,"completion_tokens":16,"total_tokens":28}'
    last = b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1,"model":"m","choices":[],%b}\n\n'
    events = [_piece(f"t{n} ") for n in range(TOKENS)] + [_piece(None, "stop"), last % usage, b"data: [DONE]\n\n"]
    first, *others = (b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head + first, *others, b"0\r\n\r\n"]


class Mock(asyncio.Protocol):
    """One connection. Requests are not read beyond their length and whether they want a stream, and which."""

    plain, events, models = plain_answer(), stream_answer(), models_answer()
    streamed = b"".join(events)

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0
            if len(self._rest) < end + 4 + length:
                return
            body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
            options = b"%b,%b" % (body[:OPTIONS_BYTES], body[-OPTIONS_BYTES:])
            options = options.replace(b": ", b":")
            if head.startswith(b"get "):
                self._transport.write(self.models)
            elif b'"stream":true' not in options:
                self._transport.write(self.plain)
            elif PACED in options:
                self._pace(0)
            else:
                self._transport.write(self.streamed)

    def _pace(self, number: int) -> None:
        """Write an event, and the next one after a pause."""
        self._transport.write(self.events[number])
        if number + 1 < len(self.events):
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._pace, number + 1)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
