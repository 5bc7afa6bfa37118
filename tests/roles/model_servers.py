"""Model servers that answer as their documents say, or as nobody should."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.gateway.nodes import Asked, Behaviour, Node, Wire

IRIS = {
    "name": "iris",
    "versions": [],
    "platform": "",
    "inputs": [{"name": "flower", "datatype": "FP64", "shape": [-1, 4]}],
    "outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
}


def chats(*models: Any) -> dict[str, Any]:
    """OpenAI's list of models, as Ollama, vLLM and LiteLLM give it."""
    return {"/v1/models": {"object": "list", "data": [{"id": name, "object": "model"} for name in models]}}


def tensors(*models: str, **changed: Any) -> dict[str, Any]:
    """An Open Inference Protocol server that lists its models, as Triton and MLServer do."""
    known: dict[str, Any] = {"/v2/repository/index": [{"name": name, "state": "READY"} for name in models]}
    for name in models:
        known |= {f"/v2/models/{name}": {**IRIS, "name": name, **changed}, f"/v2/models/{name}/ready": b""}
    return known


def paths(known: Mapping[str, Any]) -> Behaviour:
    """Answers by path: JSON, raw bytes, or a status; everything else is not found."""

    async def behave(asked: Asked, wire: Wire) -> None:
        said = known.get(asked.path, 404)
        if isinstance(said, int):
            await wire.answer({"error": "no"}, said, location="http://127.0.0.1:9/elsewhere")
        else:
            await wire.answer(said if isinstance(said, bytes) else json.dumps(said).encode())

    return behave


def locked(key: str, known: Mapping[str, Any]) -> Behaviour:
    """The same, for whoever has the key."""
    inside, outside = paths(known), paths(dict.fromkeys(known, 401))

    async def behave(asked: Asked, wire: Wire) -> None:
        await (inside if asked.headers.get("authorization") == f"Bearer {key}" else outside)(asked, wire)

    return behave


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Node]:
    """A server that behaves so."""
    node = Node(behaviour).start()
    try:
        yield node
    finally:
        node.stop()
