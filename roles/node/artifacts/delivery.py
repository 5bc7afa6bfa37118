"""A node's service of artifacts: over two routes without payment, and as a paid call like a model's answers.

The paid call, by the Open Inference Protocol: in, `blob` or `chunk` BYTES [1], a digest; out, `content` BYTES [1],
base64. The bytes of the answer are metered, so a byte of an artifact costs four thirds of the ask.
"""

import base64
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units
from roles.node import metering
from roles.node.artifacts.layout import Layout, read_chunk
from roles.node.models.model import Inferred, Message, Sampling, Talk, Tensor
from roles.node.protocols.errors import NotFound

NAME = "artifacts"
"""The name of this model at a node."""


class ArtifactRoutes:
    """The two routes over a layout. `delivered_bytes` counts all bytes served since the node started."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held = layout.held_chunks()
        self._seen = layout.changed_at()
        self.delivered_bytes = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/artifacts/blobs/{digest}", self.blob), web.get("/artifacts/chunks/{digest}", self.chunk)]

    async def blob(self, request: web.Request) -> web.Response:
        """Serve a small blob: a manifest, a config or a chunk list."""
        return self._give(self.read_blob(request.match_info["digest"]))

    async def chunk(self, request: web.Request) -> web.Response:
        return self._give(self.read_chunk(request.match_info["digest"]))

    def read_blob(self, digest: str) -> bytes:
        path = self._layout.path(digest)
        if not path.exists():
            raise NotFound(f"this node does not have {digest}", digest=digest)
        return path.read_bytes()

    def read_chunk(self, digest: str) -> bytes:
        digest = digest.removeprefix("sha256:")
        if digest not in self._held and self._seen != self._layout.changed_at():
            self._seen, self._held = self._layout.changed_at(), self._layout.held_chunks()
        found = self._held.get(digest)
        if found is None:
            raise NotFound(f"this node does not have chunk {digest}", digest=digest)
        return read_chunk(*found)

    def _give(self, body: bytes) -> web.Response:
        self.delivered_bytes += len(body)
        headers = metering.headers(Units(call=1, byte=len(body)))
        return web.Response(body=body, headers=headers, content_type="application/octet-stream")


class Delivery:
    """The seller's side, as a model of the node."""

    speaks = frozenset[Protocol]()

    def __init__(self, artifact_routes: ArtifactRoutes) -> None:
        self.name, self.about = NAME, {"name": NAME, "kind": "delivery", "version": "1"}
        self.inputs: list[dict[str, Any]] = [{"name": "chunk", "datatype": "BYTES", "shape": [1]}]
        self.outputs: list[dict[str, Any]] = [{"name": "content", "datatype": "BYTES", "shape": [1]}]
        self._artifact_routes = artifact_routes

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        began = time.perf_counter_ns()
        if len(tensors) != 1 or tensors[0].shape != (1,) or not isinstance(tensors[0].data, list):
            raise Rejected("expected one BYTES tensor of shape [1], named 'blob' or 'chunk'")
        named, digest = tensors[0].name, tensors[0].data[0]
        if named not in ("blob", "chunk"):
            raise Rejected(f"an artifact has blobs and chunks, not {named!r}", tensor=named)
        body = self._artifact_routes.read_blob(digest) if named == "blob" else self._artifact_routes.read_chunk(digest)
        content = base64.b64encode(body).decode()
        return Inferred([Tensor("content", "BYTES", (1,), [content])], (time.perf_counter_ns() - began) // 1000)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        raise Rejected("artifacts do not support chat: request a blob or a chunk by digest")
        yield ""

    async def warm(self) -> None:
        """Does nothing."""
