"""Download an artifact by its digest: from several peers at once, only missing chunks, resumable.

Every chunk and every complete file is hashed, so a peer that is slow, gone or lying can do no more harm than being
dropped. What was received stays on disk and is not requested again. A plain peer serves without payment; a Seller is
reached through a gateway and paid by the byte.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from ledger.core.values.errors import Rejected, Unavailable
from roles.node.artifacts.chunking import MAX_BYTES, Chunk
from roles.node.artifacts.layout import Layer, Layout, read_chunk, wanted
from roles.node.artifacts.manifest import MANIFEST, Descriptor, file_digest

PER_PEER = 4
STRIKES = 3
MANIFEST_BYTES = 64 << 20


@dataclass(slots=True)
class Pulled:
    """The cost of a download: bytes by peer, bytes that were present already, and the peers that sent wrong bytes."""

    fetched: Counter[str] = field(default_factory=Counter)
    reused_bytes: int = 0
    liars: set[str] = field(default_factory=set)

    @property
    def fetched_bytes(self) -> int:
        return sum(self.fetched.values())


@dataclass(frozen=True, slots=True)
class Hole:
    """A missing chunk, and each file and offset it belongs to."""

    chunk: Chunk
    places: list[tuple[Path, int]]


class Pull:
    """One download into one layout."""

    def __init__(self, layout: Layout, peers: Sequence[str | Seller], http: aiohttp.ClientSession) -> None:
        self._layout, self._http = layout, http
        self._peers = [_Peer(peer) if isinstance(peer, str) else peer for peer in peers]
        self._strikes: Counter[str] = Counter()
        self.pulled = Pulled()

    async def run(self, digest: str) -> Pulled:
        """Download the whole artifact. Raises Unavailable when no peer is left; received chunks are kept."""
        if not self._peers:
            raise Rejected("no peer to download from: give --peer URL")
        if any(row["digest"] == digest for row in self._layout.manifests()):
            return self.pulled
        manifest = await self._blob(digest, MANIFEST_BYTES)
        for small in wanted(manifest):
            if not self._layout.path(small.digest).exists():
                self._layout.add(await self._blob(small.digest, small.size), small.media_type)
        layers = [layer for layer in self._layout.layers(manifest) if not self._blob_path(layer).exists()]
        await self._fill(self._holes(layers))
        for layer in layers:
            part = self._part(layer)
            if f"sha256:{file_digest(part)}" != layer.descriptor.digest:
                part.unlink()
                raise Rejected(f"{layer.filepath}: its chunks do not make the layer the manifest names")
            part.replace(self._blob_path(layer))
        self._layout.add(manifest, MANIFEST)
        self._layout.publish(Descriptor(MANIFEST, digest, len(manifest)), digest)
        return self.pulled

    def _holes(self, layers: Sequence[Layer]) -> list[Hole]:
        """The missing chunks. Chunks that another artifact or an earlier try left on disk are copied at once."""
        held, holes = self._layout.held_chunks(), dict[str, Hole]()
        self._layout.partial.mkdir(exist_ok=True)
        for layer in layers:
            path = self._part(layer)
            begun = path.exists()
            with path.open("r+b" if begun else "w+b") as file:
                file.truncate(layer.descriptor.size)
                for chunk in layer.chunks:
                    here = begun and _is(os.pread(file.fileno(), chunk.size, chunk.offset), chunk)
                    if here or self._copied(held.get(chunk.digest), file.fileno(), chunk):
                        self.pulled.reused_bytes += chunk.size
                    else:
                        hole = holes.setdefault(chunk.digest, Hole(chunk, []))
                        hole.places.append((path, chunk.offset))
        return list(holes.values())

    def _copied(self, source: tuple[Path, Chunk] | None, target: int, chunk: Chunk) -> bool:
        if source is None:
            return False
        body = read_chunk(*source)
        if not _is(body, chunk):
            return False
        os.pwrite(target, body, chunk.offset)
        return True

    async def _fill(self, holes: Sequence[Hole]) -> None:
        queue = deque(holes)
        while queue:
            live = [peer for peer in self._peers if self._strikes[str(peer)] < STRIKES]
            if not live:
                raise Unavailable(f"no peer is left that sends what it should; {len(queue)} chunks are missing")
            await asyncio.gather(*(self._work(peer, queue) for peer in live for _ in range(PER_PEER)))

    async def _work(self, peer: _Peer | Seller, queue: deque[Hole]) -> None:
        while queue and self._strikes[str(peer)] < STRIKES:
            hole = queue.popleft()
            body = await self._ask(peer, "chunk", f"sha256:{hole.chunk.digest}", MAX_BYTES)
            if body is None or not _is(body, hole.chunk):
                if body is not None:
                    self.pulled.liars.add(str(peer))
                self._strikes[str(peer)] += 1
                queue.append(hole)
                continue
            for path, offset in hole.places:
                with path.open("r+b") as file:
                    os.pwrite(file.fileno(), body, offset)
            self.pulled.reused_bytes += len(body) * (len(hole.places) - 1)

    async def _blob(self, digest: str, most: int) -> bytes:
        for peer in self._peers:
            body = await self._ask(peer, "blob", digest, most)
            if body is not None and f"sha256:{hashlib.sha256(body).hexdigest()}" == digest:
                return body
            if body is not None:
                self.pulled.liars.add(str(peer))
        raise Unavailable(f"no peer has {digest}", digest=digest)

    async def _ask(self, peer: _Peer | Seller, kind: str, digest: str, most: int) -> bytes | None:
        try:
            body = await peer.ask(self._http, kind, digest, most)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        self.pulled.fetched[str(peer)] += len(body or b"")
        return body

    def _part(self, layer: Layer) -> Path:
        return self._layout.partial / self._blob_path(layer).name

    def _blob_path(self, layer: Layer) -> Path:
        return self._layout.path(layer.descriptor.digest)


class Seller:
    """A gateway that sells artifacts: its URL, the name of the delivery model there, and the API key that pays."""

    def __init__(self, gateway: str, model: str, key: str) -> None:
        self._url = f"{gateway.rstrip('/')}/v2/models/{model}/infer"
        self._headers = {"Authorization": f"Bearer {key}"}
        self.spent_atoms = 0

    def __str__(self) -> str:
        return self._url

    async def ask(self, http: aiohttp.ClientSession, kind: str, digest: str, most: int) -> bytes | None:
        """Up to `most` + 1 bytes. None when the gateway does not have them or refuses the payment."""
        tensor = {"name": kind, "datatype": "BYTES", "shape": [1], "data": [digest]}
        async with http.post(self._url, json={"inputs": [tensor]}, headers=self._headers) as answer:
            if answer.status != 200:
                return None
            self.spent_atoms += int(answer.headers.get("Tollway-Charge", "0"))
            said = await answer.json()
        try:
            content = next(row["data"][0] for row in said["outputs"] if row["name"] == "content")
            return base64.b64decode(content, validate=True)[: most + 1]
        except (KeyError, IndexError, StopIteration, TypeError, binascii.Error):
            return b""


class _Peer:
    """A node that serves artifacts directly."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    async def ask(self, http: aiohttp.ClientSession, kind: str, digest: str, most: int) -> bytes | None:
        """Up to `most` + 1 bytes. None when the peer does not have them."""
        async with http.get(f"{self._url}/artifacts/{kind}s/{digest}") as answer:
            if answer.status != 200:
                return None
            body = b""
            while len(body) <= most and (part := await answer.content.read(most + 1 - len(body))):
                body += part
            return body


async def pull(digest: str, into: Layout, peers: Sequence[str | Seller]) -> Pulled:
    """Download an artifact from peers. See Pull."""
    timeout = aiohttp.ClientTimeout(sock_connect=5, sock_read=20)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as http:
        return await Pull(into, peers, http).run(digest)


def _is(body: bytes, chunk: Chunk) -> bool:
    return hashlib.sha256(body).hexdigest() == chunk.digest
