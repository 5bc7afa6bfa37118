"""What every kind of model looks like to the doors: tensors in and tensors out, and perhaps a conversation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ledger.core.values.errors import Rejected


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor. BYTES are kept as a list of str, all other datatypes as a numpy array; `shape` says the rest."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[str] | NDArray[np.generic]


class Inferred(NamedTuple):
    """Answer tensors and the compute time they took, in microseconds."""

    outputs: list[Tensor]
    compute_us: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: role and plain text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 takes the likeliest; a seed makes any other choice repeatable."""

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(slots=True)
class Talk:
    """What a conversation used so far; complete when its pieces are exhausted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    compute_us: int = 0
    finish_reason: str = "stop"


class Model(Protocol):
    """A loaded model. `converse` yields one piece of text per completion token and keeps `talk` true at every step."""

    name: str
    about: dict[str, Any]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred: ...

    def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]: ...

    async def warm(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A model directory: `model.onnx`, `model.json`, and what its kind needs besides."""

    path: Path
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Reads `model.json`. A bare .onnx file, or a folder without a card, is served as plain tensors."""
        if path.suffix == ".onnx" and path.is_file():
            return cls(path.parent, {"name": path.stem, "kind": "tensors", "graph": path.name})
        card = path / "model.json"
        if not (path / "model.onnx").is_file():
            raise Rejected(f"{path} holds no model.onnx", path=str(path))
        if not card.is_file():
            return cls(path, {"name": path.name, "kind": "tensors"})
        try:
            about = json.loads(card.read_text())
        except ValueError as error:
            raise Rejected(f"{card} is not JSON: {error}", path=str(card)) from error
        if not isinstance(about, dict) or not isinstance(about.get("kind"), str):
            raise Rejected(f"{card} must be an object that names its kind", path=str(card))
        return cls(path, {"name": path.name, **about})

    @property
    def graph(self) -> Path:
        return self.path / str(self.about.get("graph", "model.onnx"))


def one_text(tensors: Sequence[Tensor], name: str) -> list[str]:
    """The strings of the one BYTES tensor `name`, or Rejected with what was there instead."""
    if len(tensors) != 1 or tensors[0].name != name or not isinstance(tensors[0].data, list):
        given = ", ".join(f"{tensor.name} {tensor.datatype}" for tensor in tensors) or "nothing"
        raise Rejected(f"expected one BYTES tensor named {name!r}, got {given}", expected=name)
    return tensors[0].data


def last_user_text(messages: Sequence[Message]) -> str:
    """What the person said last."""
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise Rejected("the conversation has no user message")
