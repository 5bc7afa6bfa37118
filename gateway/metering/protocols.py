"""What the gateway reads of a request and an answer in each protocol it speaks. The rest passes through untouched.

Only what money depends on is decoded: which model, whether to stream, how much output at most, and the usage.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import orjson

from gateway.errors import Refusal
from gateway.metering.usage import NodeUnits, Usage

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
INFER = "/v2/models/{model}/infer"


class StreamOptions(msgspec.Struct):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class _Wanted(msgspec.Struct):
    """The fields of an OpenAI request that decide its price and route."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


_WANTED = msgspec.json.Decoder(_Wanted)


class Ask(msgspec.Struct, frozen=True):
    """A request as the gateway understands it. `outputs` is the most tokens it may bring, None when it does not say.

    `header_bytes` is the length of the JSON part of an OIP request with binary tensors.
    """

    path: str
    model: str
    body: bytes
    stream: bool = False
    include_usage: bool = False
    outputs: int | None = None
    choices: int = 1
    header_bytes: int | None = None
    native: bool = False
    """It came through the native door, and is answered in its shape."""

    @property
    def protocol(self) -> str:
        """What a model must speak to be asked this."""
        return "oip/2" if self.path == INFER else "openai.chat/1"

    def upstream_path(self, served_as: str) -> str:
        """Where a node takes it."""
        return self.path.format(model=quote(served_as, safe="@/")) if self.path == INFER else self.path

    @property
    def headers(self) -> bytes:
        """Header lines that tell a node what the body is."""
        if self.header_bytes is None:
            return b"Content-Type: application/json\r\n"
        length = b"Inference-Header-Content-Length: %d\r\n" % self.header_bytes
        return b"Content-Type: application/octet-stream\r\n" + length

    def to(self, served_as: str) -> bytes:
        """The body for a node that calls the model `served_as`. Unchanged bytes where nothing has to change."""
        wants_usage = self.stream and not self.include_usage
        if self.path == INFER or (served_as == self.model and not wants_usage):
            return self.body
        whole = orjson.loads(self.body)
        whole["model"] = served_as
        if wants_usage:
            whole["stream_options"] = {**(whole.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(whole)


def read(path: str, body: bytes) -> Ask:
    """A request of one of the OpenAI routes. Refused with 400, naming the field."""
    try:
        wanted = _WANTED.decode(body)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        param = where.rstrip("`") or ("model" if "`model`" in message else None)
        raise Refusal(400, "invalid_request", f"the request is not understood: {error}", param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    choices = max(1, wanted.n or 1, wanted.best_of or 1)
    limit = wanted.max_completion_tokens if wanted.max_completion_tokens is not None else wanted.max_tokens
    for name, value in (("max_tokens", limit), ("n", wanted.n)):
        if value is not None and not 0 <= value <= 2**31:
            raise Refusal(400, "invalid_request", f"{name} is out of range", param=name)
    if path == EMBEDDINGS:
        limit = 0
    options = wanted.stream_options
    return Ask(
        path,
        wanted.model,
        body,
        bool(wanted.stream) and path != EMBEDDINGS,
        bool(options and options.include_usage),
        None if limit is None else limit * choices,
        choices,
    )


class _Message(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class Answer(msgspec.Struct):
    """The parts of an OpenAI answer that are metered."""

    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """All generated text."""
        texts = (c.message.content if c.message else c.text for c in self.choices or ())
        return "".join(text for text in texts if isinstance(text, str))


_ANSWER = msgspec.json.Decoder(Answer)


class _Inference(msgspec.Struct):
    outputs: list[msgspec.Raw]


_INFERENCE = msgspec.json.Decoder(_Inference)


def read_infer(model: str, body: bytes, header_length: bytes | None) -> Ask:
    """An OIP v2 inference request, with or without binary tensors."""
    length = None
    if header_length is not None:
        if not header_length.isdigit() or not 0 < int(header_length) <= len(body):
            raise Refusal(400, "invalid_request", "Inference-Header-Content-Length does not fit the body")
        length = int(header_length)
    try:
        whole = orjson.loads(body[:length])
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(whole, dict) or not isinstance(whole.get("inputs"), list):
        raise Refusal(400, "invalid_request", "an inference request has a list of inputs", param="inputs")
    return Ask(INFER, model, body, outputs=0, header_bytes=length)


def inference(body: bytes, header_length: bytes | None) -> bool:
    """Whether this is an OIP v2 answer."""
    try:
        _INFERENCE.decode(body[: int(header_length)] if header_length else body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return False
    return True


def answer(path: str, body: bytes) -> Answer | None:
    """An answer's metered parts; None when it is not an answer to `path` at all."""
    try:
        found = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if (found.data if path == EMBEDDINGS else found.choices) is not None else None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Part(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Event(msgspec.Struct):
    """One event of a stream, as far as it is metered."""

    choices: list[_Part] = []
    usage: Usage | None = None
    error: msgspec.Raw | None = None
    tollway_units: NodeUnits | None = None

    @property
    def text(self) -> str:
        """The text this event adds."""
        parts = (part.text if part.delta is None else part.delta.content for part in self.choices)
        return "".join(text for text in parts if text)

    @property
    def tokens(self) -> int:
        """The least tokens this event carries: one for each choice that adds anything."""
        return sum(_adds(part) for part in self.choices)

    @property
    def finished(self) -> bool:
        """A choice says why it ended."""
        return any(part.finish_reason is not None for part in self.choices)


def _adds(part: _Part) -> bool:
    delta = part.delta
    if delta is None:
        return bool(part.text)
    return bool(delta.content or delta.reasoning_content or delta.refusal or delta.tool_calls)


_EVENT = msgspec.json.Decoder(Event)


def event(data: bytes) -> Event | None:
    """One event's data; None when it is not JSON of the expected kind."""
    try:
        return _EVENT.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Splitter:
    """Cuts a byte stream into whole server-sent events."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now, each without its blank line."""
        whole = self._rest + chunk if self._rest else chunk
        if b"\r" in whole:
            whole = whole.replace(b"\r\n", b"\n")
        *events, self._rest = whole.split(b"\n\n")
        return events

    @property
    def rest(self) -> bytes:
        """What has come after the last whole event."""
        return self._rest


def data_of(raw: bytes) -> bytes | None:
    """The data of an event; None for comments and other fields."""
    if raw.startswith(b"data:") and b"\n" not in raw:
        return raw[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in raw.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
