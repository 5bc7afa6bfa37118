"""Connections to nodes, kept open between calls. One is used again only after a whole exchange."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from gateway import bounds
from gateway.errors import NodeFailed
from gateway.upstream.guard import Guard
from gateway.upstream.http import Connection, Limits, Reply
from gateway.upstream.target import TUNNEL, Target
from gateway.upstream.tunnel import FAILED, Forwarder, Tunnels, gateway_of
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, address

Endpoint = tuple[str, str, int]
"""Scheme, host and port."""
OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Errors of a connection that say what this process lacks, and nothing of the node."""
TLS_ROUND_TRIPS = 2
"""Round trips to open a connection with TLS 1.3: one for TCP, one for the handshake."""


@dataclass(slots=True)
class Reached:
    """What is known of an endpoint: its idle connections, the oldest first, and the shortest round trip in ms."""

    idle: list[Connection] = field(default_factory=list)
    round_trip_ms: int | None = None

    def close(self, before: float, why: str) -> None:
        """Close the connections that are idle since then."""
        while self.idle and (self.idle[0].closed or self.idle[0].idle_since < before):
            self.idle.pop(0).abort(NodeFailed(why, "cancelled"))


class TunnelTo:
    """The way to a party behind NAT: how far it is now, or that there is none, whoever holds its tunnel."""

    def __init__(self, pool: Pool, party: Address) -> None:
        self._pool = pool
        self._party = party

    @property
    def round_trip_ms(self) -> int | None:
        """By a tunnel of this process; else by another gateway's, which is as far as that gateway and its node."""
        here = self._pool.tunnels.round_trip_ms(self._party)
        if here is not None:
            return here
        entrance = self._pool.forwarder.entrance(self._party)
        return entrance.round_trip_ms + (self._pool.round_trip_ms(gateway_of(entrance)) or 0) if entrance else None


class Pool:
    """Sends requests to nodes. One per gateway process."""

    def __init__(self, guard: Guard, limits: Limits, tunnels: Tunnels, forwarder: Forwarder) -> None:
        self.tunnels = tunnels
        self.forwarder = forwarder
        self.guard = guard
        self._limits = limits
        self._reached: dict[Endpoint, Reached] = {}
        self._tls = ssl.create_default_context()

    def request(self, target: Target, path: str, body: bytes, headers: bytes = b"") -> Awaitable[Reply]:
        """POST to a node; the result is ready when the head of its answer has come. `headers` are whole lines.

        A kept connection that closes before the first byte of the answer is replaced once by a new one: the node cannot
        have begun to answer.
        """
        if target.scheme == TUNNEL:
            return self._through_tunnel(target, path, body, headers)
        return self._send(target, target.prefix + path, body, target.head + headers)

    def round_trip_ms(self, target: Target) -> int | None:
        """The shortest round trip of any new connection to a node, at least 1; None through a tunnel, or unknown."""
        reached = self._reached.get((target.scheme, target.host, target.port))
        return reached.round_trip_ms if reached is not None else None

    def tunnel(self, target: Target) -> TunnelTo | None:
        """The tunnel to a node; None when it is called without one."""
        return TunnelTo(self, address(target.host)) if target.scheme == TUNNEL else None

    async def close_idle(self) -> None:
        """Close the connections that were kept too long, of endpoints that nobody calls any more too."""
        oldest = monotonic() - self._limits.keep_seconds
        for reached in self._reached.values():
            reached.close(oldest, "kept too long")

    async def close(self) -> None:
        for reached in self._reached.values():
            reached.close(inf, "the gateway is closing")
        self._reached.clear()

    async def _through_tunnel(self, target: Target, path: str, body: bytes, headers: bytes) -> Reply:
        """By a tunnel of this process, or by the gateway that has one."""
        if self.tunnels.connected(target):
            lines = (line.decode("latin-1").partition(": ") for line in headers.split(b"\r\n") if line)
            named = {name: value for name, _, value in lines}
            return await self.tunnels.request(target, path, body, named)
        gateway, whole, authentication = self.forwarder.route(target, path, body)
        reply = await self._send(gateway, whole, body, headers + authentication)
        failed = reply.headers.get(FAILED)
        if failed is not None:
            reply.cancel()
            raise NodeFailed("the node failed behind the gateway that holds its tunnel", failed.decode("latin-1"))
        return reply

    async def _send(self, target: Target, path: str, body: bytes, headers: bytes) -> Reply:
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n"
        message = head % (path.encode(), target.host_header, headers, len(body)) + body
        endpoint = (target.scheme, target.host, target.port)
        connection = self._take(endpoint)
        if connection is not None:
            try:
                return await self._exchange(connection, message)
            except NodeFailed as failed:
                if failed.kind != "cut" or connection.heard:
                    raise
        return await self._exchange(await self._open(target, endpoint), message)

    async def _exchange(self, connection: Connection, message: bytes) -> Reply:
        try:
            return await connection.exchange(message, self._limits)
        except asyncio.CancelledError:
            connection.abort(NodeFailed("cancelled", "cancelled"))
            raise

    def _take(self, endpoint: Endpoint) -> Connection | None:
        reached = self._reached.get(endpoint)
        if reached is None:
            return None
        oldest = monotonic() - self._limits.keep_seconds
        while reached.idle:
            connection = reached.idle.pop()
            if not connection.closed and connection.idle_since >= oldest:
                return connection
            connection.abort(NodeFailed("kept too long", "cancelled"))
        return None

    def _give_back(self, endpoint: Endpoint, connection: Connection) -> None:
        reached = self._reached.get(endpoint)
        if reached is not None and not connection.closed and len(reached.idle) < self._limits.keep_connections:
            reached.idle.append(connection)
        else:
            connection.abort(NodeFailed("not needed any more", "cancelled"))

    def _note(self, endpoint: Endpoint, round_trip_ms: int) -> None:
        """Remember an endpoint, in the place of the one that was reached first."""
        reached = self._reached.setdefault(endpoint, Reached())
        reached.round_trip_ms = min(round_trip_ms, reached.round_trip_ms or round_trip_ms)
        if len(self._reached) > bounds.ENDPOINTS:
            self._reached.pop(next(iter(self._reached))).close(inf, "not needed any more")

    async def _open(self, target: Target, endpoint: Endpoint) -> Connection:
        loop = asyncio.get_running_loop()

        def release(connection: Connection) -> None:
            self._give_back(endpoint, connection)

        secure = target.scheme == "https"
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                address = target.address or (target.host if target.ours else "")
                address = address or await self.guard.resolve(target.host, target.port)
                began = loop.time()
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, release),
                    address,
                    target.port,
                    ssl=self._tls if secure else None,
                    server_hostname=target.host if secure else None,
                )
                took = max(1, round((loop.time() - began) * 1000 / (TLS_ROUND_TRIPS if secure else 1)))
                self._note(endpoint, took)
                return connection
        except TimeoutError as error:
            raise NodeFailed("the node cannot be reached in time", "unreachable", host=target.host) from error
        except Rejected as error:
            raise NodeFailed(f"the node may not be reached: {error.message}", "unreachable") from error
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                raise
            reason = getattr(error, "strerror", None) or error
            raise NodeFailed(f"the node cannot be reached: {reason}", "unreachable") from error
