"""Endpoints that serve artifacts: blobs and chunks by digest, with the bytes metered in a header."""

from aiohttp import web

from ledger.core.values.meters import Units
from roles.node import metering
from roles.node.artifacts.layout import Layout
from roles.node.protocols.errors import NotFound


class ArtifactRoutes:
    """The two routes over a layout. `delivered_bytes` counts all bytes served since the node started."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held = layout.held_chunks()
        self._seen = layout.changed_at()
        self.delivered_bytes = 0

    def routes(self) -> list[web.RouteDef]:
        """The routes, for the node's application."""
        return [web.get("/artifacts/blobs/{digest}", self.blob), web.get("/artifacts/chunks/{digest}", self.chunk)]

    async def blob(self, request: web.Request) -> web.Response:
        """Serve a small blob: a manifest, a config or a chunk list."""
        return self._give(self.read_blob(request.match_info["digest"]))

    async def chunk(self, request: web.Request) -> web.Response:
        """Serve one chunk of any complete artifact."""
        return self._give(self.read_chunk(request.match_info["digest"]))

    def read_blob(self, digest: str) -> bytes:
        """The bytes of a blob. Raises NotFound when this node does not have it."""
        path = self._layout.path(digest)
        if not path.exists():
            raise NotFound(f"this node does not have {digest}", digest=digest)
        return path.read_bytes()

    def read_chunk(self, digest: str) -> bytes:
        """The bytes of a chunk. Raises NotFound when this node does not have it."""
        digest = digest.removeprefix("sha256:")
        if digest not in self._held and self._seen != self._layout.changed_at():
            self._seen, self._held = self._layout.changed_at(), self._layout.held_chunks()
        found = self._held.get(digest)
        if found is None:
            raise NotFound(f"this node does not have chunk {digest}", digest=digest)
        path, chunk = found
        with path.open("rb") as file:
            file.seek(chunk.offset)
            return file.read(chunk.size)

    def _give(self, body: bytes) -> web.Response:
        self.delivered_bytes += len(body)
        headers = metering.headers(Units(call=1, byte=len(body)))
        return web.Response(body=body, headers=headers, content_type="application/octet-stream")
