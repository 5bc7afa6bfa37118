"""Reads requests, answers and streams of the OpenAI protocols. The rest passes through unread.

Only what money depends on is decoded: which model, whether to stream, how much output at most, the text and the usage.
"""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import msgspec
import orjson

from gateway import bounds
from gateway.errors import NodeFailed, Refusal
from gateway.metering.ask import COMPLETIONS, EMBEDDINGS, NO_OUTPUT_TOKENS, RERANK, Ask
from gateway.metering.usage import NodeUnits, Usage, named_units
from ledger.core.values.hashes import BodyHash, Digest
from ledger.core.values.meters import Units, coarse

LF, CR = b"\n\r"
"""As numbers: these are found in bytes eight times as fast as a string of one."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some servers write it before JSON."""
NODES_OWN = ("tollway", "tollway_units", "tollway_served")
"""Fields of an event that no consumer gets from a node: our note, and what a node writes for its gateway."""
ALIVE = b":"
"""What a consumer gets in the place of a node's comment."""
SYNONYMS = frozenset(
    ("max_new_tokens", "max_output_tokens", "max_length", "n_predict", "num_predict", "min_tokens", "ignore_eos")
)
"""Fields by which some servers are told how long an answer is. The gateway tells them itself, by one field."""


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

    @property
    def limit(self) -> int | None:
        """The most output tokens of a choice, None when it does not say. Refused with 400 when it says two."""
        old, new = self.max_tokens, self.max_completion_tokens
        if old is not None and new is not None and old != new:
            raise Refusal(
                400, "invalid_request", "max_tokens and max_completion_tokens differ: give one", param="max_tokens"
            )
        return new if old is None else old


_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REQUEST = msgspec.json.Decoder(_Request)
_KEYS = {name: b'"%b":' % name.encode() for name in _Request.__struct_fields__}


def fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each as it is written. Raises msgspec's errors when it is none."""
    return _BODY.decode(body)


def read(path: str, body: bytes) -> Ask:
    """A request of one of the OpenAI routes. Refused with 400, naming the field."""
    try:
        if not body.isascii():
            body.decode()  # the decoder passes bytes that are no text in fields it does not read
        found = fields(body)
        read_fields = [b"%b%b" % (key, found[name]) for name, key in _KEYS.items() if name in found]
        wanted = _REQUEST.decode(b"{%b}" % b",".join(read_fields))  # not of the body: a long one is passed only once
    except msgspec.ValidationError as error:
        raise not_valid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    limit, options = wanted.limit, wanted.stream_options
    for name, value in (("max_tokens", limit), ("n", wanted.n), ("best_of", wanted.best_of)):
        if value is not None and not 1 <= value <= 2**31:
            raise Refusal(400, "invalid_request", f"{name} is out of range", param=name)
    _check_names(found)
    return Ask(
        path,
        wanted.model,
        body,
        stream=bool(wanted.stream) and path not in NO_OUTPUT_TOKENS,
        include_usage=bool(options and options.include_usage),
        fields=found,
        limit=0 if path in NO_OUTPUT_TOKENS else limit,
        choices=max(wanted.n or 1, wanted.best_of or 1),
    )


def not_valid(error: msgspec.ValidationError) -> Refusal:
    """The refusal of a request with a field that is missing, or has another type than it should."""
    message, _, where = str(error).partition(" - at `$.")
    missing = message.partition("missing required field `")[2].rstrip("`")
    return Refusal(
        400, "invalid_request", f"the request is not valid: {error}", param=where.rstrip("`") or missing or None
    )


def _check_names(names: Iterable[str]) -> None:
    """Refuse with 400 what some servers read as a longer answer, or as another request, than is paid for."""
    for name in names:
        if name in _KEYS:
            continue
        plain = name.lower()
        if plain in SYNONYMS:
            message = f"leave {name} out: the gateway bounds an answer by max_tokens"
            raise Refusal(400, "invalid_request", message, param=name)
        if plain in _KEYS:
            raise Refusal(400, "invalid_request", f"{name} is written {plain}", param=name)


