"""Tunnels shared: a node that knocked at one gateway process is reached through every other of the lane.

The process that holds the tunnel says so in PostgreSQL, with the address the others reach it at and a key made when it
started. They send it what they would have sent the node, each request sealed with that key: whoever can read the table
is a gateway of the lane. An entry lapses unless it is said again, so a process that died is not asked for long.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping

from sqlalchemy import Engine

from gateway.clock import now_ms
from gateway.database import transact
from gateway.errors import NodeFailed
from gateway.upstream.target import Target, parse
from gateway.upstream.tunnel import Tunnels
from ledger.core.values.ids import Address, address, to_hex
from ledger.store.network import tunnels as store
from ledger.store.network.tunnels import Entrance

PREFIX = "/v1/tunnel/"
AUTHENTICATION, FAILED = b"tollway-relay", b"tollway-relay-failed"
ANNOUNCE_SECONDS = 5.0
LASTS_MS = 15_000
SEEN_MS = 1_000
"""How long an entrance is believed without looking again, and that there is none."""
SKEW_MS = 60_000


class Forwarder:
    """What this process tells of its tunnels, and finds of the others'. Without a URL of its own it tells nothing."""

    def __init__(self, engine: Engine, gateway: Address, url: str, tunnels: Tunnels) -> None:
        self._engine = engine
        self._gateway = gateway
        self._url = url
        self._tunnels = tunnels
        self._key = os.urandom(32)
        self._told = asyncio.Lock()
        self._found: dict[Address, tuple[int, Entrance | None]] = {}

    async def tell(self, *more: Address) -> None:
        """Say which parties have a tunnel here, and `more`, who are about to."""
        if self._url:
            async with self._told:  # in turn: what is said later was seen later
                here = {*self._tunnels.parties(), *more}
                entrance = Entrance(self._gateway, self._url, self._key, now_ms() + LASTS_MS)
                await transact(self._engine, lambda session: store.hold(session, entrance, here))

    async def close(self) -> None:
        """Nobody is reached here any more."""
        if self._url:
            entrance = Entrance(self._gateway, self._url, self._key, 0)
            await transact(self._engine, lambda session: store.hold(session, entrance, ()))

    async def way(self, target: Target, method: str, path: str, body: bytes) -> tuple[Target, str, bytes]:
        """Where to send a request for a tunnelled node that is not here: target, path and sealing header line."""
        party = address(target.host)
        entrance = await self._entrance(party, now_ms())
        if entrance is None:
            raise NodeFailed("no tunnel of this provider is open", "unreachable", provider=target.host)
        found = parse(entrance.url)
        whole = PREFIX + to_hex(party) + target.prefix + path
        line = b"%b: %b\r\n" % (AUTHENTICATION, authenticate(entrance.key, method, whole, body, now_ms()))
        return Target(found.scheme, found.host, found.port, ours=True), whole, line

    def admits(self, headers: Mapping[bytes, bytes], method: str, path: str, body: bytes, now: int) -> bool:
        """Whether a gateway of the lane sent this, not long ago."""
        given = headers.get(AUTHENTICATION, b"")
        at = given.partition(b"-")[0]
        if not at.isdigit() or len(at) > 15 or abs(now - int(at)) > SKEW_MS:
            return False
        return hmac.compare_digest(given, authenticate(self._key, method, path, body, int(at)))

    async def _entrance(self, party: Address, now: int) -> Entrance | None:
        known = self._found.get(party)
        if known is None or now - known[0] >= SEEN_MS:
            found = await transact(self._engine, lambda session: store.entrances(session, party, now))
            known = now, next((one for one in found if one.gateway != self._gateway), None)
            self._found[party] = known
        return known[1]


def authenticate(key: bytes, method: str, path: str, body: bytes, at: int) -> bytes:
    """When, and that it was a holder of the key: `<ms>-<HMAC-SHA256 of all that is asked>`."""
    asked = b"\n".join((method.encode(), path.encode(), b"%d" % at, hashlib.sha256(body).digest()))
    return b"%d-%b" % (at, hmac.new(key, asked, hashlib.sha256).hexdigest().encode())
