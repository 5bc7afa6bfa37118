"""Anthropic's `/v1/messages` over chat: its requests as chat requests, chat answers as its answers and events."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw, Struct
from orjson import Fragment

from gateway.dialects import requests
from gateway.dialects.chat import ChatAnswer, Item, Kind
from gateway.dialects.requests import given, invalid, unsupported
from gateway.metering import openai
from gateway.metering.ask import written

PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
Limit = Annotated[int, Meta(ge=1, le=2**31)]


class _Source(Struct):
    type: str
    media_type: str = ""
    data: str | None = None
    url: str | None = None


class _Inner(Struct):
    """A block of what a tool returned."""

    type: str
    text: str | None = None
    source: _Source | None = None
    title: str | None = None


class _Block(Struct):
    type: str
    text: str | None = None
    source: _Source | None = None
    title: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()
    tool_use_id: str | None = None
    content: str | list[_Inner] | None = None


class _Message(Struct):
    role: str
    content: str | list[_Block]


class _Tool(Struct):
    name: str
    input_schema: Raw = Raw()
    description: str | None = None
    type: str | None = None
    strict: bool | None = None


class _Choice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str


class _Format(Struct):
    type: str
    schema: Raw = Raw()


class _Output(Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Request(Struct):
    model: str
    messages: list[_Message]
    max_tokens: Limit | None = None
    system: str | list[_Inner] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None
    container: Any = None
    mcp_servers: Any = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_REQUEST = msgspec.json.Decoder(_Request)
HINTS = frozenset(
    ["cache_control", "context_management", "diagnostics", "inference_geo", "service_tier", "speed", "user_profile_id"]
)
"""Fields that change nothing of an answer here."""
PASSED = frozenset(("temperature", "top_p", "top_k", "thinking"))
"""Fields that go on as they are: some servers read them in chat too."""
READ = (frozenset(_Request.__struct_fields__) - PASSED) | HINTS
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
"""Why an answer ended, by why chat says so."""
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class Messages:
    """One request, and its answer."""

    prefix = "msg_"
    key_header = b"x-api-key"

    def __init__(self) -> None:
        self._answer = ChatAnswer()
        self._request_bytes = 0
        self._stops: frozenset[str] = frozenset()
        self._open: int | None = None
        self.model = ""
        self.id = ""

    def read(self, body: bytes) -> bytes:
        """The request as a chat request. Refused with 400, naming the field."""
        request, fields = requests.read(_REQUEST, body)
        if request.max_tokens is None:
            raise invalid("max_tokens", "max_tokens is missing: the most tokens of the answer")
        return self._read(request, fields)

    def _read(self, request: _Request, fields: dict[str, Raw]) -> bytes:
        for name in ("container", "mcp_servers"):
            if getattr(request, name):
                raise unsupported(name, f"no tool is hosted here, so {name} cannot be served")
        chat = requests.rest(fields, READ, PATH)
        if request.thinking is not None and request.thinking.type != "enabled":
            del chat["thinking"]  # the model's own way
        chat |= {"model": request.model, "messages": _messages(request)}
        if request.max_tokens is not None:
            chat["max_tokens"] = request.max_tokens
        if request.stop_sequences:
            chat["stop"] = request.stop_sequences
            self._stops = frozenset(request.stop_sequences)
        if request.metadata is not None and request.metadata.user_id is not None:
            chat["user"] = request.metadata.user_id
        if request.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        chat |= _tools(request) | _formats(request.output_config)
        self.model = request.model
        made = written(chat)
        self._request_bytes = len(made)
        return made

    def whole(self, chat: bytes) -> bytes:
        """A whole chat answer as a message."""
        self._answer.take(chat)
        blocks = [_block(item) for item in self._answer.items]
        return orjson.dumps(self._message(blocks, self._stop(), self._usage()))

    def refused(self, status: int, body: bytes) -> bytes:
        """An error in Anthropic's shape, with what ours says beside it."""
        fields = openai.fields(openai.fields(body)["error"])
        said = {name: Fragment(bytes(value)) for name, value in fields.items()}
        return orjson.dumps({"type": "error", "error": {**said, "type": TYPES.get(status, "api_error")}})

    def begin(self) -> bytes:
        """The event before the first of the model's. What it uses is known at the end."""
        usage = {"input_tokens": 0, "output_tokens": 0}
        unended = {"stop_reason": None, "stop_sequence": None}
        return _event("message_start", message=self._message([], unended, usage))

    def take(self, data: bytes) -> bytes:
        """The events for the data of one event of a chat stream."""
        return b"".join([self._piece(number, text) for number, text in self._answer.take(data)])

    def end(self) -> bytes:
        """The events after the last of the model's."""
        if self._answer.is_mixed:
            message = "the node streams several calls of tools at once, which no message can say"
            return self.fail({"message": message, "code": "node_nonsense"})
        note = {"tollway": self._answer.note} if self._answer.note is not None else {}
        ended = _event("message_delta", delta=self._stop(), usage=self._usage(), **note)
        return self._close() + ended + _event("message_stop")

    def fail(self, error: dict[str, Any]) -> bytes:
        """The event of a stream that broke."""
        return _event("error", error={**error, "type": "api_error"})

    def _piece(self, number: int, text: str) -> bytes:
        item = self._answer.items[number]
        out = b""
        if number != self._open:
            out, self._open = self._close(), number
            out += _event("content_block_start", index=number, content_block=_begun(item))
        if text:
            name, field = DELTAS[item.kind]
            out += _event("content_block_delta", index=number, delta={"type": name, field: text})
        return out

    def _close(self) -> bytes:
        """The end of the block that is open."""
        if self._open is None:
            return b""
        number, self._open = self._open, None
        return _event("content_block_stop", index=number)

    def _message(self, blocks: list[Any], stop: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        named = {"id": self.id, "type": "message", "role": "assistant", "model": self.model}
        return {**named, "content": blocks, **stop, "usage": usage}

    def _stop(self) -> dict[str, Any]:
        """Why it ended."""
        answer = self._answer
        if answer.stopped_by in self._stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": answer.stopped_by}
        calls = any(item.kind is Kind.call for item in answer.items)
        usual = "tool_use" if calls else "end_turn"
        return {"stop_reason": STOPS.get(answer.finish_reason or "", usual), "stop_sequence": None}

    def _usage(self) -> dict[str, Any]:
        """What it used. Anthropic's input tokens are those that came from no cache, and are in none."""
        used = self._answer.tokens(self._request_bytes)
        written_to = min(used.cache_written, used.inputs - used.cached)
        return {
            "input_tokens": used.inputs - used.cached - written_to,
            "cache_creation_input_tokens": written_to,
            "cache_read_input_tokens": used.cached,
            "output_tokens": used.outputs,
            "output_tokens_details": {"thinking_tokens": used.reasoning},
        }


class TokenCount(Messages):
    """A request whose tokens are to be counted: its answer is no message."""

    def read(self, body: bytes) -> bytes:
        return self._read(*requests.read(_REQUEST, body))

    def whole(self, chat: bytes) -> bytes:
        return chat


DELTAS = {
    Kind.reasoning: ("thinking_delta", "thinking"),
    Kind.text: ("text_delta", "text"),
    Kind.refusal: ("text_delta", "text"),
    Kind.call: ("input_json_delta", "partial_json"),
}


def _event(event: str, **said: Any) -> bytes:
    return requests.event(event, orjson.dumps({"type": event, **said}))


def _begun(item: Item) -> dict[str, Any]:
    """A block of which nothing came yet."""
    return _block(Item(item.kind, item.id, item.name))


def _block(item: Item) -> dict[str, Any]:
    if item.kind is Kind.call:
        return {"type": "tool_use", "id": item.id, "name": item.name, "input": _input(item.text)}
    if item.kind is Kind.reasoning:
        return {"type": "thinking", "thinking": item.text, "signature": ""}
    return {"type": "text", "text": item.text}


def _input(arguments: str) -> Any:
    """The arguments of a call, as they are written; as one text, if the model wrote no JSON object."""
    try:
        said = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        said = None
    return Fragment(arguments or "{}") if isinstance(said, dict) else {"arguments": arguments}


def _messages(request: _Request) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    if request.system is not None:
        said.append({"role": "system", "content": _inner(request.system, "system")})
    for place, message in enumerate(request.messages):
        where = f"messages[{place}].content"
        if message.role not in ("user", "assistant", "system"):
            raise invalid(f"messages[{place}].role", "a role is user, assistant or system")
        if isinstance(message.content, str):
            said.append({"role": message.role, "content": message.content})
        elif message.role == "assistant":
            said.append(_turn(message.content, where))
        else:
            said += _given(message.role, message.content, where)
    return said


def _turn(blocks: list[_Block], where: str) -> dict[str, Any]:
    """What a model said: its texts and calls. What it thought is not sent again."""
    texts, calls = [], []
    for place, block in enumerate(blocks):
        match block:
            case _Block(type="text", text=str(text)):
                texts.append(requests.text(text))
            case _Block(type="tool_use", id=str(known), name=str(name)):
                arguments = bytes(block.input or b"{}").decode()
                calls.append(requests.tool_call(known, name, arguments))
            case _Block(type="thinking" | "redacted_thinking"):
                pass
            case _:
                raise _unserved(block.type, f"{where}[{place}]")
    said = {"role": "assistant", "content": requests.content(texts) if texts or not calls else None}
    return said | ({"tool_calls": calls} if calls else {})


def _given(role: str, blocks: list[_Block], where: str) -> Iterator[dict[str, Any]]:
    """What a model is told: first what its tools returned, each as a message, then the rest as one."""
    parts = []
    for place, block in enumerate(blocks):
        if block.type == "tool_result" and block.tool_use_id is not None:
            content = _inner(block.content or "", f"{where}[{place}].content")
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}
        else:
            parts.append(_part(block, f"{where}[{place}]"))
    if parts or not blocks:
        yield {"role": role, "content": requests.content(parts)}


