"""A small real HTTP server that behaves as a test wants: answers, streams, hangs, dies, or speaks nonsense."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request a node got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire:
    """What a behaviour writes to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        """A whole answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(raw)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        await self.writer.drain()

    async def begin(self, **headers: str) -> None:
        """The head of a stream."""
        lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await self.writer.drain()

    async def event(self, data: Any) -> None:
        """One event of a stream."""
        text = data if isinstance(data, str) else json.dumps(data)
        raw = f"data: {text}\n\n".encode()
        self.writer.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        await self.writer.drain()

    async def end(self) -> None:
        """The end of a stream's body."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def closed(self) -> None:
        """Wait until the other side closes the connection, and fail as a server does then."""
        await self.reader.read()
        raise ConnectionError

    def die(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()


Behaviour = Callable[[Asked, Wire], Awaitable[None]]


def chat(text: str = "hello there", prompt: int = 10, completion: int = 2, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
        **more,
    }


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    """A chunk of a chat stream."""
    delta = {"content": text} if text is not None else {}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def final_usage(prompt: int, completion: int) -> dict[str, Any]:
    """The usage chunk of a stream."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**piece(None), "choices": [], "usage": usage}


def answering(answer: Any | None = None, status: int = 200, **headers: str) -> Behaviour:
    """Always the same answer, but to who asks for its models: it has one, "m"."""

    async def behave(asked: Asked, wire: Wire) -> None:
        if asked.path == "/v1/models":
            await wire.answer({"object": "list", "data": [{"id": "m", "object": "model"}]})
            return
        await wire.answer(chat() if answer is None else answer, status, **headers)

    return behave


def streaming(
    tokens: int = 5,
    usage: tuple[int, int] | None = (10, 5),
    *,
    die_after: int | None = None,
    pause: float = 0.0,
    **headers: str,
) -> Behaviour:
    """A stream of tokens t0, t1, ...; with its usage if asked for it; cut after some tokens if told to."""

    async def behave(asked: Asked, wire: Wire) -> None:
        if not asked.json.get("stream"):
            await wire.answer(chat("".join(f"t{n} " for n in range(tokens)), *(usage or (10, tokens))))
            return
        await wire.begin(**headers)
        for n in range(tokens):
            if die_after is not None and n == die_after:
                wire.die()
                return
            await wire.event(piece(f"t{n} "))
            await asyncio.sleep(pause)
        await wire.event(piece(None, "stop"))
        if usage is not None and (asked.json.get("stream_options") or {}).get("include_usage"):
            await wire.event(final_usage(*usage))
        await wire.event("[DONE]")
        await wire.end()

    return behave


def amid(wait: Callable[[], Awaitable[object]]) -> Behaviour:
    """Waits in the middle of its answer, whole or streamed."""

    async def behave(asked: Asked, wire: Wire) -> None:
        if not asked.json.get("stream"):
            await wait()
            await wire.answer(chat())
            return
        await wire.begin()
        await wire.event(piece("hello "))
        await wait()
        await wire.event(piece("there", "stop"))
        if (asked.json.get("stream_options") or {}).get("include_usage"):
            await wire.event(final_usage(10, 2))
        await wire.event("[DONE]")
        await wire.end()

    return behave


async def hanging(asked: Asked, wire: Wire) -> None:
    """Never answers."""
    await asyncio.sleep(3600)


async def working(asked: Asked, wire: Wire) -> None:
    """Works, and says nothing, until the caller closes the connection."""
    await wire.closed()


async def dying(asked: Asked, wire: Wire) -> None:
    """Drops the connection instead of answering."""
    wire.die()


@dataclass
class Node:
    """A running node. Its behaviour can be changed at any time."""

    behaviour: Behaviour = field(default_factory=answering)
    port: int = 0
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)
    aborted: int = 0

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> Node:
        """Listen on its port, or a free one, in a thread of its own."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, self.host, self.port)
            self.port = int(server.sockets[0].getsockname()[1])
            self._stop = asyncio.Event()
            ready.set()
            await self._stop.wait()
            server.close()
            calls = asyncio.all_tasks() - {asyncio.current_task()}
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        def run() -> None:
            with closing(
                self._loop
            ):  # its files stay open else: a gateway's start keeps what exists from the collector
                self._loop.run_until_complete(serve())

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def stop(self) -> None:
        """Stop listening."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(first.split(" ")[1], headers, body)
                self.asked.append(asked)
                await self.behaviour(asked, Wire(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.aborted += 1
        finally:
            writer.close()
