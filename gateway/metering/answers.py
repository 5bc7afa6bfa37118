"""Reading what a node answered: is it an answer at all, and what units does it stand for."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from gateway import bounds
from gateway.call.idempotency import BINARY, JSON, Headers, StoredResponse
from gateway.errors import NodeFailed
from gateway.metering import inference_v2, media, openai, usage
from gateway.metering.ask import INFER, NO_OUTPUT_TOKENS, Ask
from gateway.metering.openai import StreamAccumulator
from gateway.metering.usage import Metered, Meters, NodeUnits, Usage
from gateway.upstream.http import Reply
from ledger.core.values.meters import Meter, by_meter, coarse

PASSED_ON = frozenset((400, 409, 413, 415, 422))
"""Statuses of a node that say the request is wrong: its error goes to the consumer, and nothing is charged."""
BUSY = frozenset((429, 503))


UNSEEN = (Meter.reasoning_token, Meter.output_audio_token)
"""Output that may come without text."""


class PassedOn(NodeFailed):
    """The node refused the request as such. If all do, its own error is the answer."""

    def __init__(self, path: str, reply: Reply, body: bytes) -> None:
        super().__init__(f"the node refused the request with status {reply.status}", "refused", status=reply.status)
        self.stored = StoredResponse(reply.status, JSON, refusal_of(path, reply.status, body))


async def whole(meters: Meters, ask: Ask, reply: Reply, body: bytes, took_ms: int) -> tuple[Metered, bytes]:
    """Units of a whole answer, and the answer as the consumer gets it: of the model that was asked for. Raises
    NodeFailed when it is none.
    """
    if ask.media is not None:
        return await media.whole(meters, ask, reply, body, took_ms)
    noted, shown = usage.node_units(reply.headers.get(b"tollway-usage")) or {}, body
    if ask.path == INFER:
        if not inference_v2.is_answer(body, reply.headers.get(b"inference-header-content-length")):
            raise NodeFailed("the node's answer is not an inference response", "nonsense")
        tokens = coarse(by_meter(noted))
        counted = _Tokens(min(tokens.input_token, len(ask.body)), min(tokens.output_token, len(body)), 0, False, noted)
    else:
        answer = openai.read_answer(ask.path, body)
        if answer is None:
            raise NodeFailed("the node's answer is not what an OpenAI server answers", "nonsense")
        if answer.model is not None and answer.model != ask.model:
            shown = openai.named(body, answer.model, ask.model)
        text = answer.text
        ours = await usage.count(meters.tokenizer, text, meters.most) if text and meters.tokenizer is not None else None
        counted = _tokens(meters, ask, answer.usage, _Delivered(ours, len(text.encode()), None), noted)
    return _metered(meters, ask, counted, noted, took_ms, len(shown)), shown


async def streamed(meters: Meters, ask: Ask, reply: Reply, stream: StreamAccumulator, took_ms: int) -> Metered:
    """Units of a stream, as far as it came: by the node's usage if that came too, else what was delivered."""
    noted = stream.units or usage.node_units(reply.headers.get(b"tollway-usage")) or {}
    text = stream.text
    ours = await usage.count(meters.tokenizer, text, meters.most) if text else None
    delivered = _Delivered(ours, stream.text_bytes, stream.tokens)
    counted = _tokens(meters, ask, stream.usage, delivered, noted)
    return _metered(meters, ask, counted, noted, took_ms, stream.size)


class _Delivered(NamedTuple):
    """What was generated: its tokens if we counted them, its bytes, and in how many pieces a stream brought it.

    Bytes of a protocol are nobody's tokens.
    """

    ours: int | None
    size: int
    pieces: int | None


class _Tokens(NamedTuple):
    """Input and output tokens to bill, how many of these came without text, whether the node claimed too many, and
    which of them are in finer meters.
    """

    inputs: int
    outputs: int
    unseen: int
    overclaimed: bool
    finer: Mapping[Meter, int]


