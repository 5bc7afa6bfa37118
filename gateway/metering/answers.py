"""Reading what a node answered: is it an answer at all, and what units does it stand for."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.call.idempotency import StoredResponse
from gateway.errors import NodeFailed
from gateway.metering import protocols
from gateway.metering.protocols import EMBEDDINGS, INFER, Ask
from gateway.metering.usage import Metered, Usage, agreed, count, estimate, node_units
from gateway.upstream.http import Reply
from ledger.core.values.meters import Units

PASSED_ON = frozenset((400, 409, 413, 415, 422))
"""Statuses of a node that are the consumer's to mend: its error is handed on, and nothing is charged."""


class PassedOn(Exception):
    """The node refused the request as such. Its own error is the answer."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        super().__init__(reply.status)
        error = openai_error(reply.status, body)
        self.stored = StoredResponse(reply.status, [(b"content-type", b"application/json")], error)


def whole(tokenizer: Any | None, ask: Ask, reply: Reply, body: bytes, took: int) -> Metered:
    """Units of a whole answer. Raises NodeFailed when it is not one."""
    noted = node_units(reply.headers.get(b"tollway-usage"))
    ms = took if noted is None or noted.ms is None else min(noted.ms, took)
    size = len(ask.body) + len(body)
    fuel = noted.fuel if noted is not None else 0
    if ask.path == INFER:
        if not protocols.inference(body, reply.headers.get(b"inference-header-content-length")):
            raise NodeFailed("the node's answer is not an inference response", "nonsense")
        claimed = (noted.input_token, noted.output_token) if noted is not None else (0, 0)
        return Metered(Units(1, min(claimed[0], len(ask.body)), min(claimed[1], len(body)), ms, size, fuel), False)
    answer = protocols.answer(ask.path, body)
    if answer is None:
        raise NodeFailed("the node's answer is not what an OpenAI server answers", "nonsense")
    inputs, outputs, over = tokens(tokenizer, ask, answer.usage, answer.text, None, len(body))
    return Metered(Units(1, inputs, outputs, ms, size, fuel), over)


def tokens(
    tokenizer: Any | None, ask: Ask, usage: Usage | None, text: str, events: int | None, size: int
) -> tuple[int, int, bool]:
    """Input and output tokens to bill, and whether the node claimed too many.

    `events` is the least number of tokens a stream carried; `size` the bytes it came in.
    """
    ours = count(tokenizer, text) if text else None
    claimed_in = usage.prompt_tokens if usage is not None else None
    claimed_out = usage.completion_tokens if usage is not None else None
    if claimed_in is None:
        claimed_in = estimate(len(ask.body))
    if ask.path == EMBEDDINGS:
        return max(0, min(claimed_in, len(ask.body))), 0, claimed_in > len(ask.body)
    if claimed_out is None:
        known = ours if ours is not None else events
        outputs, over = known if known is not None else estimate(len(text.encode())), False
    else:
        outputs, over = agreed(max(0, claimed_out), ours, size)
    return max(0, min(claimed_in, len(ask.body))), outputs, over


def openai_error(status: int, body: bytes) -> bytes:
    """A node's error in OpenAI's shape."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        return body
    detail = found.get("error") or found.get("detail") if isinstance(found, dict) else None
    message = detail if isinstance(detail, str) else f"the node refused the request with status {status}"
    error = {"message": message, "type": "invalid_request_error", "code": "node_refused", "param": None}
    return orjson.dumps({"error": error})


def check_status(reply: Reply, body: bytes) -> None:
    """Raise unless the node served."""
    status = reply.status
    if 200 <= status < 300:
        return
    if status in PASSED_ON:
        raise PassedOn(reply, body)
    kind = "busy" if status in (429, 503) else "refused" if status in (401, 403, 404) else "error"
    raise NodeFailed(f"the node answered {status}", kind, status=status)
