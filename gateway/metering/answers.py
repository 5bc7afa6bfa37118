"""Reading what a node answered: is it an answer at all, and what units does it stand for."""

from typing import Any

import orjson

from gateway.call.idempotency import JSON, StoredResponse
from gateway.errors import NodeFailed
from gateway.metering import inference_v2, openai, usage
from gateway.metering.ask import EMBEDDINGS, INFER, Ask
from gateway.metering.openai import StreamAccumulator
from gateway.metering.usage import Metered, NodeUnits, Usage
from gateway.upstream.http import Reply
from ledger.core.values.meters import Units

PASSED_ON = frozenset((400, 409, 413, 415, 422))
"""Statuses of a node that say the request is wrong: its error goes to the consumer, and nothing is charged."""


class PassedOn(Exception):
    """The node refused the request as such. Its own error is the answer."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        super().__init__(reply.status)
        self.stored = StoredResponse(reply.status, JSON, openai_error(reply.status, body))


def whole(tokenizer: Any | None, ask: Ask, reply: Reply, body: bytes, took_ms: int) -> Metered:
    """Units of a whole answer. Raises NodeFailed when it is not one."""
    noted = usage.node_units(reply.headers.get(b"tollway-usage"))
    if ask.path == INFER:
        if not inference_v2.is_answer(body, reply.headers.get(b"inference-header-content-length")):
            raise NodeFailed("the node's answer is not an inference response", "nonsense")
        claimed = noted or NodeUnits()
        inputs, outputs, over = min(claimed.input_token, len(ask.body)), min(claimed.output_token, len(body)), False
    else:
        answer = openai.read_answer(ask.path, body)
        if answer is None:
            raise NodeFailed("the node's answer is not what an OpenAI server answers", "nonsense")
        inputs, outputs, over = tokens(tokenizer, ask, answer.usage, answer.text, None, len(body))
    ms, fuel = _measured(noted, took_ms)
    size = len(ask.body) + len(body)
    return Metered(Units(call=1, input_token=inputs, output_token=outputs, ms=ms, byte=size, fuel=fuel), over)


def streamed(tokenizer: Any | None, ask: Ask, reply: Reply, stream: StreamAccumulator, took_ms: int) -> Metered:
    """Units of a stream, as far as it came: by the node's usage if that came too, else what was delivered."""
    inputs, outputs, over = tokens(tokenizer, ask, stream.usage, stream.text, stream.tokens, stream.size)
    ms, fuel = _measured(stream.units or usage.node_units(reply.headers.get(b"tollway-usage")), took_ms)
    size = len(ask.body) + stream.size
    return Metered(Units(call=1, input_token=inputs, output_token=outputs, ms=ms, byte=size, fuel=fuel), over)


def tokens(
    tokenizer: Any | None, ask: Ask, reported: Usage | None, text: str, events: int | None, size: int
) -> tuple[int, int, bool]:
    """Input and output tokens to bill, and whether the node claimed too many.

    `events` is the least number of tokens a stream carried; `size` the bytes the answer came in.
    """
    ours = usage.count(tokenizer, text) if text else None
    claimed_in = reported.prompt_tokens if reported is not None else None
    claimed_out = reported.completion_tokens if reported is not None else None
    if claimed_in is None:
        claimed_in = usage.estimate(len(ask.body))
    if ask.path == EMBEDDINGS:
        return max(0, min(claimed_in, len(ask.body))), 0, claimed_in > len(ask.body)
    if claimed_out is None:
        known = ours if ours is not None else events
        outputs, over = known if known is not None else usage.estimate(len(text.encode())), False
    else:
        outputs, over = usage.agreed(max(0, claimed_out), ours, size)
    return max(0, min(claimed_in, len(ask.body))), outputs, over


def _measured(noted: NodeUnits | None, took_ms: int) -> tuple[int, int]:
    """Milliseconds, never more than we saw, and fuel, as a node noted them."""
    if noted is None:
        return took_ms, 0
    return took_ms if noted.ms is None else max(0, min(noted.ms, took_ms)), max(0, noted.fuel)


def openai_error(status: int, body: bytes) -> bytes:
    """A node's error in OpenAI's shape."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return body
    detail = answer.get("error") or answer.get("detail") if isinstance(answer, dict) else None
    message = detail if isinstance(detail, str) else f"the node refused the request with status {status}"
    error = {"message": message, "type": "invalid_request_error", "code": "node_refused", "param": None}
    return orjson.dumps({"error": error})


def check_status(reply: Reply, body: bytes) -> None:
    """Raise NodeFailed unless the node served, or PassedOn when it refused the request as such."""
    status = reply.status
    if 200 <= status < 300:
        return
    if status in PASSED_ON:
        raise PassedOn(reply, body)
    kind = "busy" if status in (429, 503) else "refused" if status in (401, 403, 404) else "error"
    raise NodeFailed(f"the node answered {status}", kind, status=status)
