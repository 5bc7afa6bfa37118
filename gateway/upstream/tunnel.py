"""Tunnels: nodes behind NAT, each on one WebSocket it opened itself. To a call, a tunnel is a node like any other.

A node proves its party by signing a challenge. Calls are streams of frames (`core.frames`); each side sends at most the
credit it was given. Several nodes of one party share its calls; a node that knocks again replaces its older socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import NodeFailed
from gateway.upstream.http import Reply
from gateway.upstream.target import Target
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, address, to_hex
from ledger.core.values.tunnel_frames import CREDIT, MAX_PAYLOAD, Frame, Kind, credit, decode, encode, tunnel_hash
from ledger.core.values.typed_data import Domain, signed_by, signing_digest

SendBytes = Callable[[bytes], Awaitable[None]]
Close = Callable[[int, str], Awaitable[None]]

GRANT_BYTES = 64 * 1024
REFUSED, REPLACED = 4401, 4409


class Stream:
    """One call through a tunnel. For a Reply it is what a connection is: something to slow down or to abort."""

    def __init__(self, node: TunnelNode, number: int) -> None:
        self.number = number
        self.reply = Reply(self)
        self.head: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.allowed = CREDIT
        self.more = asyncio.Event()
        self.heard_at = asyncio.get_running_loop().time()
        self._node = node
        self._owed = 0

    def flow(self, on: bool) -> None:
        """The reader keeps up: grant the bytes it has taken."""
        if on and self._owed >= GRANT_BYTES:
            owed, self._owed = self._owed, 0
            self._node.post(credit(self.number, owed))

    def abort(self, failure: NodeFailed) -> None:
        """The reader wants no more: tell the node."""
        if self._node.streams.pop(self.number, None) is not None:
            self._node.post(encode(Kind.cancel, self.number, failure.message.encode()[:200]))
        self.end(failure)

    def take(self, frame: Frame) -> None:
        """A frame of this call has come."""
        self.heard_at = asyncio.get_running_loop().time()
        if frame.kind is Kind.response:
            self._begin(frame.payload)
        elif frame.kind is Kind.body and self.head.done():
            self._owed += len(frame.payload)
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
        """Nothing more will come."""
        self.more.set()
        self.reply.finish(failure)
        if failure is not None and not self.head.done():
            self.head.set_exception(failure)

    def _begin(self, payload: bytes) -> None:
        try:
            said = orjson.loads(payload)
            self.reply.status = int(said["status"])
            named = said.get("headers", {}).items()
            self.reply.headers = {k.lower().encode("latin-1"): str(v).encode("latin-1") for k, v in named}
        except (ValueError, KeyError, AttributeError, TypeError):
            self.abort(NodeFailed("the node's answer has no head", "nonsense"))
            return
        if not self.head.done():
            self.head.set_result(self.reply)


@dataclass(eq=False)
class TunnelNode:
    """One connected node."""

    party: Address
    name: str
    send: SendBytes
    close: Close
    streams: dict[int, Stream] = field(default_factory=dict)
    outbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    next_number: int = 1

    def post(self, frame: bytes) -> None:
        """Send a frame when its turn comes."""
        self.outbox.put_nowait(frame)

    async def write(self) -> None:
        """Send what is posted, in order, until cancelled."""
        while True:
            await self.send(await self.outbox.get())

    def drop(self) -> None:
        """The socket is gone: every open call was cut."""
        for stream in list(self.streams.values()):
            self.streams.pop(stream.number, None)
            stream.end(NodeFailed("the node's tunnel closed before its answer was whole", "cut"))


class Tunnels:
    """Every node connected to this process."""

    def __init__(self, lane: int, domain: Domain, idle_seconds: float) -> None:
        self._lane = lane
        self._domain = domain
        self._idle_seconds = idle_seconds
        self._nodes: dict[Address, dict[str, TunnelNode]] = {}

    def challenge(self, hello: Frame, nonce: bytes) -> tuple[Address, str]:
        """The party and node name of a hello. Rejected unless the party signed our challenge."""
        try:
            said = orjson.loads(hello.payload)
            party, name = address(said["party"]), str(said["node"])[:100]
            signature = bytes.fromhex(str(said["signature"]).removeprefix("0x"))
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected("a hello has party, node and signature") from error
        digest = signing_digest(self._domain, tunnel_hash(self._lane, party, nonce))
        if hello.kind is not Kind.hello or not signed_by(digest, signature, party):
            raise Rejected(f"the hello is not signed by {to_hex(party)}")
        return party, name

    async def join(self, node: TunnelNode) -> None:
        """A node is there. An older socket of the same name is closed."""
        nodes = self._nodes.setdefault(node.party, {})
        older = nodes.get(node.name)
        nodes[node.name] = node
        node.post(encode(Kind.welcome, 0, orjson.dumps({"url": f"tunnel://{to_hex(node.party)}"})))
        if older is not None:
            older.drop()
            await older.close(REPLACED, "this node opened another tunnel")

    def leave(self, node: TunnelNode) -> None:
        """A node is gone."""
        nodes = self._nodes.get(node.party, {})
        if nodes.get(node.name) is node:
            del nodes[node.name]
        node.drop()

    def parties(self) -> list[Address]:
        """Whose nodes are here."""
        return [party for party, nodes in self._nodes.items() if nodes]

    def connected(self, target: Target) -> bool:
        """Whether a node of the target's party is here."""
        return bool(self._nodes.get(address(target.host)))

    def take(self, node: TunnelNode, message: bytes) -> None:
        """A message from a node. Frames of unknown streams are ignored."""
        frame = decode(message)
        stream = node.streams.get(frame.stream)
        if stream is not None:
            stream.take(frame)

    async def request(
        self, target: Target, path: str, body: bytes, headers: dict[str, str], method: str, seconds: float
    ) -> Reply:
        """Send a request through the least busy tunnel of the target's party; the head of the answer."""
        nodes = self._nodes.get(address(target.host))
        if not nodes:
            raise NodeFailed("no tunnel of this provider is open here", "unreachable", provider=target.host)
        node = min(nodes.values(), key=lambda one: len(one.streams))
        number, node.next_number = node.next_number, node.next_number + 2
        stream = node.streams[number] = Stream(node, number)
        asked: dict[str, Any] = {"method": method, "path": target.prefix + path, "headers": headers}
        node.post(encode(Kind.request, number, orjson.dumps(asked)))
        try:
            async with asyncio.timeout(seconds):
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
            size = min(MAX_PAYLOAD, max(stream.allowed, 0), len(body) - at)
            node.post(encode(Kind.body, stream.number, body[at : at + size]))
            stream.allowed -= size
            at += size
        node.post(encode(Kind.end, stream.number))

    def _watch(self, stream: Stream) -> None:
        """Abort an answer that falls silent."""
        loop = asyncio.get_running_loop()

        def tick() -> None:
            if stream.reply.complete or stream.reply.failure is not None:
                return
            left = stream.heard_at + self._idle_seconds - loop.time()
            if left <= 0:
                stream.abort(NodeFailed("the node fell silent", "timeout"))
            else:
                loop.call_later(left, tick)

        loop.call_later(self._idle_seconds, tick)