MEANING = frozenset(("tool_choice", "response_format", "logprobs"))
"""Fields of a request that a model which does not know them must not be paid for ignoring."""
_IGNORABLE = {
    "tool_choice": (b"null", b'"auto"', b'"none"'),
    "logprobs": (b"null", b"false"),
}
_TEXT = re.compile(rb'\{\s*"type"\s*:\s*"text"\s*\}|null')


def needed_features(ask: Ask) -> dict[str, str]:
    """The features that a model must have for a request to mean what it says, by the field that needs each."""
    if MEANING.isdisjoint(ask.fields) or ask.media is not None:
        return {}
    needed = {}
    for name, feature in (("tool_choice", "tools"), ("response_format", "json"), ("logprobs", "logprobs")):
        said = bytes(ask.fields.get(name, b"null"))
        ignorable = _TEXT.fullmatch(said) if name == "response_format" else said in _IGNORABLE[name]
        if not ignorable:
            needed[name] = feature
    return needed


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


def text_in(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


class _Message(msgspec.Struct, gc=False):
    """What a model generated: the message of a whole answer, or what one event adds to it."""

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None

    @property
    def generated(self) -> str:
        """All of its text: content, reasoning, refusals, and calls of tools."""
        text = self.content if type(self.content) is str else text_in(self.content)
        if not (self.reasoning_content or self.reasoning or self.refusal or self.tool_calls or self.function_call):
            return text
        parts = [text, self.reasoning_content or self.reasoning, self.refusal]
        functions = [call.function for call in self.tool_calls or ()]
        for function in (*functions, self.function_call):
            if function is not None:
                parts += [function.name, function.arguments]
        return "".join(filter(None, parts))


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None

    @property
    def generated(self) -> str:
        return self.message.generated if self.message is not None else self.text or ""


class Answer(msgspec.Struct):
    """The metered parts of a whole answer."""

    model: Any = None
    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    usage: Usage | None = None
    error: Any = None

    @property
    def text(self) -> str:
        """All that was generated."""
        return "".join([choice.generated for choice in self.choices or ()])


NAME, MODEL = b'"model"', b'"model":'
UNKNOWN = b"\0"
"""What no JSON has."""


def named(body: bytes, said: Any, asked: str) -> bytes:
    """An answer or event that names its model as it was asked for, where it `said` another name. It is decoded, and
    then only its outer fields, where the name cannot be told by its bytes. Raises NodeFailed when it is no JSON.
    """
    written = MODEL + orjson.dumps(said) if type(said) is str else b""
    if body.count(written) == 1 == body.count(NAME):
        return body.replace(written, MODEL + orjson.dumps(asked))
    try:
        outer = {**fields(body)}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NodeFailed("the node's answer is nonsense", "nonsense") from error
    if "model" in outer:
        outer["model"] = msgspec.Raw(orjson.dumps(asked))
    return msgspec.json.encode(outer)


_ANSWER = msgspec.json.Decoder(Answer)


def read_answer(path: str, body: bytes) -> Answer | None:
    """An answer's metered parts; None when it is no answer to `path`. Raises NodeFailed when it is an error."""
    if bounds.is_crowded(body) or (path != EMBEDDINGS and bounds.is_crowded(body, bounds.ANSWER_VALUES, b",")):
        return None
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.error is not None:
        raise NodeFailed("the node answered an error as if it had served", "error")
    found = answer.data if path == EMBEDDINGS else answer.results if path == RERANK else answer.choices
    return answer if found else None


class _Ended(msgspec.Struct):
    finish_reason: Any = None


class _Endings(msgspec.Struct):
    choices: list[_Ended] | None = None


_ENDINGS = msgspec.json.Decoder(_Endings)
FINISH_REASONS = frozenset(("stop", "length", "tool_calls", "content_filter", "function_call"))


def finish_reason(said: Any) -> str:
    """Why a choice ended, as OpenAI says it: whatever else a node says is "other"."""
    return said if isinstance(said, str) and said in FINISH_REASONS else "other"


def finish_reasons(body: bytes, most: int) -> list[str]:
    """Why the choices of an answer ended: of at most so many."""
    return [finish_reason(one.finish_reason) for one in (_ENDINGS.decode(body).choices or ())[:most]]


def shorten(body: bytes, tokens: int, most: int) -> bytes:
    """An answer of `tokens` output tokens, by the node's own count, cut to the share of its text that `most` are.

    Raises NodeFailed when it cannot be decoded whole.
    """
    try:
        bounds.check_shape(body)
    except Refusal as refused:
        raise NodeFailed(f"the node's answer is nonsense: {refused.message}", "nonsense") from refused
    answer = _object(body)
    for choice in answer["choices"]:
        for holder in _texts_of(choice):
            for name, value in holder.items():
                if name in _GENERATED and isinstance(value, str):
                    holder[name] = value[: len(value) * most // tokens]
        choice["finish_reason"] = "length"
    usage = answer.get("usage")
    if usage is not None:
        usage["completion_tokens"] = most
        if isinstance(usage.get("prompt_tokens"), int):
            usage["total_tokens"] = usage["prompt_tokens"] + most
    return orjson.dumps(answer)


def _texts_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of a choice that hold what was generated."""
    message = choice.get("message") or {}
    content = message.get("content")
    calls = [call.get("function") for call in message.get("tool_calls") or ()]
    parts = content if isinstance(content, list) else []
    return [one for one in (choice, message, message.get("function_call"), *calls, *parts) if isinstance(one, dict)]


def _object(data: bytes) -> dict[str, Any]:
    """An answer or event, decoded whole. Raises NodeFailed: fields that nobody meters may hold what is no JSON."""
    try:
        found: dict[str, Any] = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NodeFailed("the node's answer is nonsense", "nonsense") from error
    return found


_GENERATED = frozenset(("content", "text", "reasoning_content", "reasoning", "refusal", "arguments"))
"""The names of strings that a model generated, in a choice."""


class _Part(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    """The metered parts of one event of a stream."""

    model: Any = None
    choices: list[_Part] | None = []
    usage: Usage | None = None
    error: Any = None
    tollway: Any = None
    tollway_units: dict[str, int] | None = None
    tollway_served: Any = None

    @property
    def speaks_for_us(self) -> bool:
        """Whether it has a field that only a gateway writes for a consumer, or a node for its gateway."""
        return self.tollway is not None or self.tollway_units is not None or self.tollway_served is not None


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


_SILENT, _FULL = StreamState.silent, StreamState.full
"""Asked at each event: to look up a member in its class takes nine times as long."""


class StreamAccumulator:
    """Reads a stream: decides which of it goes to the consumer, and counts its tokens and bytes.

    What would pass `most` tokens or `most_bytes` is not passed on: the stream ends there, as one of a full length. The
    text is kept only with `keep_text`, for a tokenizer.
    """

    def __init__(self, ask: Ask, salt: bytes, most: int, most_bytes: int, keep_text: bool) -> None:
        self.state = StreamState.silent
        self.usage: Usage | None = None
        self.units: NodeUnits | None = None
        self.tokens = 0
        self.text_bytes = 0
        self.size = 0
        self._most, self._most_bytes = most, most_bytes
        self._include_usage = ask.include_usage
        self._model = self._said = ask.model
        """The model's name as it was asked for, and as the last event said it."""
        self._misnamed, self._right = b"", MODEL + orjson.dumps(ask.model)
        """How events write the name, once they write another one; and how it is to be written."""
        self._unread: list[bytes] = []
        """The beginning of an event, in pieces; `_seam` are its last bytes."""
        self._seam = b""
        self._unread_bytes = self._prelude_bytes = 0
        self._completes = ask.path == COMPLETIONS
        self._unfinished: set[int] = set()
        self.finish_reasons: list[str] = []
        """Why its choices ended, in this order."""
        self._choices = ask.choices
        self._last = b"{}"
        self._hasher = BodyHash(salt)
        self._texts: list[str] | None = [] if keep_text else None
        self._held_back: dict[str, Any] | None = None
        self._begun = self._after_cr = False

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

    def close(self) -> None:
        """The node has ended its stream. Whether it was whole, its events have said."""

    def take(self, chunk: bytes) -> bytes:
        """The part of a chunk that goes to the consumer now. Raises NodeFailed for an error event or nonsense."""
        out: list[bytes] = []
        for raw in self._events(chunk):
            data = data_of(raw)
            if data == b"[DONE]":
                self.state = StreamState.done
                break
            if data is not None:
                left = self._take_event(data)
                if left is data and LF not in raw:
                    out.append(raw)
                elif left:
                    out.append(b"data: " + left.replace(b"\n", b"\ndata: "))
            elif raw:
                out.append(ALIVE)
            if self.state is _SILENT:
                self._skip(len(raw))
            elif self.state is _FULL:
                break
        if not out:
            return b""
        out.append(b"")
        whole = self._named(b"\n\n".join(out))
        self._hasher.update(whole)
        return whole

    def report(self, units: Units) -> None:
        """Hold back the usage of a stream that the gateway ended, as it is billed: the node's did not come."""
        if self._include_usage and self._held_back is None:
            billed = coarse(units)
            tokens = {"prompt_tokens": billed.input_token, "completion_tokens": billed.output_token}
            usage = {**tokens, "total_tokens": billed.input_token + billed.output_token}
            self._held_back = {**self._envelope(), "choices": [], "usage": usage}

    def last_events(self, note: dict[str, Any] | None, cost: str | None = None) -> bytes:
        """The usage, held back until the receipt is durable, with the receipt and what the call cost."""
        if self._held_back is None:
            return b""
        event = _without_ours(self._held_back)
        if "model" in event:
            event["model"] = self._model
        event["usage"] = with_cost(event["usage"], cost)
        if note is not None:
            event["tollway"] = note
        return b"data: " + msgspec.json.encode(event) + b"\n\n"

    def _events(self, chunk: bytes) -> list[bytes]:
        """The server-sent events that are whole now, each without its blank line. A line ends with CR, LF or both."""
        if not self._begun:
            self._begun, chunk = True, chunk.removeprefix(BYTE_ORDER_MARK)
        if CR in chunk or self._after_cr:
            chunk = self._with_plain_ends(chunk)
        if self._unread and b"\n\n" not in self._seam + chunk:
            self._unread.append(chunk)
            self._seam = chunk[-1:] or self._seam
            self._unread_bytes += len(chunk)
            if self._unread_bytes > bounds.EVENT_BYTES:
                raise _too_long("an event", bounds.EVENT_BYTES)
            return []
        whole = b"".join([*self._unread, chunk]) if self._unread else chunk
        events = whole.split(b"\n\n")
        if len(whole) > bounds.EVENT_BYTES and len(max(events, key=len)) > bounds.EVENT_BYTES:
            raise _too_long("an event", bounds.EVENT_BYTES)
        rest = events.pop()
        most = bounds.EVENT_CONTAINERS
        if len(whole) > most and any(bounds.is_crowded(raw, most) for raw in events):
            raise NodeFailed("the node streams nonsense", "nonsense")
        self._unread, self._seam, self._unread_bytes = [rest] if rest else [], rest[-1:], len(rest)
        return events

    def _with_plain_ends(self, chunk: bytes) -> bytes:
        """The same lines, each ended by LF. The CR and the LF of one end may come in two chunks."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _note_model(self, said: Any) -> None:
        """Remember how an event says the model's name, if it says one, where that is not how it was asked for."""
        if said is not None:
            self._said = said
            self._misnamed = MODEL + orjson.dumps(said) if type(said) is str else UNKNOWN

    def _named(self, whole: bytes) -> bytes:
        """Events that name the model as it was asked for: all at once where every event has the name that was said
        last, written in the same way.
        """
        if not self._misnamed:
            return whole
        right = whole.replace(self._misnamed, self._right)
        longer = len(self._right) - len(self._misnamed)  # counted so, a search less
        replaced = (len(right) - len(whole)) // longer if longer else whole.count(self._misnamed)
        if replaced == whole.count(NAME):
            return right
        events = []
        for raw in whole.split(b"\n\n"):
            data = data_of(raw)
            events.append(raw if data is None else b"data: " + named(data, None, self._model))
        return b"\n\n".join(events)

    def _skip(self, size: int) -> None:
        """Count what came before the first token."""
        self._prelude_bytes += size
        if self._prelude_bytes > bounds.PRELUDE_BYTES:
            raise _too_long("what comes before its first token", bounds.PRELUDE_BYTES)

    def _take_event(self, data: bytes) -> bytes:
        """Count an event. Returns what the consumer gets of its data: nothing of the usage, which we send ourselves.
        Raises NodeFailed for an error event or nonsense.
        """
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise NodeFailed("the node streams nonsense", "nonsense") from error
        if event.error is not None:
            raise NodeFailed("the node ended its stream with an error", "error")
        if event.model != self._said:
            self._note_model(event.model)
        choices = event.choices
        if choices and not self._count(choices, data):
            self.state = _FULL
            return self._cut()
        self.size += len(data)
        if event.usage is not None or event.speaks_for_us:
            return self._take_notes(event, data)
        return data

    def _take_notes(self, event: _Event, data: bytes) -> bytes:
        """Keep what the node says that it used. Returns what goes on: no node says what only a gateway says."""
        if event.tollway_units is not None:
            self.units = named_units(event.tollway_units)
        if event.usage is not None and not (event.choices and event.usage.is_zero):
            self.usage = event.usage
        if event.choices or event.usage is None:
            return orjson.dumps(_without_ours(_object(data))) if event.speaks_for_us else data
        if self._include_usage:
            self._held_back = _object(data)  # whole, before we charge
        return b""

    def _count(self, choices: list[_Part], data: bytes) -> bool:
        """Count an event's choices: the text of each that is not empty is one token. False if it passes a bound."""
        texts = []
        for part in choices:
            text = part.delta.generated if part.delta is not None else part.text
            if text:
                texts.append(text)
        if self.tokens + len(texts) > self._most or self.size + len(data) > self._most_bytes:
            return False
        self._last = data
        if texts:
            self.tokens += len(texts)
            self._keep("".join(texts))
        for part in choices:
            if part.finish_reason is None:
                self._unfinished.add(part.index)
            else:
                self.state = StreamState.finished
                self._unfinished.discard(part.index)
                if len(self.finish_reasons) < self._choices:
                    self.finish_reasons.append(finish_reason(part.finish_reason))
        return True

    def _keep(self, text: str) -> None:
        self.text_bytes += len(text) if text.isascii() else len(text.encode())
        if self.text_bytes > bounds.ANSWER_BYTES:
            raise _too_long("its text", bounds.ANSWER_BYTES)
        if self._texts is not None:
            self._texts.append(text)
        if self.state is _SILENT:
            self.state = StreamState.begun

    def _cut(self) -> bytes:
        """An event that ends every choice at its length."""
        self.finish_reasons += ["length"] * min(len(self._unfinished), self._choices - len(self.finish_reasons))
        part: dict[str, Any] = {"text": ""} if self._completes else {"delta": {}}
        ends = [{"index": index, **part, "finish_reason": "length"} for index in sorted(self._unfinished)]
        return orjson.dumps({**self._envelope(), "choices": ends})

    def _envelope(self) -> dict[str, Any]:
        """The fields that all events of the stream have in common."""
        said = _object(self._last)
        return {name: said[name] for name in ("id", "object", "created", "model") if name in said}


def _too_long(what: str, most: int) -> NodeFailed:
    return NodeFailed(f"the node streams more than {most} bytes as {what}", "too_long", limit_bytes=most)


def with_cost(usage: Mapping[str, Any], cost: str | None) -> dict[str, Any]:
    """A usage with what the call cost the consumer, as a number with all its places; without what the node paid."""
    said = {name: value for name, value in usage.items() if name != "cost"}
    return said if cost is None else {**said, "cost": msgspec.Raw(cost.encode())}


def _without_ours(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in NODES_OWN}


def data_of(raw: bytes) -> bytes | None:
    """The data of an event; None for comments and other fields."""
    if raw.startswith(b"data:") and LF not in raw:
        return raw[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in raw.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