def _tokens(meters: Meters, ask: Ask, reported: Usage | None, delivered: _Delivered, noted: NodeUnits) -> _Tokens:
    """The tokens of an answer. What nobody sees as text is billed only where the terms sell it by a meter of its own:
    it cannot be counted, so the consumer's limit is its only bound.
    """
    finer = {meter: count for meter, count in noted.items() if meter.coarse != meter}
    if reported is not None:
        finer |= reported.finer()
    ours = delivered.ours
    claimed_in = reported.inputs if reported is not None else None
    if claimed_in is None and reported is not None and ask.path in NO_OUTPUT_TOKENS:
        claimed_in = usage.number(reported.total_tokens)
    claimed_out = reported.outputs if reported is not None else None
    if claimed_in is None:
        claimed_in = usage.estimate(len(ask.body))
    inputs = max(0, min(claimed_in, len(ask.body)))
    if ask.path in NO_OUTPUT_TOKENS:
        return _Tokens(inputs, 0, 0, claimed_in > len(ask.body), finer)
    unseen = 0
    if claimed_out is None:
        estimate = max(delivered.pieces or 0, usage.estimate(delivered.size))
        outputs, over = ours if ours is not None else estimate, False
    else:
        claimed_out = max(0, claimed_out)
        sold = (finer.get(meter, 0) for meter in UNSEEN if meter in meters.asked)
        unseen = min(claimed_out, sum(sold))
        outputs, over = usage.agreed(claimed_out - unseen, ours, delivered.size)
        outputs += unseen
    return _Tokens(inputs, outputs, unseen, over, finer)


def _metered(meters: Meters, ask: Ask, tokens: _Tokens, noted: NodeUnits, took_ms: int, size: int) -> Metered:
    """All units of an answer of `size` bytes: tokens, time never above what we saw, and what a node noted."""
    counts = {Meter.call: 1, Meter.ms: took_ms, Meter.byte: len(ask.body) + size}
    if tokens.finer:
        counts |= usage.divide(tokens.inputs, Meter.input_token, tokens.finer)
        counts |= usage.divide(tokens.outputs, Meter.output_token, tokens.finer)
        counts[Meter.search] = tokens.finer.get(Meter.search, 0)
    else:
        counts[Meter.input_token], counts[Meter.output_token] = tokens.inputs, tokens.outputs
    if noted:
        counts |= {
            Meter.output_image: noted.get(Meter.output_image, 0),
            Meter.search: max(noted.get(Meter.search, 0), counts.get(Meter.search, 0)),
            Meter.input_character: min(noted.get(Meter.input_character, 0), len(ask.body)),
            Meter.ms: min(noted.get(Meter.ms, took_ms), took_ms),
            Meter.fuel: noted.get(Meter.fuel, 0),
        }
    if Meter.input_image in meters.asked:
        counts[Meter.input_image] = ask.images
    return Metered(by_meter(counts), tokens.outputs - tokens.unseen, tokens.overclaimed)


def content_headers(ask: Ask, reply: Reply) -> Headers:
    """What a whole answer is. Of the node's own head no byte is passed on but the kind of sound; where an answer may
    have tensors in binary, the length of the JSON before them was checked.
    """
    if ask.media is not None:
        return [(b"content-type", media.content_type(ask, reply))]
    said = reply.headers.get(b"inference-header-content-length", b"") if ask.path == INFER else b""
    length = bounds.number(said)
    return JSON if length is None else [*BINARY, (b"inference-header-content-length", b"%d" % length)]


def refusal_of(path: str, status: int, body: bytes) -> bytes:
    """A node's error in the shape of a path's protocol, OpenAI's or a text, without what is too long to be one."""
    try:
        answer = orjson.loads(body) if len(body) <= bounds.REFUSAL_BYTES else None
    except orjson.JSONDecodeError:
        answer = None
    said = answer.get("error") or answer.get("detail") if isinstance(answer, dict) else None
    if isinstance(said, str if path == INFER else dict):
        return body
    detail = said.get("message") if isinstance(said, dict) else said
    message = detail if isinstance(detail, str) else f"the node refused the request with status {status}"
    if path == INFER:
        return orjson.dumps({"error": message})
    error = {"message": message, "type": "invalid_request_error", "code": "node_refused", "param": None}
    return orjson.dumps({"error": error})


def check_status(path: str, reply: Reply, body: bytes) -> None:
    """Raise NodeFailed unless the node served: PassedOn when it refused the request as such."""
    status = reply.status
    if 200 <= status < 300:
        return
    if status in PASSED_ON:
        raise PassedOn(path, reply, body)
    if status in BUSY:
        wait = bounds.number(reply.headers.get(b"retry-after", b""))
        retry_after = wait if wait is not None else 1
        raise NodeFailed(f"the node answered {status}", "busy", retry_after=retry_after, status=status)
    kind = "refused" if 400 <= status < 500 else "error"
    raise NodeFailed(f"the node answered {status}", kind, status=status)
