"""Reads requests, answers and streams of the OpenAI protocols. The rest passes through unread.

Only what money depends on is decoded: which model, whether to stream, how much output at most, the text and the usage.
"""

from enum import IntEnum
from typing import Any

import msgspec
import orjson

from gateway import bounds
from gateway.errors import NodeFailed, Refusal
from gateway.metering.ask import EMBEDDINGS, Ask
from gateway.metering.usage import NodeUnits, Usage, named_units
from ledger.core.values.hashes import BodyHash, Digest

NODES_OWN = ("tollway_units", "tollway_served")
"""Fields of the usage event that a node writes for its gateway; no client gets them."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Request(msgspec.Struct):
    """The fields of a request that decide its price and route."""

    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


_REQUEST = msgspec.json.Decoder(_Request)


def read(path: str, body: bytes) -> Ask:
    """A request of one of the OpenAI routes. Refused with 400, naming the field."""
    try:
        wanted = _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        param = where.rstrip("`") or ("model" if "`model`" in message else None)
        raise Refusal(400, "invalid_request", f"the request is not valid: {error}", param=param) from error
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
        stream=bool(wanted.stream) and path != EMBEDDINGS,
        include_usage=bool(options and options.include_usage),
        outputs=None if limit is None else limit * choices,
        choices=choices,
    )


class _Message(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class Answer(msgspec.Struct):
    """The metered parts of a whole answer."""

    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        texts = [c.message.content if c.message else c.text for c in self.choices or ()]
        return "".join([text for text in texts if isinstance(text, str)])


_ANSWER = msgspec.json.Decoder(Answer)


def read_answer(path: str, body: bytes) -> Answer | None:
    """An answer's metered parts; None when it is not an answer to `path` at all."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return answer if (answer.data if path == EMBEDDINGS else answer.choices) is not None else None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Part(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def adds(self) -> bool:
        """Whether it carries any output."""
        delta = self.delta
        if delta is None:
            return bool(self.text)
        return bool(delta.content or delta.reasoning_content or delta.refusal or delta.tool_calls)


class _Event(msgspec.Struct):
    """The metered parts of one event of a stream."""

    choices: list[_Part] = []
    usage: Usage | None = None
    error: msgspec.Raw | None = None
    tollway_units: dict[str, int] | None = None

    @property
    def text(self) -> str:
        parts = (part.text if part.delta is None else part.delta.content for part in self.choices)
        return "".join(text for text in parts if text)


_EVENT = msgspec.json.Decoder(_Event)


class StreamState(IntEnum):
    """The progress of a stream. It only goes forward; nothing is read after `done` or `full`."""

    silent = 0
    begun = 1
    """There is a token."""
    finished = 2
    """A choice said why it ended."""
    done = 3
    """`[DONE]` has come."""
    full = 4
    """More has come than was held for."""


