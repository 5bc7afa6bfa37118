"""Requests to the node, decoded and checked. Unknown fields of the OpenAI format are ignored, as its clients expect."""

import math
import sys
from typing import TypeVar

import msgspec
import numpy as np

from ledger.core.values.errors import Rejected
from roles.node.models.model import Message, Sampling, Tensor
from roles.node.models.tensors import DATATYPES

Request = TypeVar("Request")
LEAST = sys.float_info.min
"""The smallest number that floats have in full. What is smaller divides to infinity."""


class Part(msgspec.Struct):
    """One part of a message's content. Only text is supported."""

    type: str
    text: str = ""


class ChatMessage(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """POST /v1/chat/completions."""

    model: str
    messages: list[ChatMessage]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None

    def conversation(self) -> list[Message]:
        if not self.messages:
            raise Rejected("messages must hold at least one message")
        return [Message(message.role, _text(message)) for message in self.messages]

    def sampling(self, default_temperature: float) -> Sampling:
        """The sampling options. Rejected when one is out of range."""
        most = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        temperature = default_temperature if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None else self.top_p
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if most is not None and most < 1:
            raise Rejected(f"max_tokens must be at least 1, not {most}")
        if not 0 <= temperature <= 2 or not LEAST <= top_p <= 1:
            raise Rejected(f"temperature must be in [0, 2] and top_p in (0, 1], not {temperature} and {top_p}")
        if 0 < temperature < LEAST:
            raise Rejected(f"temperature must be 0, or at least {LEAST}, not {temperature}")
        if self.n not in (None, 1):
            raise Rejected(f"this node supports n = 1, not {self.n}")
        if len(stop) > 4 or not all(stop):
            raise Rejected("stop takes up to four strings, none of them empty")
        if self.seed is not None and self.seed < 0:
            raise Rejected(f"seed must not be negative: {self.seed}")
        return Sampling(most, temperature, top_p, self.seed, stop)


class InferInput(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[object]


class InferRequest(msgspec.Struct):
    """POST /v2/models/{model}/infer."""

    inputs: list[InferInput]
    id: str = ""

    def tensors(self) -> list[Tensor]:
        """The inputs as tensors. Rejected when data and shape do not fit."""
        return [_tensor(given) for given in self.inputs]


def decode(body: bytes, kind: type[Request]) -> Request:
    """Decode a request. Rejected, naming the wrong field, when it is not valid."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"the body is not a valid request: {error}", code="invalid_body") from error


def datatype_of(tensor: Tensor) -> dict[str, object]:
    """The tensor as protocol JSON: data flat, in row-major order."""
    data = tensor.data if isinstance(tensor.data, list) else np.ascontiguousarray(tensor.data).ravel()
    if not isinstance(data, list) and data.dtype == np.float16:
        data = data.astype(np.float32)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        if unknown := [part.type for part in message.content if part.type != "text"]:
            raise Rejected(f"this node supports text content, not {unknown[0]}")
        return "".join(part.text for part in message.content)
    return message.content or ""


def _tensor(given: InferInput) -> Tensor:
    shape = tuple(given.shape)
    size = math.prod(shape)
    flat = _flat(given.data)
    if any(side < 0 for side in shape) or len(flat) != size:
        raise Rejected(f"{given.name}: shape {given.shape} does not hold {len(flat)} values", tensor=given.name)
    if given.datatype == "BYTES":
        if not all(isinstance(value, str) for value in flat):
            raise Rejected(f"{given.name}: BYTES are sent as strings", tensor=given.name)
        return Tensor(given.name, "BYTES", shape, [str(value) for value in flat])
    if given.datatype not in DATATYPES:
        raise Rejected(f"{given.name}: unknown datatype {given.datatype!r}", tensor=given.name)
    dtype = np.dtype(DATATYPES[given.datatype])
    whole = {"b": bool, "i": int, "u": int}.get(dtype.kind)
    if not all(type(value) is whole if whole else type(value) in (int, float) for value in flat):
        raise Rejected(f"{given.name}: the values are not {given.datatype}", tensor=given.name)
    try:
        return Tensor(given.name, given.datatype, shape, np.array(flat, dtype).reshape(shape))
    except (OverflowError, ValueError) as error:
        raise Rejected(f"{given.name}: {error}", tensor=given.name) from error


def _flat(data: list[object]) -> list[object]:
    flat: list[object] = []
    for value in data:
        flat.extend(_flat(value) if isinstance(value, list) else [value])
    return flat
