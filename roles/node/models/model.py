"""The interface of every kind of model: tensors in, tensors out, and for some a conversation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ledger.core.catalog.protocols import Protocol as Called
from ledger.core.values.errors import Rejected


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor. BYTES data is a flat list of str, any other datatype a flat numpy array."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[str] | NDArray[np.generic]


class Inferred(NamedTuple):
    """Answer tensors, and their compute time in microseconds."""

    outputs: list[Tensor]
    compute_us: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: role and plain text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """The choice of tokens. Temperature 0 takes the most likely one; with a seed, sampling is repeatable."""

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(slots=True)
class Talk:
    """The usage of a conversation so far; complete once all its pieces were yielded."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    compute_us: int = 0
    finish_reason: str = "stop"
    reported: dict[str, Any] = field(default_factory=dict)
    """The usage object of a server that is resold."""


class Model(Protocol):
    """A loaded model. It takes tensors, and `speaks` these protocols besides.

    `converse` yields one piece of text for each completion token and updates `talk` before each.
    """

    name: str
    about: dict[str, Any]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    speaks: frozenset[Called]

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred: ...

    def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]: ...

    async def warm(self) -> None: ...


class Vectors(NamedTuple):
    """A unit vector for each text, the tokens that were read, and the compute time in microseconds."""

    rows: NDArray[np.float32]
    tokens: int
    compute_us: int


@runtime_checkable
class Embedder(Protocol):
    """A model that speaks of texts by their vectors: what embeddings and reranking need."""

    async def embed(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A model folder: `model.onnx`, or its one .onnx file; `model.json`, and whatever else its kind needs."""

    path: Path
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Read `model.json`. A bare .onnx file, or a folder without `model.json`, is served as plain tensors."""
        if path.suffix == ".onnx" and path.is_file():
            return cls(path.parent, {"name": path.stem, "kind": "tensors", "graph": path.name})
        card, graph = path / "model.json", _graph_in(path)
        if not card.is_file():
            return cls(path, {"name": path.name, "kind": "tensors", "graph": graph})
        try:
            about = json.loads(card.read_text())
        except ValueError as error:
            raise Rejected(f"{card} is not JSON: {error}", path=str(card)) from error
        if not isinstance(about, dict) or not isinstance(about.get("kind"), str):
            raise Rejected(f"{card} must be an object that names its kind", path=str(card))
        return cls(path, {"name": path.name, "graph": graph, **about})

    @property
    def graph(self) -> Path:
        return self.path / str(self.about.get("graph", "model.onnx"))


def _graph_in(path: Path) -> str:
    """The name of a folder's graph. Rejected unless there is one that is meant."""
    graphs = sorted(one.name for one in path.glob("*.onnx"))
    if "model.onnx" in graphs:
        return "model.onnx"
    if len(graphs) != 1:
        several = f"{len(graphs)} .onnx files and none is model.onnx" if graphs else "no .onnx file"
        raise Rejected(f"{path} is no model: it holds {several}", path=str(path))
    return graphs[0]


def one_text(tensors: Sequence[Tensor], name: str) -> list[str]:
    """The strings of the single BYTES tensor `name`. Rejected, naming the given tensors, if there is anything else."""
    if len(tensors) != 1 or tensors[0].name != name or not isinstance(tensors[0].data, list):
        given = ", ".join(f"{tensor.name} {tensor.datatype}" for tensor in tensors) or "nothing"
        raise Rejected(f"expected one BYTES tensor named {name!r}, got {given}", expected=name)
    return tensors[0].data


def last_user_text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise Rejected("the conversation has no user message")
