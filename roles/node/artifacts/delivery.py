"""Delivery as a paid call: the node that holds artifacts sells their bytes at the tensor door, like any model sells
answers.

`blob` or `chunk` BYTES [1], a digest, in; `content` BYTES [1], base64, out. What is metered is the answer as it
travels, so a byte of an artifact costs four thirds of the ask. Because the door is the same, a pull can be paid,
signed and settled like every call.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from ledger.core.values.errors import Rejected
from roles.node.artifacts.routes import ArtifactRoutes
from roles.node.models.model import Inferred, Message, Sampling, Talk, Tensor

NAME = "artifacts"
"""What a node calls this model."""


class Delivery:
    """The seller's side."""

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
            raise Rejected(f"an artifact has blobs and chunks, no {named!r}", tensor=named)
        body = self._artifact_routes.read_blob(digest) if named == "blob" else self._artifact_routes.read_chunk(digest)
        content = base64.b64encode(body).decode()
        return Inferred([Tensor("content", "BYTES", (1,), [content])], (time.perf_counter_ns() - began) // 1000)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        raise Rejected("artifacts do not converse: ask for a blob or a chunk by digest")
        yield ""

    async def warm(self) -> None:
        """Nothing to warm."""


class Seller:
    """The buyer's side: a gateway's door, the model's name there, and the key that pays."""

    def __init__(self, gateway: str, model: str, key: str) -> None:
        self._url = f"{gateway.rstrip('/')}/v2/models/{model}/infer"
        self._headers = {"Authorization": f"Bearer {key}"}
        self.spent_atoms = 0

    def __str__(self) -> str:
        return self._url

    async def ask(self, http: aiohttp.ClientSession, kind: str, digest: str, most: int) -> bytes | None:
        """At most `most` bytes and one; None when the gateway has none to sell or the money is out."""
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
