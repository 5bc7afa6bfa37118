"""Reads requests and answers of the Open Inference Protocol v2. Tensors pass through unread.

Alone because each protocol has its own reader.
"""

import msgspec

from gateway.errors import Refusal
from gateway.metering.ask import INFER, Ask


class _Request(msgspec.Struct):
    inputs: msgspec.Raw


class _Inference(msgspec.Struct):
    outputs: msgspec.Raw


_REQUEST, _INFERENCE = msgspec.json.Decoder(_Request), msgspec.json.Decoder(_Inference)


def read(model: str, body: bytes, header_length: bytes | None) -> Ask:
    """An inference request, with or without binary tensors after `header_length` bytes of JSON. Refused with 400."""
    length = None
    if header_length is not None:
        if not header_length.isdigit() or not 0 < int(header_length) <= len(body):
            raise Refusal(400, "invalid_request", "Inference-Header-Content-Length does not fit the body")
        length = int(header_length)
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


def is_answer(body: bytes, header_length: bytes | None) -> bool:
    """Whether this is an inference response: JSON with a list of outputs."""
    if header_length and not header_length.isdigit():
        return False
    try:
        return _is_list(_INFERENCE.decode(body[: int(header_length)] if header_length else body).outputs)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def _is_list(value: msgspec.Raw) -> bool:
    """Whether a value is a list. Its elements become no objects: there may be millions."""
    return bytes(memoryview(value)[:1]) == b"["
