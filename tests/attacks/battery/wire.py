"""A wire between client and gateway that resets a connection where the request asks for it, or lets it trickle.

A paid request has a header `x-wire`: `request=N` resets after N bytes of it, `answer=N` after N bytes of its answer,
`slow` lets the answer through in small pieces. Requests without it pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from dataclasses import dataclass

PIECE = 8_192
SLOW_SECONDS = 0.02
"""A pause after each piece of a slow answer: 400 KB a second."""
RECEIVE_BYTES = 16_384
"""What a socket to a gateway buffers at most: the rest of a slow answer stays at the gateway."""
LINGER_NOT = struct.pack("ii", 1, 0)
ASKED = re.compile(rb"\r\nx-wire: (request|answer|slow)=(\d+)\r\n", re.IGNORECASE)
PAID = re.compile(rb"\r\n(payment-signature|authorization):", re.IGNORECASE)


@dataclass
class _Fate:
    """What is to become of a connection: after how many more bytes of what it is reset; and whether it is slow."""

    request: int | None = None
    answer: int | None = None
    slow: bool = False

    def read(self, data: bytes) -> None:
        """Note what a paid request asks for."""
        found = ASKED.search(data)
        if found is None or PAID.search(data) is None:
            return
        kind, count = found[1].lower(), int(found[2])
        self.slow = kind == b"slow"
        self.request = count if kind == b"request" else None
        self.answer = count if kind == b"answer" else None


class ResettingWire:
    """Listens on a port of its own and forwards to a gateway, from the address the client has."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.resets = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> ResettingWire:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Listen no more, and end what is open."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        client = writer.get_extra_info("socket")
        try:
            upstream = await self._dial(writer.get_extra_info("peername")[0])
        except OSError:
            self._reset(writer)
            self._tasks.discard(task)
            return
        fate, (back, forth) = _Fate(), upstream
        pumps = [
            asyncio.create_task(self._requests(reader, forth, fate)),
            asyncio.create_task(self._answers(back, writer, fate)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            if fate.request is not None or fate.answer is not None:
                self.resets += 1
                for socket_ in (client, forth.get_extra_info("socket")):
                    with contextlib.suppress(OSError):
                        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                writer.transport.abort()
                forth.transport.abort()
            writer.close()
            forth.close()
            self._tasks.discard(task)

    async def _dial(self, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = socket.socket()
        made.setblocking(False)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            made.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.target))
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made, limit=PIECE)

    async def _requests(self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter, fate: _Fate) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE):
                fate.read(data)
                forth.write(data if fate.request is None else data[: fate.request])
                await forth.drain()
                if fate.request is not None:
                    return

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await back.read(PIECE):
                if fate.answer is not None and passed + len(data) > fate.answer:
                    writer.write(data[: fate.answer - passed])
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()
                    return
                passed += len(data) if fate.answer is not None else 0
                writer.write(data)
                await writer.drain()
                if fate.slow:
                    await asyncio.sleep(SLOW_SECONDS)

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        writer.transport.abort()
