"""Reading what a node answered: is it an answer at all, and what units does it stand for.

What a call used: our own count where we can make one, the node's claim otherwise, never more than was held.

A node that claims more tokens than were delivered is billed at our count, and `Metered.overclaimed` says so. A claim of
zero is a value, not a gap. Without a tokenizer our count is exact about what cannot be: a token has at least one byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from gateway.call.idempotency import Kept
from gateway.metering import protocols
from gateway.metering.protocols import EMBEDDINGS, INFER, Ask
from gateway.upstream.http import NodeFailed, Reply
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import Units

PASSED_ON = frozenset((400, 409, 413, 415, 422))
"""Statuses of a node that are the consumer's to mend: its error is handed on, and nothing is charged."""


class PassedOn(Exception):
    """The node refused the request as such. Its own error is the answer."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        super().__init__(reply.status)
        told = openai_error(reply.status, body)
        self.kept = Kept(reply.status, [(b"content-type", b"application/json")], told)


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


SLACK_TOKENS = 4
"""Begin and end marks a node may count and we do not see."""
BYTES_PER_TOKEN = 4
"""What a token is taken to be when neither node nor tokenizer says."""


class Usage(msgspec.Struct):
    """The `usage` object of an OpenAI answer. Completions and embeddings have parts of it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Metered(NamedTuple):
    """Units to bill, and whether the node had claimed more."""

    units: Units
    overclaimed: bool


class NodeUnits(msgspec.Struct):
    """A node's `Tollway-Usage` header: units it measured."""

    call: int = 1
    input_token: int = 0
    output_token: int = 0
    ms: int | None = None
    byte: int = 0
    fuel: int = 0


_NODE_UNITS = msgspec.json.Decoder(NodeUnits)


class Tokenizers:
    """Counts text with a model's own tokenizer, where the operator put one (`<CID>.json`) into a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[Digest, Any] = {}

    def of(self, model: Digest) -> Any | None:
        """The model's tokenizer, or None."""
        if self._folder is None:
            return None
        if model not in self._known:
            path = self._folder / f"{cid(model)}.json"
            self._known[model] = _load(path) if path.is_file() else None
        return self._known[model]


def _load(path: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def count(tokenizer: Any | None, text: str) -> int | None:
    """Our count of a text; None without a tokenizer."""
    return len(tokenizer.encode(text, add_special_tokens=False).ids) if tokenizer is not None else None


def estimate(size_bytes: int) -> int:
    """Tokens when nobody counted: bytes / 4, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def node_units(header: bytes | None) -> NodeUnits | None:
    """Units from a node's header; None when absent or nonsense."""
    if not header:
        return None
    try:
        found = _NODE_UNITS.decode(header)
    except msgspec.MsgspecError:
        return None
    return found if min(found.input_token, found.output_token, found.byte, found.fuel, found.ms or 0) >= 0 else None


def agreed(claimed: int, ours: int | None, most: int) -> tuple[int, bool]:
    """Tokens to bill, and whether the claim was above our count. `most` is what the delivered bytes allow."""
    if ours is None:
        return min(claimed, most), claimed > most
    if claimed > ours + SLACK_TOKENS:
        return ours, True
    return claimed, False


def capped(units: Units, most: Units) -> Units:
    """Units no higher than those the hold was made for."""
    a, b, c, d, e, f = map(min, units, most)
    return Units(a, b, c, d, e, f)
