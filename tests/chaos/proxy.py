"""A wire to the chain that can be cut, or lose the answers: what lies between a worker and its node."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import Enum


class Wire(Enum):
    """How the wire is."""

    whole = "whole"
    cut = "cut"
    deaf = "deaf"
    """Requests arrive, answers do not."""


class Proxy:
    """Listens on a port of its own, in a thread, and forwards to another."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.state = Wire.whole
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.port = int(server.sockets[0].getsockname()[1])
            ready.set()
            self._stopped = asyncio.Event()
            await self._stopped.wait()
            server.close()

        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),), daemon=True)
        self._thread.start()
        ready.wait(10)

    def turn(self, state: Wire) -> None:
        """From now on. Open connections end."""
        self.state = state
        self._loop.call_soon_threadsafe(self._drop)

    def stop(self) -> None:
        """Listen no more."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(5)

    def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.state is Wire.cut:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(up_writer)
            await asyncio.gather(self._pump(reader, up_writer, False), self._pump(up_reader, writer, True))
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while data := await reader.read(65_536):
                if answers and self.state is Wire.deaf:
                    break
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.transport.abort()
