"""Requests to the node, decoded and checked. Unknown fields of the OpenAI format are ignored, as its clients expect."""

import math
import sys
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from ledger.core.values.errors import Rejected
from roles.node.models.model import Message, Sampling, Tensor
from roles.node.models.tensors import DATATYPES
from roles.node.protocols import binary

Request = TypeVar("Request")
LEAST = sys.float_info.min
"""The smallest number that floats have in full. What is smaller divides to infinity."""


ROLES = {"developer": "system"}
"""Roles by the names that our models know."""


class Part(msgspec.Struct):
    """One part of a message's content. Only text is supported."""

    type: str
    text: str = ""


class ChatMessage(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Asked(msgspec.Struct, kw_only=True):
    """What every request of the OpenAI API says."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Talking(Asked, kw_only=True):
    """What requests for text have in common."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    best_of: int | None = None

    def conversation(self) -> list[Message]:
        """The messages that are answered. Rejected when the request wants what no model here does."""
        raise NotImplementedError

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
        if (self.n or 1, self.best_of or 1) != (1, 1):
            raise Rejected("this node supports n = 1 and best_of = 1", code="unsupported_parameter")
        if len(stop) > 4 or not all(stop):
            raise Rejected("stop takes up to four strings, none of them empty")
        if self.seed is not None and self.seed < 0:
            raise Rejected(f"seed must not be negative: {self.seed}")
        return Sampling(most, temperature, top_p, self.seed, stop)


class ChatRequest(Talking, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage]
    tool_choice: Any = None
    response_format: Any = None
    logprobs: Any = None

    def conversation(self) -> list[Message]:
        if not self.messages:
            raise Rejected("messages must hold at least one message")
        _refuse(
            tool_choice=self.tool_choice not in (None, "auto", "none"),
            response_format=self.response_format not in (None, {"type": "text"}),
            logprobs=self.logprobs not in (None, False),
        )
        return [Message(ROLES.get(message.role, message.role), _text(message)) for message in self.messages]


class CompletionRequest(Talking, kw_only=True):
    """POST /v1/completions. The prompt is what a user says: these models know nothing but conversations."""

    prompt: str | list[str]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = None

    def conversation(self) -> list[Message]:
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompts) != 1:
            raise Rejected(f"this node takes one prompt, not {len(prompts)}", code="unsupported_parameter")
        _refuse(suffix=bool(self.suffix), echo=bool(self.echo), logprobs=self.logprobs is not None)
        return [Message("user", prompts[0])]


def _refuse(**wanted: bool) -> None:
    """Rejected when any of these is wanted: no model here does it, and an answer without it would be another one."""
    for name, is_wanted in wanted.items():
        if is_wanted:
            raise Rejected(f"this model does not do {name}: leave it out", code="unsupported_parameter", field=name)


class EmbeddingsRequest(msgspec.Struct):
    """POST /v1/embeddings."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    def texts(self) -> list[str]:
        """The texts. Rejected when there is none."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not texts:
            raise Rejected("input must hold at least one text")
        return texts


class RerankDocument(msgspec.Struct):
    text: str


class RerankRequest(msgspec.Struct):
    """POST /v1/rerank."""

    model: str
    query: str
    documents: list[str | RerankDocument]
    top_n: int | None = None
    return_documents: bool = False

    def texts(self) -> list[str]:
        """The documents' texts. Rejected when there are none, or `top_n` asks for none."""
        if not self.documents or (self.top_n is not None and self.top_n < 1):
            raise Rejected("a reranking has at least one document, and top_n of at least 1")
        return [one if isinstance(one, str) else one.text for one in self.documents]


class InputParameters(msgspec.Struct):
    binary_data_size: int | None = None


class InferInput(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[object] | None = None
    parameters: InputParameters = msgspec.field(default_factory=InputParameters)


class OutputParameters(msgspec.Struct):
    """`classification` is an extension of Triton's that no model here has."""

    binary_data: bool | None = None
    classification: int | None = None


class InferOutput(msgspec.Struct):
    name: str
    parameters: OutputParameters = msgspec.field(default_factory=OutputParameters)


class InferParameters(msgspec.Struct):
    binary_data_output: bool = False


class InferRequest(msgspec.Struct):
    """POST /v2/models/{model}/infer."""

    inputs: list[InferInput]
    id: str = ""
    outputs: list[InferOutput] = []
    parameters: InferParameters = msgspec.field(default_factory=InferParameters)

    def tensors(self, rest: bytes) -> list[Tensor]:
        """The inputs as tensors, binary ones from the `rest` after the JSON, in their order. Rejected when data and
        shape do not fit.
        """
        found, at = [], 0
        for given in self.inputs:
            size = given.parameters.binary_data_size
            if size is None:
                found.append(_tensor(given))
                continue
            if not 0 <= size <= len(rest) - at or given.data is not None:
                raise Rejected(f"{given.name}: the body has no {size} bytes for it", tensor=given.name)
            found.append(binary.read(given.name, given.datatype, tuple(given.shape), rest[at : at + size]))
            at += size
        if at != len(rest):
            raise Rejected(f"{len(rest) - at} bytes after the JSON belong to no input")
        return found

    def wanted(self, made: list[Tensor]) -> list[tuple[Tensor, bool]]:
        """The outputs that it asks for, and whether each is to be binary; all, when it names none. Rejected when the
        model has not one of them.
        """
        if not self.outputs:
            return [(tensor, self.parameters.binary_data_output) for tensor in made]
        known, rows = {tensor.name: tensor for tensor in made}, []
        for one in self.outputs:
            if one.name not in known or one.parameters.classification is not None:
                raise Rejected(f"this model gives {', '.join(known)}, and no classification", output=one.name)
            is_binary = one.parameters.binary_data
            rows.append((known[one.name], self.parameters.binary_data_output if is_binary is None else is_binary))
        return rows


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
    return without_data(tensor) | {"data": data}


def without_data(tensor: Tensor) -> dict[str, object]:
    """What the protocol's JSON says of a tensor whose elements stand elsewhere."""
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        if unknown := [part.type for part in message.content if part.type != "text"]:
            raise Rejected(f"this node supports text content, not {unknown[0]}")
        return "".join(part.text for part in message.content)
    return message.content or ""


def _tensor(given: InferInput) -> Tensor:
    shape = tuple(given.shape)
    size = math.prod(shape)
    if given.data is None:
        raise Rejected(f"{given.name} has neither data nor binary_data_size", tensor=given.name)
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
