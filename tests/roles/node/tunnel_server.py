"""The gateway's side of a tunnel, as small as the protocol allows: it checks the hello and can make calls."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from ledger.core.values.ids import Lane, address
from ledger.core.values.tunnel_frames import CREDIT, Frame, Kind, credit, decode, encode, tunnel_hash
from ledger.core.values.typed_data import Domain, signed_by, signing_digest


@dataclass
class Answer:
    """What came back on a stream."""

    head: dict[str, object] = field(default_factory=dict)
    body: bytes = b""
    pieces: int = 0
    cancelled: str | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class TunnelServer:
    """One WebSocket endpoint at /v1/tunnel; `connected` fires when a node's hello held."""

    def __init__(self, lane: Lane, domain: Domain, grant: bool = True) -> None:
        self.lane, self.domain, self.grant = lane, domain, grant
        self.connected = asyncio.Event()
        self.hellos: list[dict[str, object]] = []
        self.socket: web.WebSocketResponse | None = None
        self.answers: dict[int, Answer] = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The protocol, from challenge to close."""
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        nonce = os.urandom(32)
        await socket.send_bytes(encode(Kind.challenge, 0, nonce))
        said = json.loads(decode((await socket.receive()).data).payload)
        party = address(said["party"])
        digest = signing_digest(self.domain, tunnel_hash(self.lane, party, nonce))
        if not signed_by(digest, bytes.fromhex(said["signature"][2:]), party):
            await socket.close(code=4401)
            return socket
        self.hellos.append(said)
        self.socket = socket
        await socket.send_bytes(encode(Kind.welcome, 0, json.dumps({"url": f"tunnel://{said['party']}"}).encode()))
        self.connected.set()
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                break
            frame = decode(message.data)
            if answer := self.answers.get(frame.stream):
                await self._take(socket, answer, frame)
        for answer in self.answers.values():
            answer.done.set()
        return socket

    async def _take(self, socket: web.WebSocketResponse, answer: Answer, frame: Frame) -> None:
        if frame.kind is Kind.response:
            answer.head = json.loads(frame.payload)
        elif frame.kind is Kind.body:
            answer.body += frame.payload
            answer.pieces += 1
            if self.grant:
                await socket.send_bytes(credit(frame.stream, len(frame.payload)))
        elif frame.kind is Kind.cancel:
            answer.cancelled = frame.payload.decode()
            answer.done.set()
        elif frame.kind is Kind.end:
            answer.done.set()

    async def begin(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        """Starts a call; its stream number."""
        assert self.socket is not None
        stream = 2 * len(self.answers) + 1
        self.answers[stream] = Answer()
        asked = {"method": method, "path": path, "headers": headers or {}}
        await self.socket.send_bytes(encode(Kind.request, stream, json.dumps(asked).encode()))
        for at in range(0, len(body), 60_000):
            await self.socket.send_bytes(encode(Kind.body, stream, body[at : at + 60_000]))
        await self.socket.send_bytes(encode(Kind.end, stream))
        return stream

    async def call(self, method: str, path: str, body: bytes = b"") -> Answer:
        """A whole call."""
        stream = await self.begin(method, path, body)
        answer = self.answers[stream]
        await asyncio.wait_for(answer.done.wait(), 20)
        return answer


__all__ = ["CREDIT", "Answer", "TunnelServer"]
