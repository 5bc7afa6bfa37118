"""Tunnels: nodes behind NAT, each on a WebSocket that it opened itself. A caller sees them as ordinary nodes.

A node proves its party by signing a challenge. Calls are streams of frames (`core/values/tunnel_frames`); each side
sends at most the credit it was given. Several nodes of a party share its calls; a second tunnel with the same node name
replaces the first.

A node is connected to one gateway process; the others of the lane reach it through that process. It writes into
PostgreSQL which parties it serves, its internal URL, and a key made at its start. The others send it the same request
with an HMAC by that key: who can read the table is a gateway of the lane. An entry expires unless it is renewed.

How far a node is, is the time that its answers to our challenge and our pings took: no model's work is in it, and none
can be given before it is asked. A node that answers no ping is not there any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Engine

from gateway import bounds
from gateway.clock import now_ms
from gateway.database import transact
from gateway.errors import NodeFailed
from gateway.upstream.http import Limits, Reply
from gateway.upstream.target import Target, parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Lane, address, to_hex
from ledger.core.values.tunnel_frames import CREDIT, MAX_PAYLOAD, Frame, Kind, credit, decode, encode, tunnel_hash
from ledger.core.values.typed_data import Domain, signed_by, signing_digest
from ledger.store.network import tunnels as store
from ledger.store.network.tunnels import Entrance

SendBytes = Callable[[bytes], Awaitable[None]]
Close = Callable[[int, str], Awaitable[None]]

GRANT_BYTES = 64 * 1024
REFUSED, SILENT, REPLACED, TOO_MANY = 4401, 4408, 4409, 4429
"""WebSocket close codes."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What RFC 9110 allows in a header: a tunnelled head came through no parser."""
PREFIX = "/v1/tunnel/"
AUTHENTICATION, FAILED = b"tollway-relay", b"tollway-relay-failed"
ANNOUNCE_SECONDS = 5.0
ENTRY_MS = 15_000
"""The lifetime of an announced entry."""
READ_SECONDS = 1.0
"""How often the entries of the other gateways are read."""
PING_SECONDS = 5.0
PONG_SECONDS = 30.0
"""A tunnel whose node does not answer a ping for so long is closed. What it uploads is ahead of its answer."""
PINGS = 8
"""The shortest of so many round trips counts: the others waited for something."""
SKEW_MS = 60_000
"""Largest difference between the clocks of two gateways."""


class Stream:
    """One call through a tunnel. Its Reply reads from it as from a connection."""

    def __init__(self, node: TunnelNode, number: int) -> None:
        self.number = number
        self.reply = Reply(self)
        self.head: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.allowed = CREDIT
        self.more = asyncio.Event()
        self.asked_at = self.heard_at = asyncio.get_running_loop().time()
        self._node = node
        self._owed = 0
        self._credit = CREDIT

    def flow(self, on: bool) -> None:
        """Grant the node as much as was read since the last grant."""
        if on and self._owed >= GRANT_BYTES:
            owed, self._owed = self._owed, 0
            self._credit += owed
            self._node.post(credit(self.number, owed))

    def abort(self, failure: NodeFailed) -> None:
        """Tell the node to stop, and end the reply with `failure`."""
        if self._node.streams.pop(self.number, None) is not None:
            self._node.post(encode(Kind.cancel, self.number, failure.message.encode()[:200]))
        self.end(failure)

    def take(self, frame: Frame) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if frame.kind is Kind.response:
            self._begin(frame.payload)
        elif frame.kind is Kind.body and self.head.done():
            self._owed += len(frame.payload)
            self._credit -= len(frame.payload)
            if self._credit < 0:
                self.abort(NodeFailed("the node sent more than it was allowed to", "nonsense"))
                return
            self.reply.feed(frame.payload)
        elif frame.kind is Kind.end:
            self._node.streams.pop(self.number, None)
            self.end(None if self.head.done() else NodeFailed("the node ended before it answered", "cut"))
        elif frame.kind is Kind.cancel:
            self._node.streams.pop(self.number, None)
            self.end(NodeFailed("the node broke its answer off", "cut"))
        elif frame.kind is Kind.credit:
            self.allowed += int.from_bytes(frame.payload, "big")
            self.more.set()

    def end(self, failure: NodeFailed | None) -> None:
        """End the reply: complete, or with `failure`."""
        self.more.set()
        self.reply.finish(failure)
        if failure is not None and not self.head.done():
            self.head.set_exception(failure)

    def _begin(self, payload: bytes) -> None:
        try:
            head = orjson.loads(payload)
            self.reply.status = int(head["status"])
            lines = [(str(name).lower(), str(value)) for name, value in head.get("headers", {}).items()]
            if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in lines):
                raise ValueError("not a header")
            self.reply.headers = {name.encode(): value.encode("latin-1") for name, value in lines}
        except (ValueError, KeyError, AttributeError, TypeError):
            self.abort(NodeFailed("the node's answer has no head", "nonsense"))
            return
        if not self.head.done():
            self.head.set_result(self.reply)


