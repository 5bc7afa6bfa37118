"""OpenAI's `/v1/responses`, stateless, over chat: its requests as chat requests, chat's answers as its own.

Nothing is kept here, so each request says all of its input, and `store` is false.
"""

from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw, Struct
from orjson import Fragment

from gateway.dialects import requests
from gateway.dialects.chat import ChatAnswer, Item, Kind
from gateway.dialects.requests import given, unsupported
from gateway.metering.ask import written

PATH = "/v1/responses"
Limit = Annotated[int, Meta(ge=1, le=2**31)]


class _Part(Struct):
    """A part of a message, or of what a function returned."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    filename: str | None = None
    input_audio: dict[str, str] | None = None


class _Item(Struct):
    type: str | None = None
    role: str | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None


class _Tool(Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class _Named(Struct):
    type: str
    name: str | None = None


class _Choice(Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[_Named] = []


class _Format(Struct):
    type: str
    name: str | None = None
    schema: Raw = Raw()
    strict: bool | None = None
    description: str | None = None


class _Text(Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(Struct):
    effort: str | None = None


class _Request(Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    max_output_tokens: Limit | None = None
    parallel_tool_calls: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] | None = None


_REQUEST = msgspec.json.Decoder(_Request)
HINTS = {
    *("access_programs", "background_options", "context_management", "image", "max_tool_calls", "moderation"),
    *("prompt_cache_options", "stream_options", "truncation"),
}
"""Fields that change nothing of an answer that has no hosted tool and is not kept."""
PASSED = frozenset(("parallel_tool_calls", "temperature", "top_p"))
"""Fields that chat has too, of the same meaning."""
READ = (frozenset(_Request.__struct_fields__) - PASSED) | HINTS
ECHOED = {
    *("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key", "reasoning"),
    *("safety_identifier", "service_tier", "temperature", "text", "tool_choice", "tools", "top_p", "user"),
}
"""Fields that a response says again."""
KEPT = {
    "previous_response_id": "send the whole conversation as input",
    "conversation": "send the whole conversation as input",
    "prompt": "send what the template says as instructions and input",
    "background": "wait for the answer, or stream it",
    "store": "leave it out, or send store: false",
}
"""What needs a server that keeps something, and what to do instead."""

CUT: dict[str | None, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by why chat says that it ended."""


class Responses:
    """One request, and its answer."""

    prefix = "resp_"
    key_header = b"authorization"

    def __init__(self) -> None:
        self._answer = ChatAnswer()
        self._writer = _Events(self)
        self._fields: dict[str, Fragment] = {}
        self._request_bytes = 0
        self.model = ""
        self.id = ""

    def read(self, body: bytes) -> bytes:
        """The request as a chat request. Refused with 400, naming the field."""
        request, fields = requests.read(_REQUEST, body)
        self._fields = {name: Fragment(bytes(fields[name])) for name in ECHOED & fields.keys() if given(fields[name])}
        self.model = request.model
        for name, instead in KEPT.items():
            if getattr(request, name):
                raise unsupported(name, f"no response is kept here, so {name} cannot be served: {instead}")
        if request.top_logprobs or "message.output_text.logprobs" in (request.include or ()):
            raise unsupported("top_logprobs", "log probabilities are served at /v1/chat/completions")
        chat = requests.rest(fields, READ, PATH)
        chat |= {"model": request.model, "messages": _messages(request)}
        if request.max_output_tokens is not None:
            chat["max_completion_tokens"] = request.max_output_tokens
        if request.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        chat |= _tools(request) | _formats(request)
        made = written(chat)
        self._request_bytes = len(made)
        return made

    def whole(self, chat: bytes) -> bytes:
        """A whole chat answer as a response."""
        self._answer.take(chat)
        return orjson.dumps(self.response())

    def refused(self, status: int, body: bytes) -> bytes:
        """An error: OpenAI's are all of one shape."""
        return body

    def begin(self) -> bytes:
        """The events before the first of the model's."""
        return self._writer.begin()

    def take(self, data: bytes) -> bytes:
        """The events for the data of one event of a chat stream."""
        return b"".join([self._writer.piece(number, text) for number, text in self._answer.take(data)])

    def end(self) -> bytes:
        """The events after the last of the model's."""
        if self._answer.is_mixed:
            message = "the node streams several calls of functions at once, which no response can say"
            return self.fail({"message": message, "type": "server_error", "code": "node_nonsense", "param": None})
        return self._writer.end()

    def fail(self, error: dict[str, Any]) -> bytes:
        """The events of a stream that broke. The stock client raises the second."""
        failed = {"code": "server_error", "message": error["message"]}
        said = {name: error.get(name) for name in ("code", "message", "param")}
        return self._writer.event(
            "response.failed", response=self.response("failed", error=failed)
        ) + self._writer.event("error", **said, error=error)

    def response(self, status: str | None = None, **said: Any) -> dict[str, Any]:
        """The response as it is now."""
        answer, status = self._answer, status or self.ended
        shown = {
            **dict.fromkeys(ECHOED),
            "parallel_tool_calls": True,
            "reasoning": {"effort": None, "summary": None},
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            **self._fields,
            "id": self.id,
            "object": "response",
            "created_at": answer.created or 0,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": CUT.get(answer.finish_reason)} if status == "incomplete" else None,
            "model": self.model,
            "output": self._output(),
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else self._usage(),
        }
        return shown | ({"tollway": answer.note} if answer.note is not None else {}) | said

    def _output(self) -> list[dict[str, Any]]:
        """All items; of an answer that was cut, the last one is."""
        items = self._answer.items
        ends = ["completed"] * (len(items) - 1) + [self.ended]
        return [output(self.id, number, item, ends[number]) for number, item in enumerate(items)]

    def _usage(self) -> dict[str, Any]:
        used = self._answer.tokens(self._request_bytes)
        return {
            "input_tokens": used.inputs,
            "input_tokens_details": {"cached_tokens": used.cached, "cache_write_tokens": used.cache_written},
            "output_tokens": used.outputs,
            "output_tokens_details": {"reasoning_tokens": used.reasoning},
            "total_tokens": used.inputs + used.outputs,
        }

    @property
    def ended(self) -> str:
        """How it ended, if it has."""
        return "incomplete" if self._answer.finish_reason in CUT else "completed"

    def item(self, number: int) -> Item:
        return self._answer.items[number]


