"""Delivery as a paid call: artifacts are sold through the Open Inference Protocol, like the answers of a model.

In: `blob` or `chunk` BYTES [1], a digest. Out: `content` BYTES [1], base64. The bytes of the answer are metered, so
a byte of an artifact costs four thirds of the ask. The call is priced, signed and settled like any other.
"""

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
"""The name of this model at a node."""


class Delivery:
    """The seller's side, as a model of the node."""

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
        raise Rejected("artifacts do not converse: request a blob or a chunk by digest")
        yield ""

    async def warm(self) -> None:
        """Does nothing."""


class Seller:
    """The buyer's side: a gateway's URL, the name of the delivery model there, and the API key that pays."""

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
