"""The load: connections that each send a request, wait for its whole answer, and send the next.

`python -m bench.gateway.load PORT PATH CONNECTIONS SECONDS STREAM KEY MODEL HEADERS [RATE]` prints one JSON line.
With a RATE (calls a second over all connections) they send by the clock, and add up what the answers say was charged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop


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


def request(port: int, path: str, stream: bool, key: str, model: str, more: str = "") -> bytes:
    """The one request that is sent again and again."""
    messages = [{"role": "user", "content": "Say something short about a fox and a dog, please."}]
    body = json.dumps({"model": model, "messages": messages, "max_tokens": 64, "stream": stream}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    head += "".join(f"{line}\r\n" for line in more.split("|") if line)
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def run(port: int, raw: bytes, connections: int, seconds: float, rate: float = 0) -> dict[str, object]:
    """Calls a second, latencies in microseconds."""
    every, charged = (connections / rate if rate else 0.0), [0]
    took: list[float] = []
    failed: list[bytes] = []
    began = time.perf_counter()
    stop_at = began + seconds
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: Client(raw, stop_at, took, failed, every, charged), "127.0.0.1", port)
        for _ in range(connections)
    ]
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
    port, path, connections, seconds, stream, key, model, more, *rate = sys.argv[1:]
    raw = request(int(port), path, stream == "1", key, model, more)
    print(json.dumps(uvloop.run(run(int(port), raw, int(connections), float(seconds), *map(float, rate)))))


if __name__ == "__main__":
    main()
