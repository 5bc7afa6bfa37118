"""The load: connections that each send a request, wait for its whole answer, and send the next.

`python -m bench.gateway.load PORT PATH CONNECTIONS SECONDS KIND KEY MODEL HEADERS [RATE]` prints one JSON line. A kind
is `plain`, `stream`, `paced` (a stream that the node sends event by event) or `long` (prompts of 200 to 400 KB, of
which every other connection streams its answers).
With a RATE (calls a second over all connections) they send by the clock, and add up what the answers say was charged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Final, NamedTuple, cast

import uvloop

LINE: Final = 'The quick brown fox "jumps" over the lazy dog, 12 times a day.\n'
LONG_LINES: Final = (3_000, 4_000, 5_000, 6_000)
"""How often the line stands in a long prompt: 200 to 400 KB of JSON."""


class Target(NamedTuple):
    """Where calls go, and as whose: `more` are further header lines, with a bar between two."""

    port: int
    path: str
    key: str
    model: str
    more: str


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, request: bytes, stop_at: float, took: list[float], failed: list[bytes], every: float, charged: list[int]
    ) -> None:
        self._request, self._stop_at, self._took, self._failed = request, stop_at, took, failed
        self._every, self._charged, self._due = every, charged, 0.0
        self._rest = b""
        self._length = -1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._due = time.perf_counter()
        self._send()

    def data_received(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        if self._length < 0 and not self._head():
            return
        whole = len(self._rest) >= self._length if self._length else self._rest.endswith(b"0\r\n\r\n")
        if not whole:
            return
        self._took.append(time.perf_counter() - self._began)
        now = time.perf_counter()
        if self._every:
            self._charged[0] += charge_in(self._rest)
            self._due += self._every
        if now >= self._stop_at:
            self._transport.close()
        elif self._due > now:
            asyncio.get_running_loop().call_later(self._due - now, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._rest[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            self._failed.append(self._rest[:300])
        at = head.find(b"content-length:")
        self._length = end + 4 + int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0
        return True

    def _send(self) -> None:
        self._rest, self._length = b"", -1
        self._began = time.perf_counter()
        self._transport.write(self._request)


def charge_in(answer: bytes) -> int:
    """Atoms an answer says were charged: in its head, or in a stream's last comment."""
    for mark, end in ((b"\ntollway-charge: ", b"\r"), (b'"charge":"', b'"')):
        at = answer.find(mark)
        if at >= 0:
            return int(answer[at + len(mark) : answer.find(end, at + len(mark))])
    return 0


def request(target: Target, kind: str, number: int) -> bytes:
    """The request that a connection of this number sends again and again."""
    port, path, key, model, more = target
    prompt, streams = "Say something short about a fox and a dog, please.", kind in ("stream", "paced")
    if kind == "long":
        prompt, streams = LINE * (LONG_LINES[number % len(LONG_LINES)]), number % 2 == 1
    asked = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 64, "stream": streams}
    body = json.dumps(asked | ({"user": "paced"} if kind == "paced" else {})).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    head += "".join(f"{line}\r\n" for line in more.split("|") if line)
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def run(target: Target, kind: str, connections: int, seconds: float, rate: float = 0) -> dict[str, object]:
    """Calls a second, latencies in microseconds."""
    sent = [request(target, kind, number) for number in range(connections)]
    every, charged = (connections / rate if rate else 0.0), [0]
    took: list[float] = []
    failed: list[bytes] = []
    began = time.perf_counter()
    stop_at = began + seconds
    loop = asyncio.get_running_loop()
    clients = [partial(Client, raw, stop_at, took, failed, every, charged) for raw in sent]
    pairs = [await loop.create_connection(client, "127.0.0.1", target.port) for client in clients]
    await asyncio.gather(*(client.done for _, client in pairs))
    lasted = time.perf_counter() - began
    took.sort()
    count = len(took)
    return {
        "calls": count,
        "per_second": count / lasted,
        "p50_us": 1e6 * took[count // 2] if count else 0,
        "p99_us": 1e6 * took[min(count - 1, count * 99 // 100)] if count else 0,
        "failed": len(failed),
        "charged": charged[0],
        "first_failure": failed[0].decode(errors="replace") if failed else None,
    }


def main() -> None:
    """From the command line."""
    port, path, connections, seconds, kind, key, model, more, *rate = sys.argv[1:]
    target = Target(int(port), path, key, model, more)
    print(json.dumps(uvloop.run(run(target, kind, int(connections), float(seconds), *map(float, rate)))))


if __name__ == "__main__":
    main()
