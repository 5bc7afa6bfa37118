"""Connections to nodes, kept open between calls. One is used again only after a whole exchange."""

import asyncio
import errno
import ssl
from collections import defaultdict
from collections.abc import Awaitable
from time import monotonic

from gateway.errors import NodeFailed
from gateway.upstream.guard import Guard
from gateway.upstream.http import Connection, Limits, Reply
from gateway.upstream.target import TUNNEL, Target
from gateway.upstream.tunnel import FAILED, Forwarder, Tunnels
from ledger.core.values.errors import Rejected

Endpoint = tuple[str, str, int]
"""Scheme, host and port."""
OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Errors of a connection that say what this process lacks, and nothing of the node."""
TLS_ROUND_TRIPS = 2
"""Round trips to open a connection with TLS 1.3: one for TCP, one for the handshake."""


class Pool:
    """Sends requests to nodes. One per gateway process."""

    def __init__(self, guard: Guard, limits: Limits, tunnels: Tunnels, forwarder: Forwarder) -> None:
        self.tunnels = tunnels
        self.forwarder = forwarder
        self.guard = guard
        self._limits = limits
        self._idle: defaultdict[Endpoint, list[Connection]] = defaultdict(list)
        self._tls = ssl.create_default_context()
        self._round_trips: dict[Endpoint, int] = {}

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
        return self._round_trips.get((target.scheme, target.host, target.port))

    async def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort(NodeFailed("the gateway is closing", "cancelled"))
        self._idle.clear()

    async def _through_tunnel(self, target: Target, path: str, body: bytes, headers: bytes) -> Reply:
        """By a tunnel of this process, or by the gateway that has one."""
        if self.tunnels.connected(target):
            lines = (line.decode("latin-1").partition(": ") for line in headers.split(b"\r\n") if line)
            named = {name: value for name, _, value in lines}
            return await self.tunnels.request(target, path, body, named)
        gateway, whole, authentication = await self.forwarder.route(target, path, body)
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
        idle = self._idle.get(endpoint)
        oldest = monotonic() - self._limits.keep_seconds
        while idle:
            connection = idle.pop()
            if not connection.closed and connection.idle_since >= oldest:
                return connection
            connection.abort(NodeFailed("kept too long", "cancelled"))
        return None

    def _give_back(self, endpoint: Endpoint, connection: Connection) -> None:
        idle = self._idle[endpoint]
        if not connection.closed and len(idle) < self._limits.keep_connections:
            idle.append(connection)
        else:
            connection.abort(NodeFailed("not needed any more", "cancelled"))

    async def _open(self, target: Target, endpoint: Endpoint) -> Connection:
        loop = asyncio.get_running_loop()

        def release(connection: Connection) -> None:
            self._give_back(endpoint, connection)

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
                self._round_trips[endpoint] = min(took, self._round_trips.get(endpoint, took))
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