@dataclass(eq=False)
class TunnelNode:
    """One connected node. `challenge_seconds` is the time that its answer to our challenge took."""

    party: Address
    name: str
    send: SendBytes
    close: Close
    challenge_seconds: float
    streams: dict[int, Stream] = field(default_factory=dict)
    outbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    has_room: asyncio.Event = field(default_factory=asyncio.Event)
    next_number: int = 1
    _round_trips: deque[float] = field(default_factory=lambda: deque(maxlen=PINGS))
    _pinged: tuple[bytes, float] | None = None
    """What a pong must say, and when it was asked for."""

    def __post_init__(self) -> None:
        self._round_trips.append(self.challenge_seconds)

    @property
    def round_trip_ms(self) -> int:
        return max(1, round(1_000 * min(self._round_trips)))

    def ping(self, now: float) -> bool:
        """Ask for a pong, unless one is awaited. False when that is so for too long."""
        if self._pinged is not None:
            return now - self._pinged[1] < PONG_SECONDS
        self._pinged = os.urandom(8), now
        self.post(encode(Kind.ping, 0, self._pinged[0]))
        return True

    def pong(self, payload: bytes, now: float) -> None:
        if self._pinged is not None and payload == self._pinged[0]:
            self._round_trips.append(now - self._pinged[1])
            self._pinged = None

    def post(self, frame: bytes) -> None:
        """Queue a frame of a few bytes, or one that found room."""
        self.outbox.put_nowait(frame)

    async def write(self) -> None:
        """Send queued frames in order, until cancelled."""
        while True:
            await self.send(await self.outbox.get())
            self.has_room.set()

    async def room(self, stream: Stream) -> None:
        """Wait until the node has taken most of what it was sent: its credit may be more than it reads."""
        while self.outbox.qsize() >= bounds.WAITING_FRAMES and not stream.head.done():
            self.has_room.clear()
            await self.has_room.wait()

    def drop(self) -> None:
        """End every open call: the socket is closed."""
        while self.streams:
            _, stream = self.streams.popitem()
            stream.end(NodeFailed("the node's tunnel closed before its answer was complete", "cut"))
        self.has_room.set()


