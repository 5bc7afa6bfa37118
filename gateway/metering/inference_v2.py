"""Reads requests and answers of the Open Inference Protocol v2. Tensors pass through unread.

Alone because each protocol has its own reader.
"""

import msgspec
import orjson

from gateway.errors import Refusal
from gateway.metering.ask import INFER, Ask


class _Inference(msgspec.Struct):
    outputs: list[msgspec.Raw]


_INFERENCE = msgspec.json.Decoder(_Inference)


def read(model: str, body: bytes, header_length: bytes | None) -> Ask:
    """An inference request, with or without binary tensors after `header_length` bytes of JSON. Refused with 400."""
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
    return Ask(INFER, model, body, limit=0, header_bytes=length)


def is_answer(body: bytes, header_length: bytes | None) -> bool:
    """Whether this is an inference response: JSON with a list of outputs."""
    if header_length and not header_length.isdigit():
        return False
    try:
        _INFERENCE.decode(body[: int(header_length)] if header_length else body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return False
    return True
