"""The tunnel of a node behind NAT: one outbound WebSocket through which the gateway sends calls to the node.

Each call is passed to the node's own HTTP server, so a tunnelled call has the same limits and the same answer as a
direct one. A lost socket ends its open calls; the node reconnects after a pause that doubles up to 30 seconds.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Lane, to_hex
from ledger.core.values.tunnel_frames import CREDIT, MAX_PAYLOAD, Frame, Kind, credit, decode, encode, tunnel_hash
from ledger.core.values.typed_data import Domain, Signer, signing_digest
from roles.node.state import RECORDING_BYTES

log = logging.getLogger("node")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}


@dataclass(eq=False, slots=True)
class Stream:
    """One call: the rest of its request body, and how many bytes of the answer may still be sent."""

    number: int
    body: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    allowed: int = CREDIT
    more: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def take(self, most: int) -> int:
        """Wait until bytes may be sent. Returns how many, at most `most`."""
        while not self.allowed:
            self.more.clear()
            await self.more.wait()
        size = min(most, self.allowed, MAX_PAYLOAD)
        self.allowed -= size
        return size


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's proof to the gateway: its provider's key, the lane and its domain, the node's name and models."""

    signer: Signer
    domain: Domain
    lane: Lane
    node: str
    models: Sequence[str] = ()

    def hello(self, nonce: bytes) -> bytes:
        digest = signing_digest(self.domain, tunnel_hash(self.lane, self.signer.address, nonce))
        said = {
            "version": 1,
            "node": self.node,
            "party": to_hex(self.signer.address),
            "models": list(self.models),
            "signature": to_hex(self.signer.sign(digest)),
        }
        return encode(Kind.hello, 0, json.dumps(said).encode())


class Tunnel:
    """Keeps the WebSocket open. Once the gateway accepts the node, `url` is set and `opened` fires."""

    def __init__(self, gateway: str, local: str, identity: Identity) -> None:
        self._gateway, self._local, self._identity = gateway.rstrip("/") + "/v1/tunnel", local, identity
        self._streams: dict[int, Stream] = {}
        self.opened = asyncio.Event()
        self.url = ""

    async def run(self) -> None:
        """Run until cancelled. Raises Rejected when the gateway refuses this node, since a retry would not help."""
        pause = SHORTEST_SECONDS
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            while True:
                try:
                    async with http.ws_connect(self._gateway, heartbeat=15, max_msg_size=2 * MAX_PAYLOAD) as socket:
                        if await self._session(http, socket):
                            pause = SHORTEST_SECONDS
                        if socket.close_code == 4401:
                            raise Rejected("the gateway refused this node's signature", gateway=self._gateway)
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    log.info("tunnel_lost", extra={"kind": type(error).__name__})
                finally:
                    for stream in self._streams.values():
                        if stream.task:
                            stream.task.cancel()
                    self._streams.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_SECONDS)

    async def _session(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Serve one socket until it closes. Returns whether the gateway accepted the node."""
        welcome = False
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                break
            frame = decode(message.data)
            if frame.kind is Kind.challenge:
                await socket.send_bytes(self._identity.hello(frame.payload))
            elif frame.kind is Kind.welcome:
                welcome, self.url = True, str(json.loads(frame.payload)["url"])
                self.opened.set()
            elif frame.kind is Kind.ping:
                await socket.send_bytes(encode(Kind.pong, frame.stream, frame.payload))
            elif welcome:
                self._take(http, socket, frame)
        return welcome

    def _take(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
        if frame.kind is Kind.request:
            fresh = self._streams[frame.stream] = Stream(frame.stream)
            fresh.task = asyncio.create_task(self._serve(http, socket, fresh, json.loads(frame.payload)))
        elif stream := self._streams.get(frame.stream):
            if frame.kind is Kind.body:
                stream.body.put_nowait(frame.payload)
            elif frame.kind is Kind.end:
                stream.body.put_nowait(None)
            elif frame.kind is Kind.credit:
                stream.allowed += int.from_bytes(frame.payload, "big")
                stream.more.set()
            elif frame.kind is Kind.cancel and stream.task:
                stream.task.cancel()

    async def _serve(
        self,
        http: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse,
        stream: Stream,
        asked: dict[str, object],
    ) -> None:
        """Pass one call to the node's HTTP server and its answer back."""
        try:
            body, headers = await self._whole_body(socket, stream), _forwarded(asked.get("headers"))
            path = str(asked.get("path"))
            if not path.startswith("/"):  # "@host/" behind our address would be another host, which we may reach
                raise Rejected("not a path of this node")
            url, method = self._local + path, str(asked.get("method"))
            asking = http.request(method, url, data=body, headers=headers, allow_redirects=False)
            async with asking as answer:
                head = {"status": answer.status, "headers": _forwarded(dict(answer.headers))}
                await socket.send_bytes(encode(Kind.response, stream.number, json.dumps(head).encode()))
                async for piece in answer.content.iter_any():
                    while piece:
                        size = await stream.take(len(piece))
                        await socket.send_bytes(encode(Kind.body, stream.number, piece[:size]))
                        piece = piece[size:]
            await socket.send_bytes(encode(Kind.end, stream.number))
        except (aiohttp.ClientError, TimeoutError, OSError, Rejected) as error:
            if not socket.closed:
                await socket.send_bytes(encode(Kind.cancel, stream.number, type(error).__name__.encode()))
        finally:
            self._streams.pop(stream.number, None)

    async def _whole_body(self, socket: aiohttp.ClientWebSocketResponse, stream: Stream) -> bytes:
        parts, size = list[bytes](), 0
        while (part := await stream.body.get()) is not None:
            parts.append(part)
            size += len(part)
            if size > RECORDING_BYTES:
                raise Rejected(f"a call's body has at most {RECORDING_BYTES} bytes")
            await socket.send_bytes(credit(stream.number, len(part)))
        return b"".join(parts)


def _forwarded(headers: object) -> dict[str, str]:
    given = headers if isinstance(headers, dict) else {}
    return {str(name): str(value) for name, value in given.items() if str(name).lower() not in HOP_BY_HOP}