class StreamAccumulator:
    """Reads a stream: decides which of it goes to the consumer, and counts its tokens and bytes.

    `most` tokens or `most_bytes` end it. The text is kept only with `keep_text`, for a tokenizer.
    """

    def __init__(self, ask: Ask, salt: bytes, most: int, most_bytes: int, keep_text: bool) -> None:
        self.state = StreamState.silent
        self.usage: Usage | None = None
        self.units: NodeUnits | None = None
        self.tokens = 0
        self.size = 0
        self._most, self._most_bytes = most, most_bytes
        self._include_usage = ask.include_usage
        self._unread: list[bytes] = []
        """The beginning of an event, in pieces; `_seam` are its last bytes."""
        self._seam = b""
        self._unread_bytes = self._prelude_bytes = self._text_bytes = 0
        self._hasher = BodyHash(salt)
        self._texts: list[str] | None = [] if keep_text else None
        self._held_back: list[bytes] = []

    @property
    def ended(self) -> bool:
        """Whether nothing more is read."""
        return self.state >= StreamState.done

    @property
    def text(self) -> str:
        return "".join(self._texts or ())

    @property
    def digest(self) -> Digest:
        """The salted digest of all that was passed on."""
        return self._hasher.digest()

    def take(self, chunk: bytes) -> bytes:
        """The part of a chunk that goes to the consumer now. Raises NodeFailed for an error event or nonsense."""
        out = []
        for raw in self._events(chunk):
            data = _data_of(raw)
            if data is None:
                if raw:
                    out.append(raw + b"\n\n")
            elif data == b"[DONE]":
                self.state = StreamState.done
                break
            elif self._meter(data):
                out.append(raw + b"\n\n")
            elif self._include_usage:
                self._held_back = [data]
            if self.tokens > self._most or self.size > self._most_bytes:
                self.state = StreamState.full
                break
            if self.state is StreamState.silent:
                self._skip(len(raw))
        whole = b"".join(out)
        self._hasher.update(whole)
        return whole

    def last_events(self, note: dict[str, Any] | None) -> bytes:
        """The usage, held back until the receipt is durable, with what the call cost."""
        events = []
        for data in self._held_back:
            event = orjson.loads(data)
            for name in NODES_OWN:
                event.pop(name, None)
            if note is not None:
                event["tollway"] = note
            events.append(b"data: " + orjson.dumps(event) + b"\n\n")
        return b"".join(events)

    def _events(self, chunk: bytes) -> list[bytes]:
        """The server-sent events that are whole now, each without its blank line."""
        seam = self._seam + chunk
        if b"\n\n" not in seam and b"\n\r\n" not in seam:
            self._unread.append(chunk)
            self._seam = seam[-3:]
            self._unread_bytes += len(chunk)
            if self._unread_bytes > bounds.EVENT_BYTES:
                raise _too_long("an event", bounds.EVENT_BYTES)
            return []
        whole = b"".join([*self._unread, chunk]) if self._unread else chunk
        if b"\r" in whole:
            whole = whole.replace(b"\r\n", b"\n")
        *events, rest = whole.split(b"\n\n")
        self._unread, self._seam, self._unread_bytes = [rest], rest[-3:], len(rest)
        if len(max(events, key=len)) > bounds.EVENT_BYTES:
            raise _too_long("an event", bounds.EVENT_BYTES)
        return events

    def _skip(self, size: int) -> None:
        """Count bytes that came before the first token."""
        self._prelude_bytes += size
        if self._prelude_bytes > bounds.PRELUDE_BYTES:
            raise _too_long("what comes before its first token", bounds.PRELUDE_BYTES)

    def _meter(self, data: bytes) -> bool:
        """Count an event. False for the final usage event, which the gateway sends itself, or leaves out."""
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise NodeFailed("the node streams nonsense", "nonsense") from error
        if event.error is not None:
            raise NodeFailed("the node ended its stream with an error", "error")
        self.size += len(data)
        for part in event.choices:
            self.tokens += part.adds
            if part.finish_reason is not None:
                self.state = StreamState.finished
        if self.tokens and self.state is StreamState.silent:
            self.state = StreamState.begun
        if self._texts is not None:
            self._texts.append(event.text)
            self._text_bytes += len(self._texts[-1])
            if self._text_bytes > bounds.ANSWER_BYTES:
                raise _too_long("its text", bounds.ANSWER_BYTES)
        if event.tollway_units is not None:
            self.units = named_units(event.tollway_units)
        if event.usage is not None:
            self.usage = event.usage
            return bool(event.choices)
        return True


def _too_long(what: str, most: int) -> NodeFailed:
    return NodeFailed(f"the node streams more than {most} bytes as {what}", "too_long", limit_bytes=most)


def _data_of(raw: bytes) -> bytes | None:
    """The data of an event; None for comments and other fields."""
    if raw.startswith(b"data:") and b"\n" not in raw:
        return raw[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in raw.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