class Tunnels:
    """The nodes connected to this process."""

    def __init__(self, lane: Lane, domain: Domain, limits: Limits) -> None:
        self._lane = lane
        self._domain = domain
        self._limits = limits
        self._nodes: dict[Address, dict[str, TunnelNode]] = {}

    def challenge(self, hello: Frame, nonce: bytes) -> tuple[Address, str]:
        """The party and node name of a hello. Rejected unless the party signed our challenge."""
        try:
            said = orjson.loads(hello.payload)
            party, name = address(said["party"]), str(said["node"])[:100]
            signature = bytes.fromhex(str(said["signature"]).removeprefix("0x"))
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected("a hello needs party, node and signature") from error
        digest = signing_digest(self._domain, tunnel_hash(self._lane, party, nonce))
        if hello.kind is not Kind.hello or not signed_by(digest, signature, party):
            raise Rejected(f"the hello is not signed by {to_hex(party)}")
        return party, name

    async def join(self, node: TunnelNode) -> None:
        """Add a node. An older socket of the same name is closed."""
        nodes = self._nodes.setdefault(node.party, {})
        older = nodes.get(node.name)
        nodes[node.name] = node
        node.post(encode(Kind.welcome, 0, orjson.dumps({"url": f"tunnel://{to_hex(node.party)}"})))
        if older is not None:
            older.drop()
            await older.close(REPLACED, "this node opened another tunnel")

    def leave(self, node: TunnelNode) -> None:
        nodes = self._nodes.get(node.party, {})
        if nodes.get(node.name) is node:
            del nodes[node.name]
            if not nodes:
                del self._nodes[node.party]
        node.drop()

    def round_trips(self) -> dict[Address, int]:
        """How far each party with a tunnel here is, in ms: the farthest of its nodes, as any of them may serve."""
        return {party: self._round_trip(nodes) for party, nodes in self._nodes.items()}

    def round_trip_ms(self, party: Address) -> int | None:
        nodes = self._nodes.get(party)
        return self._round_trip(nodes) if nodes else None

    @staticmethod
    def _round_trip(nodes: Mapping[str, TunnelNode]) -> int:
        return max(node.round_trip_ms for node in nodes.values())

    def connected(self, target: Target) -> bool:
        """Whether a node of the target's party is here."""
        return address(target.host) in self._nodes

    def take(self, node: TunnelNode, message: bytes) -> None:
        """Handle a message from a node. Frames of unknown streams are ignored."""
        frame = decode(message)
        if frame.kind is Kind.pong:
            node.pong(frame.payload, asyncio.get_running_loop().time())
            return
        stream = node.streams.get(frame.stream)
        if stream is not None:
            stream.take(frame)

    async def request(self, target: Target, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """POST a request through the least busy tunnel of the target's party. The result is the answer's head."""
        nodes = self._nodes.get(address(target.host))
        if not nodes:
            raise NodeFailed("no tunnel of this provider is open here", "unreachable", provider=target.host)
        node = min(nodes.values(), key=lambda one: len(one.streams))
        number, node.next_number = node.next_number, node.next_number + 2
        stream = node.streams[number] = Stream(node, number)
        asked: dict[str, Any] = {"method": "POST", "path": target.prefix + path, "headers": headers}
        try:
            async with asyncio.timeout(self._limits.first_byte_seconds):
                await node.room(stream)
                node.post(encode(Kind.request, number, orjson.dumps(asked)))
                await self._send_body(node, stream, body)
                reply = await stream.head
        except TimeoutError:
            failure = NodeFailed("the node did not begin to answer in time", "timeout")
            stream.abort(failure)
            raise failure from None
        except asyncio.CancelledError:
            stream.abort(NodeFailed("cancelled", "cancelled"))
            raise
        self._watch(stream)
        return reply

    @staticmethod
    async def _send_body(node: TunnelNode, stream: Stream, body: bytes) -> None:
        at = 0
        while at < len(body) and not stream.head.done():
            while stream.allowed <= 0 and not stream.head.done():
                stream.more.clear()
                await stream.more.wait()
            await node.room(stream)
            size = min(MAX_PAYLOAD, max(stream.allowed, 0), len(body) - at)
            node.post(encode(Kind.body, stream.number, body[at : at + size]))
            stream.allowed -= size
            at += size
        node.post(encode(Kind.end, stream.number))

    def _watch(self, stream: Stream) -> None:
        """Abort an answer that is late, as a connection does."""
        loop, limits = asyncio.get_running_loop(), self._limits

        def check() -> None:
            if stream.reply.complete or stream.reply.failure is not None:
                return
            if stream.reply.begun:
                if not stream.reply.is_awaited:  # the consumer is slow, not the node
                    stream.heard_at = loop.time()
                late_at = min(stream.heard_at + limits.idle_seconds, stream.asked_at + limits.call_seconds)
            else:
                late_at = stream.asked_at + limits.first_byte_seconds
            left = late_at - loop.time()
            if left <= 0:
                stream.abort(NodeFailed("the node fell silent", "timeout"))
            else:
                loop.call_later(left, check)

        check()


class Forwarder:
    """Announces this process's tunnels to the lane's other gateways, and finds theirs. Without a URL: finds only."""

    def __init__(self, engine: Engine, gateway: Address, url: str, tunnels: Tunnels) -> None:
        self._engine = engine
        self._gateway = gateway
        self._url = url
        self._tunnels = tunnels
        self._key = os.urandom(32)
        self._announcing = asyncio.Lock()
        self._elsewhere: dict[Address, Entrance] = {}

    async def announce(self, *more: TunnelNode) -> None:
        """Renew the entries of the parties with a tunnel here, and of `more`, whose tunnel is about to open."""
        if self._url:
            async with self._announcing:  # in order: what is written later was read later
                far = {**{one.party: one.round_trip_ms for one in more}, **self._tunnels.round_trips()}
                until = now_ms() + ENTRY_MS
                here = [Entrance(party, self._gateway, self._url, self._key, ms, until) for party, ms in far.items()]
                await transact(self._engine, lambda session: store.hold(session, self._gateway, here))

    async def read(self) -> None:
        """Read which parties have a tunnel at another gateway of the lane."""
        found = await transact(self._engine, lambda session: store.entrances(session, self._gateway, now_ms()))
        self._elsewhere = {one.party: one for one in reversed(found)}

    async def close(self) -> None:
        """Remove every entry of this process."""
        if self._url:
            await transact(self._engine, lambda session: store.hold(session, self._gateway, ()))

    def entrance(self, party: Address) -> Entrance | None:
        """The gateway through which a party is reached that has no tunnel here; None when there is none."""
        found = self._elsewhere.get(party)
        return found if found is not None and found.until > now_ms() else None

    def route(self, target: Target, path: str, body: bytes) -> tuple[Target, str, bytes]:
        """The route to a node connected elsewhere: target, path, and the header line that proves us."""
        party = address(target.host)
        entrance = self.entrance(party)
        if entrance is None:
            raise NodeFailed("no tunnel of this provider is open", "unreachable", provider=target.host)
        whole = PREFIX + to_hex(party) + target.prefix + path
        line = b"%b: %b\r\n" % (AUTHENTICATION, authenticate(entrance.key, whole, body, now_ms()))
        return gateway_of(entrance), whole, line

    def admits(self, headers: Mapping[bytes, bytes], path: str, now: int) -> bytes | None:
        """The SHA-256 of the body that a gateway of the lane sends within `SKEW_MS`; None when it is none of them."""
        given = headers.get(AUTHENTICATION, b"")
        at, _, rest = given.partition(b"-")
        digest = rest.partition(b"-")[0]
        sent_at = bounds.number(at)
        if sent_at is None or abs(now - sent_at) > SKEW_MS:
            return None
        return digest if hmac.compare_digest(given, _proof(self._key, path, digest, sent_at)) else None


def gateway_of(entrance: Entrance) -> Target:
    """The gateway that holds a tunnel, as a target."""
    gateway = parse(entrance.url)
    return Target(gateway.scheme, gateway.host, gateway.port, ours=True)


def authenticate(key: bytes, path: str, body: bytes, at: int) -> bytes:
    """The header value `<ms>-<the body's SHA-256>-<HMAC-SHA256 of POST, path and both>`: it is checked before the body
    is read.
    """
    return _proof(key, path, hashlib.sha256(body).hexdigest().encode(), at)


def _proof(key: bytes, path: str, digest: bytes, at: int) -> bytes:
    asked = b"\n".join((b"POST", path.encode(), b"%d" % at, digest))
    return b"%d-%b-%b" % (at, digest, hmac.new(key, asked, hashlib.sha256).hexdigest().encode())
