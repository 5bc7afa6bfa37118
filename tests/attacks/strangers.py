"""What strangers send, byte by byte and from addresses of their own, and whether others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import httpx

from tests.gateway.world import Running

BUSY_SECONDS = 0.1
KNOWN_WORK = json.dumps({f"{number:x}": [number] for number in range(40_000)})
KNOWN_SECONDS = 0.013
"""The CPU time of decoding that, on the machine that the bounds were measured on, when it does nothing else."""
"""The longest that the event loop may be busy without a pause, whatever strangers do."""
ATTACKER, OTHER = "127.0.0.2", "127.0.0.3"


def dial(gateway: Running, source: str = ATTACKER, seconds: float = 20) -> socket.socket:
    """A connection from an address of this machine."""
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=seconds, source_address=(source, 0))


def head(method: str, path: str, *lines: str, length: int | None = None) -> bytes:
    """A request's head."""
    size = [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *lines, *size, "", ""]).encode()


def chat_body(**more: object) -> bytes:
    """The body of a chat."""
    sent = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, **more}
    return json.dumps(sent).encode()


def chat(key: str, *lines: str, body: bytes | None = None) -> bytes:
    """A whole paid request."""
    whole = chat_body() if body is None else body
    return head("POST", "/v1/chat/completions", f"Authorization: Bearer {key}", *lines, length=len(whole)) + whole


def read(wire: socket.socket) -> bytes:
    """All that comes until the other side ends, resets, or falls silent."""
    got = b""
    with suppress(ConnectionError, TimeoutError):
        while more := wire.recv(65536):
            got += more
    return got


def read_answer(wire: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer with a length; (0, what came) if the connection ends before it is whole."""
    got = b""
    try:
        while True:
            start, blank, body = got.partition(b"\r\n\r\n")
            if blank and start.startswith(b"HTTP/1.1 100"):
                got = body
                continue
            sizes = [line for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if blank and sizes and len(body) >= int(sizes[0].partition(b":")[2]):
                return int(start.split(b" ")[1]), body
            more = wire.recv(65536)
            if not more:
                return 0, got
            got += more
    except (ConnectionError, TimeoutError):
        return 0, got


def flood(wire: socket.socket, *pieces: bytes) -> int:
    """Send pieces until the other side takes no more. Returns the bytes sent."""
    sent = 0
    with suppress(ConnectionError, TimeoutError):
        for piece in pieces:
            wire.sendall(piece)
            sent += len(piece)
    return sent


def send(gateway: Running, *pieces: bytes, source: str = ATTACKER) -> tuple[int, bytes]:
    """The answer to pieces that are sent one after the other. What the gateway no longer reads is not sent."""
    with dial(gateway, source) as wire:
        flood(wire, *pieces)
        return read_answer(wire)


def is_closed(wire: socket.socket, seconds: float = 3) -> bool:
    """Whether the other side closes the connection within some seconds. What it sends before is skipped."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            wire.settimeout(max(0.01, deadline - time.monotonic()))
            if not wire.recv(65536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


@dataclass
class Watched:
    """What another client saw during an attack, and how busy the event loop was."""

    statuses: list[int] = field(default_factory=list)
    busy_seconds: float = 0.0
    slower: float = 1.0
    """How much slower than the machine on which the bounds were measured."""


@contextmanager
def others_served(gateway: Running) -> Iterator[Watched]:
    """Ask for /health all the time. At the end: every answer was 200, and the loop was never busy for long.

    How busy is CPU time of the loop's own thread between two pauses, so that a busy machine does not count; and on one
    that is slower, also because others use its caches, as much longer as known work takes there at the end.
    """
    watched, stop = Watched(), threading.Event()
    with httpx.Client(base_url=gateway.url, timeout=20) as http:
        assert http.get("/health").status_code == 200

        def ask() -> None:
            watched.statuses.append(http.get("/health").status_code)
            while not stop.wait(0.02):
                watched.statuses.append(http.get("/health").status_code)

        async def measure() -> None:
            last = time.thread_time()
            while not stop.is_set():
                await asyncio.sleep(0.005)
                now = time.thread_time()
                watched.busy_seconds, last = max(watched.busy_seconds, now - last), now
            watched.slower = max(1.0, median(map(_known_work, range(5))) / KNOWN_SECONDS)

        loop = gateway.server.servers[0].get_loop()
        measuring = asyncio.run_coroutine_threadsafe(measure(), loop)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield watched
        finally:
            stop.set()
            asking.join()
            measuring.result(20)
    assert set(watched.statuses) == {200}, watched.statuses
    assert watched.busy_seconds < BUSY_SECONDS * watched.slower


def _known_work(_: int) -> float:
    began = time.thread_time()
    json.loads(KNOWN_WORK)
    return time.thread_time() - began
