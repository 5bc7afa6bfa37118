"""Connections to nodes, kept open between calls and given back only when an exchange ended whole."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass

from gateway.upstream.forwarding import FAILED, Forwarder
from gateway.upstream.guard import Guard
from gateway.upstream.http import Connection, NodeFailed, Reply
from gateway.upstream.target import TUNNEL, Target
from gateway.upstream.tunnel import Tunnels

Place = tuple[str, str, int]
TLS_ROUND_TRIPS = 2
"""What opening a connection takes with TLS 1.3: one for TCP, one for the handshake."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each step may take, in seconds, and how many idle connections a node keeps."""

    connect_seconds: float = 3.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 30.0
    keep_seconds: float = 30.0
    keep_connections: int = 256


class Pool:
    """Sends requests to nodes. One per gateway process."""

    def __init__(self, guard: Guard, limits: Limits, tunnels: Tunnels, forwarder: Forwarder) -> None:
        self.tunnels = tunnels
        self.forwarder = forwarder
        self.guard = guard
        self._limits = limits
        self._idle: defaultdict[Place, list[Connection]] = defaultdict(list)
        self._tls = ssl.create_default_context()
        self._round_trips: dict[Place, int] = {}

    def request(
        self, target: Target, path: str, body: bytes, headers: bytes = b"", *, method: str = "POST", seconds: float = 0
    ) -> Awaitable[Reply]:
        """The head of the node's answer. `seconds` bounds the wait for it, if the limits do not already.

        `headers` are whole lines. A kept connection that turns out dead before a byte came back is tried once more on
        a fresh one: the node cannot have begun to answer.
        """
        if target.scheme == TUNNEL:
            return self._through_tunnel(target, path, body, headers, method, seconds)
        return self._send(target, target.prefix + path, body, target.head + headers, method, seconds)

    def round_trip_ms(self, target: Target) -> int | None:
        """The shortest time a connection to a node ever took to open, at least 1; None through a tunnel, or unknown."""
        return self._round_trips.get((target.scheme, target.host, target.port))

    async def close(self) -> None:
        """Close every idle connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort(NodeFailed("the gateway is closing", "cancelled"))
        self._idle.clear()

    async def _through_tunnel(
        self, target: Target, path: str, body: bytes, headers: bytes, method: str, seconds: float
    ) -> Reply:
        """By the tunnel that is here, or by the gateway that has one."""
        if self.tunnels.connected(target):
            first_byte = seconds or self._limits.first_byte_seconds
            lines = (line.decode("latin-1").partition(": ") for line in headers.split(b"\r\n") if line)
            return await self.tunnels.request(target, path, body, {k: v for k, _, v in lines}, method, first_byte)
        gateway, whole, authentication = await self.forwarder.way(target, method, path, body)
        reply = await self._send(gateway, whole, body, headers + authentication, method, seconds)
        failed = reply.headers.get(FAILED)
        if failed is not None:
            reply.cancel()
            raise NodeFailed("the node failed behind the gateway that holds its tunnel", failed.decode("latin-1"))
        return reply

    async def _send(self, target: Target, path: str, body: bytes, headers: bytes, method: str, seconds: float) -> Reply:
        message = b"%b %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
            *(method.encode(), path.encode(), target.host_header),
            *(headers, len(body), body),
        )
        first_byte = self._limits.first_byte_seconds
        first_byte = min(first_byte, seconds) if seconds else first_byte
        place = (target.scheme, target.host, target.port)
        connection = self._take(place)
        if connection is not None:
            try:
                return await self._exchange(connection, message, first_byte)
            except NodeFailed as failed:
                if failed.kind != "cut" or connection.heard:
                    raise
        return await self._exchange(await self._open(target, place), message, first_byte)

    async def _exchange(self, connection: Connection, message: bytes, first_byte: float) -> Reply:
        try:
            return await connection.exchange(message, first_byte, self._limits.idle_seconds)
        except asyncio.CancelledError:
            connection.abort(NodeFailed("cancelled", "cancelled"))
            raise

    def _take(self, place: Place) -> Connection | None:
        kept = self._idle.get(place)
        oldest = asyncio.get_running_loop().time() - self._limits.keep_seconds
        while kept:
            connection = kept.pop()
            if not connection.closed and connection.idle_since >= oldest:
                return connection
            connection.abort(NodeFailed("kept too long", "cancelled"))
        return None

    def _give_back(self, place: Place, connection: Connection) -> None:
        kept = self._idle[place]
        if not connection.closed and len(kept) < self._limits.keep_connections:
            kept.append(connection)
        else:
            connection.abort(NodeFailed("not needed any more", "cancelled"))

    async def _open(self, target: Target, place: Place) -> Connection:
        loop = asyncio.get_running_loop()

        def release(connection: Connection) -> None:
            self._give_back(place, connection)

        secure = target.scheme == "https"
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                address = target.host if target.ours else await self.guard.resolve(target.host, target.port)
                began = loop.time()
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, release),
                    address,
                    target.port,
                    ssl=self._tls if secure else None,
                    server_hostname=target.host if secure else None,
                )
                took = max(1, round((loop.time() - began) * 1000 / (TLS_ROUND_TRIPS if secure else 1)))
                self._round_trips[place] = min(took, self._round_trips.get(place, took))
                return connection
        except TimeoutError as error:
            raise NodeFailed("the node cannot be reached in time", "unreachable", host=target.host) from error
        except OSError as error:
            raise NodeFailed(f"the node cannot be reached: {error.strerror or error}", "unreachable") from error
