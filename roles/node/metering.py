"""The units a call used, as this node counts them. Alone because endpoints, artifacts and the witness all use it."""

import orjson

from ledger.core.values.meters import Units, used
from roles.node.models.model import Talk


def of_talk(talk: Talk, bytes_out: int) -> Units:
    """Units of a conversation: tokens as counted, compute time rounded up to whole ms, bytes of the answer's body."""
    ms = _ms(talk.compute_us)
    return Units(call=1, input_token=talk.prompt_tokens, output_token=talk.completion_tokens, ms=ms, byte=bytes_out)


def of_inference(compute_us: int, bytes_out: int) -> Units:
    return Units(call=1, ms=_ms(compute_us), byte=bytes_out)


def headers(units: Units) -> dict[str, str]:
    """The `Tollway-Usage` header of an answer."""
    return {"Tollway-Usage": orjson.dumps(used(units)).decode()}


def usage(talk: Talk) -> dict[str, int]:
    total = talk.prompt_tokens + talk.completion_tokens
    return {"prompt_tokens": talk.prompt_tokens, "completion_tokens": talk.completion_tokens, "total_tokens": total}


def _ms(microseconds: int) -> int:
    return -(-microseconds // 1000)