class _Events:
    """Writes the events of a response. One item is open at a time; each event has the next number."""

    def __init__(self, response: Responses) -> None:
        self._response = response
        self._open: int | None = None
        self._sent = 0

    def event(self, event: str, **said: Any) -> bytes:
        """One event."""
        data = orjson.dumps({"type": event, "sequence_number": self._sent, **said})
        self._sent += 1
        return requests.event(event, data)

    def begin(self) -> bytes:
        made = self._response.response("in_progress")
        return self.event("response.created", response=made) + self.event("response.in_progress", response=made)

    def piece(self, number: int, text: str) -> bytes:
        """What is new of an item; before that the end of the last one and the beginning of this one, if it is new."""
        out = b"" if number == self._open else self._close() + self._begin(number)
        if not text:
            return out
        item, where = self._response.item(number), self._where(number)
        name, _, more = PARTS[item.kind]
        return out + self.event(f"response.{name}.delta", **where, delta=text, **more)

    def end(self) -> bytes:
        made = self._response.response()
        return self._close(self._response.ended) + self.event(f"response.{made['status']}", response=made)

    def _where(self, number: int) -> dict[str, Any]:
        """Where an event belongs."""
        item = self._response.item(number)
        place = {"item_id": item_id(self._response.id, number, item), "output_index": number}
        return place if item.kind is Kind.call else {**place, "content_index": 0}

    def _begin(self, number: int) -> bytes:
        self._open, item = number, self._response.item(number)
        empty = Item(item.kind, item.id, item.name)
        shown = output(self._response.id, number, empty, "in_progress")
        if item.kind is not Kind.call:
            shown["content"] = []
        begun = self.event("response.output_item.added", output_index=number, item=shown)
        if item.kind is Kind.call:
            return begun
        return begun + self.event("response.content_part.added", **self._where(number), part=part(empty))

    def _close(self, status: str = "completed") -> bytes:
        """The end of the item that is open."""
        if self._open is None:
            return b""
        number, self._open = self._open, None
        item, where = self._response.item(number), self._where(number)
        name, field, more = PARTS[item.kind]
        more = {**more, "name": item.name} if item.kind is Kind.call else more
        out = self.event(f"response.{name}.done", **where, **{field: item.text}, **more)
        if item.kind is not Kind.call:
            out += self.event("response.content_part.done", **where, part=part(item))
        shown = output(self._response.id, number, item, status)
        return out + self.event("response.output_item.done", output_index=number, item=shown)


PARTS: dict[Kind, tuple[str, str, dict[str, Any]]] = {
    Kind.reasoning: ("reasoning_text", "text", {}),
    Kind.text: ("output_text", "text", {"logprobs": []}),
    Kind.refusal: ("refusal", "refusal", {}),
    Kind.call: ("function_call_arguments", "arguments", {}),
}
"""The name of an item's events, of the field that holds all of it, and what else they say."""
PREFIXES = {Kind.reasoning: "rs", Kind.text: "msg", Kind.refusal: "msg", Kind.call: "fc"}


def item_id(response_id: str, number: int, item: Item) -> str:
    return f"{PREFIXES[item.kind]}_{response_id.removeprefix('resp_')}_{number}"


def part(item: Item) -> dict[str, Any]:
    """What an item says, as a part of its content."""
    if item.kind is Kind.text:
        return {"type": "output_text", "text": item.text, "annotations": [], "logprobs": []}
    if item.kind is Kind.refusal:
        return {"type": "refusal", "refusal": item.text}
    return {"type": "reasoning_text", "text": item.text}