def _inner(said: str | list[_Inner], where: str) -> Any:
    if isinstance(said, str):
        return said
    return requests.content([_part(block, f"{where}[{place}]") for place, block in enumerate(said)])


def _part(block: _Inner | _Block, where: str) -> dict[str, Any]:
    source = block.source
    match block.type, source:
        case "text", _ if block.text is not None:
            return requests.text(block.text)
        case "image", _Source(type="base64", data=str(data)):
            return requests.image(f"data:{source.media_type};base64,{data}")
        case "image", _Source(type="url", url=str(url)):
            return requests.image(url)
        case "document", _Source(type="text", data=str(data)):
            return requests.text(data)
        case "document", _Source(type="base64", data=str(data)):
            return requests.file(f"data:{source.media_type};base64,{data}", block.title)
    raise _unserved(block.type, where)


def _unserved(kind: str, where: str) -> Exception:
    served = "text, image (base64 or url), document (base64 or text), tool_use, tool_result and thinking can"
    return unsupported(where, f"a block of type {kind!r} as it is here cannot be served: {served}, each as a whole")


def _tools(request: _Request) -> dict[str, Any]:
    """The fields of a chat request about functions."""
    made: dict[str, Any] = {}
    for place, one in enumerate(request.tools or ()):
        if one.type not in (None, "custom") or not given(one.input_schema):
            message = f"no tool of type {one.type!r} is hosted here: a tool has a name and an input_schema"
            raise unsupported(f"tools[{place}]", message)
        made.setdefault("tools", []).append(requests.tool(one.name, one.description, one.input_schema, one.strict))
    choice = request.tool_choice
    if choice is None:
        return made
    if choice.disable_parallel_tool_use:
        made["parallel_tool_calls"] = False
    if choice.type == "tool" and choice.name is not None:
        return made | {"tool_choice": {"type": "function", "function": {"name": choice.name}}}
    if choice.type not in CHOICES:
        raise invalid("tool_choice", "a choice is auto, any, none, or tool with its name")
    return made | {"tool_choice": CHOICES[choice.type]}


def _formats(said: _Output | None) -> dict[str, Any]:
    """The fields of a chat request about what an answer is like."""
    made: dict[str, Any] = {}
    if said is None:
        return made
    if said.effort is not None:
        made["reasoning_effort"] = said.effort
    if said.format is None:
        return made
    if said.format.type != "json_schema" or not given(said.format.schema):
        raise invalid("output_config.format", "a format is json_schema with its schema")
    return made | {"response_format": requests.schema_format("answer", said.format.schema, True)}
