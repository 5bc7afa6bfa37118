"""What translating requests into chat requests has in common: strict reading, and messages of texts and other parts."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway import bounds
from gateway.errors import Refusal
from gateway.metering import openai

T = TypeVar("T")
CHATS_OWN = {
    *("audio", "best_of", "function_call", "functions", "logprobs", "max_completion_tokens", "max_tokens", "messages"),
    *("modalities", "n", "reasoning_effort", "response_format", "stop"),
}
"""Fields of a chat request that a translated one may not have beside its own: they would be said twice, or ask for what
its answer cannot hold.
"""


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> tuple[T, dict[str, msgspec.Raw]]:
    """A request, and all of its fields as they are written. Refused with 400, naming the field."""
    bounds.check_whole(body)
    try:
        if not body.isascii():
            body.decode()  # the decoder passes bytes that are no text in fields it does not read
        return decoder.decode(body), openai.fields(body)
    except msgspec.ValidationError as error:
        raise openai.not_valid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error


def rest(fields: Mapping[str, msgspec.Raw], read: Iterable[str], path: str) -> dict[str, Any]:
    """The fields that nobody read, which go to the model as they are. Refused if one is chat's own."""
    left = {name: value for name, value in fields.items() if name not in read and given(value)}
    for name in left:
        if name.lower() in CHATS_OWN:
            raise unsupported(name, f"{name} is a field of /v1/chat/completions, and none of {path}")
    return left


def given(raw: msgspec.Raw) -> msgspec.Raw | None:
    """What was written there; None for nothing, and for null."""
    return raw if bytes(raw) not in (b"", b"null") else None


def event(name: str, data: bytes) -> bytes:
    """A server-sent event. Not formatted as b"%b": a long one would be copied byte by byte."""
    return b"".join((b"event: ", name.encode(), b"\ndata: ", data, b"\n\n"))


def unsupported(param: str, message: str) -> Refusal:
    """The refusal of what no chat request can say."""
    return Refusal(400, "unsupported_value", message, param=param)


def invalid(param: str, message: str) -> Refusal:
    return Refusal(400, "invalid_request", message, param=param)


def content(parts: list[dict[str, Any]]) -> Any:
    """The content of a message. Texts alone are one text, by lines: many servers read nothing else."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def image(url: str, detail: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail is not None else {})}


def file(data: str, name: str | None) -> dict[str, Any]:
    """A file, as a data URL."""
    return {"type": "file", "file": {"file_data": data} | ({"filename": name} if name is not None else {})}


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, description: str | None, parameters: Any, strict: bool | None = None) -> dict[str, Any]:
    """A function that the model may call."""
    function = {"name": name, "description": description, "parameters": parameters, "strict": strict}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def schema_format(name: str, schema: Any, strict: bool | None, description: str | None = None) -> dict[str, Any]:
    """The `response_format` of answers that a JSON schema describes."""
    said = {"name": name, "schema": schema, "strict": strict, "description": description}
    return {"type": "json_schema", "json_schema": {key: value for key, value in said.items() if value is not None}}