def output(response_id: str, number: int, item: Item, status: str) -> dict[str, Any]:
    """An item of a response's output."""
    shown: dict[str, Any] = {"id": item_id(response_id, number, item), "status": status}
    if item.kind is Kind.call:
        call = {"call_id": item.id, "name": item.name, "arguments": item.text}
        return {"type": "function_call", **shown, **call}
    if item.kind is Kind.reasoning:
        return {"type": "reasoning", **shown, "summary": [], "content": [part(item)]}
    return {"type": "message", **shown, "role": "assistant", "content": [part(item)]}


def _messages(request: _Request) -> list[dict[str, Any]]:
    """All of the input as messages of a chat: what a model did in one turn is one message."""
    said: list[dict[str, Any]] = []
    if request.instructions is not None:
        said.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        return [*said, {"role": "user", "content": request.input}]
    for place, item in enumerate(request.input):
        where, kind = f"input[{place}]", item.type or "message"
        if kind == "message" and item.role is not None:
            said.append(_message(item, where))
        elif kind == "function_call":
            call = _call(item, where)
            if said and said[-1]["role"] == "assistant":
                said[-1].setdefault("tool_calls", []).append(call)
            else:
                said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            said.append(_returned(item, where))
        elif kind != "reasoning":  # which models are not sent again
            raise unsupported(where, f"an item of type {kind!r} cannot be served: {SERVED}")
    return said


SERVED = "messages, function_call and function_call_output can, each as a whole"


def _message(item: _Item, where: str) -> dict[str, Any]:
    if item.role not in ("user", "assistant", "system", "developer"):
        raise requests.invalid(f"{where}.role", "a role is user, assistant, system or developer")
    role = "system" if item.role == "developer" else item.role
    return {"role": role, "content": _content(item.content, f"{where}.content")}


def _call(item: _Item, where: str) -> dict[str, Any]:
    if item.call_id is None or item.name is None or item.arguments is None:
        raise requests.invalid(where, "a function_call has call_id, name and arguments")
    return requests.tool_call(item.call_id, item.name, item.arguments)


def _returned(item: _Item, where: str) -> dict[str, Any]:
    if item.call_id is None or item.output is None:
        raise requests.invalid(where, "a function_call_output has call_id and output")
    return {"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output, f"{where}.output")}


def _content(said: str | list[_Part] | None, where: str) -> Any:
    if said is None:
        raise requests.invalid(where, "a message has content: a text, or a list of parts")
    if isinstance(said, str):
        return said
    return requests.content([_part(part, f"{where}[{place}]") for place, part in enumerate(said)])


def _part(part: _Part, where: str) -> dict[str, Any]:
    match part:
        case _Part(type="input_text" | "output_text" | "text", text=str(text)):
            return requests.text(text)
        case _Part(type="refusal", refusal=str(text)):
            return requests.text(text)
        case _Part(type="input_image", image_url=str(url)):
            return requests.image(url, part.detail)
        case _Part(type="input_file", file_data=str(data)):
            return requests.file(data, part.filename)
        case _Part(type="input_audio", input_audio=dict(audio)):
            return {"type": "input_audio", "input_audio": audio}
    raise unsupported(where, f"a part of type {part.type!r} is served with its text, image_url or file_data in it")


def _tools(request: _Request) -> dict[str, Any]:
    """The fields of a chat request about functions."""
    made: dict[str, Any] = {}
    for place, one in enumerate(request.tools or ()):
        where = f"tools[{place}]"
        if one.type != "function":
            raise unsupported(where, f"no tool of type {one.type!r} is hosted here: tools are functions")
        if one.name is None:
            raise requests.invalid(where, "a function has a name")
        tool = requests.tool(one.name, one.description, given(one.parameters), one.strict)
        made.setdefault("tools", []).append(tool)
    choice = request.tool_choice
    if choice is not None:
        made["tool_choice"] = choice if isinstance(choice, str) else _choice(choice)
    return made


def _choice(choice: _Choice) -> dict[str, Any]:
    if choice.type == "function" and choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    if choice.type == "allowed_tools" and all(one.type == "function" for one in choice.tools):
        allowed = [{"type": "function", "function": {"name": one.name}} for one in choice.tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode or "auto", "tools": allowed}}
    raise unsupported("tool_choice", f"a choice of {choice.type!r} cannot be served: tools are functions")


def _formats(request: _Request) -> dict[str, Any]:
    """The fields of a chat request about what an answer is like."""
    made: dict[str, Any] = {}
    said = request.text or _Text()
    if said.verbosity is not None:
        made["verbosity"] = said.verbosity
    if request.reasoning is not None and request.reasoning.effort is not None:
        made["reasoning_effort"] = request.reasoning.effort
    form = said.format
    if form is None or form.type == "text":
        return made
    if form.type == "json_object":
        return made | {"response_format": {"type": "json_object"}}
    if form.type != "json_schema" or form.name is None or not given(form.schema):
        raise requests.invalid("text.format", "a format is text, json_object, or json_schema with its name and schema")
    return made | {"response_format": requests.schema_format(form.name, form.schema, form.strict, form.description)}
