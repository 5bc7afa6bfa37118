"""Reads requests and answers of the Open Inference Protocol v2. Tensors pass through unread.

Alone because each protocol has its own reader.
"""

import msgspec

from gateway import bounds
from gateway.errors import Refusal
from gateway.metering.ask import INFER, Ask


class _Request(msgspec.Struct):
    inputs: msgspec.Raw


class _Inference(msgspec.Struct):
    outputs: msgspec.Raw


_REQUEST, _INFERENCE = msgspec.json.Decoder(_Request), msgspec.json.Decoder(_Inference)


def read(model: str, body: bytes, header_length: bytes | None) -> Ask:
    """An inference request, with or without binary tensors after `header_length` bytes of JSON. Refused with 400."""
    if not fits(header_length, body):
        raise Refusal(400, "invalid_request", "Inference-Header-Content-Length does not fit the body")
    length = bounds.number(header_length) if header_length is not None else None
    said = body[:length]
    try:
        if not said.isascii():
            said.decode()  # the decoder passes bytes that are no text in fields it does not read
        is_list = _is_list(_REQUEST.decode(said).inputs)
    except msgspec.ValidationError:
        is_list = False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not is_list:
        raise Refusal(400, "invalid_request", "an inference request has a list of inputs", param="inputs")
    return Ask(INFER, model, body, limit=0, header_bytes=length)


def fits(header_length: bytes | None, body: bytes) -> bool:
    """Whether the length of the JSON before binary tensors, None without them, is one that a body can have."""
    return header_length is None or 0 < (bounds.number(header_length) or 0) <= len(body)


def is_answer(body: bytes, header_length: bytes | None) -> bool:
    """Whether this is an inference response: JSON with a list of outputs."""
    if not fits(header_length, body):
        return False
    said = body[: bounds.number(header_length)] if header_length is not None else body
    try:
        return _is_list(_INFERENCE.decode(said).outputs)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def _is_list(value: msgspec.Raw) -> bool:
    """Whether a value is a list. Its elements become no objects: there may be millions."""
    return bytes(memoryview(value)[:1]) == b"["
