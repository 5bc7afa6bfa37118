"""The units a call used: our own count where we can make one, else the node's claim, never more than was held.

A node that claims more tokens than were delivered is billed at our count, and `Metered.overclaimed` is true. A claim of
zero is billed as zero. Without a tokenizer, our bound is the size of the answer: a token has at least one byte.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import sub
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import FINER, Meter, Units, coarse, in_finer_meters

COUNTED_HERE = 4_096
"""Characters that are counted on the event loop: some 2 ms."""
PIECE = 65_536
"""Characters that are counted at once in a thread: some 50 ms."""
_COUNTING = ThreadPoolExecutor(1, "tokens")
SLACK_TOKENS = 4
"""Begin and end marks that a node may count and we do not see."""
BYTES_PER_TOKEN = 4
"""The estimate when neither the node nor a tokenizer counted."""


class Usage(msgspec.Struct):
    """The `usage` object of an OpenAI answer, and what other upstreams add to it. Embeddings have no completion tokens.

    Upstreams write numbers in many ways: 10, 10.0, "10". What is none counts as not reported.
    """

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    server_tool_use: Any = None
    num_search_queries: Any = None

    @property
    def inputs(self) -> int | None:
        return number(self.prompt_tokens)

    @property
    def outputs(self) -> int | None:
        return number(self.completion_tokens)

    @property
    def is_zero(self) -> bool:
        """Whether it claims nothing: some servers write that beside every piece of a stream."""
        return not self.inputs and not self.outputs

    def finer(self) -> dict[Meter, int]:
        """The parts of the totals that are in finer meters, and searches, as OpenAI and Anthropic report them."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        cached, cache_written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        if not any((prompt, completion, cached, cache_written, self.server_tool_use, self.num_search_queries)):
            return {}
        found = {
            Meter.cached_input_token: _reported(prompt, "cached_tokens") or _whole(cached),
            Meter.cache_write_token: _reported(prompt, "cache_write_tokens") or _whole(cache_written),
            Meter.input_audio_token: _reported(prompt, "audio_tokens"),
            Meter.reasoning_token: _reported(completion, "reasoning_tokens"),
            Meter.output_audio_token: _reported(completion, "audio_tokens"),
            Meter.search: _reported(self.server_tool_use, "web_search_requests") or _whole(self.num_search_queries),
        }
        return {meter: count for meter, count in found.items() if count}


class Metered(msgspec.Struct, frozen=True):
    """Units to bill, before any limit; how many tokens of text are among them; whether the node had claimed more."""

    units: Units
    text_tokens: int
    overclaimed: bool


class Meters(NamedTuple):
    """How a candidate's answers are metered: its tokenizer, if there is one, the meters its terms ask for, and the most
    output tokens that are paid for.
    """

    tokenizer: Any | None
    asked: frozenset[int]
    most: int


NodeUnits = dict[Meter, int]
"""A node's `Tollway-Usage` header: units it measured, by meter."""

_NODE_UNITS = msgspec.json.Decoder(dict[str, int])


class Tokenizers:
    """The models' own tokenizers, from a folder of `<CID>.json` files the operator filled."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[Digest, Any] = {}

    def of(self, model: Digest) -> Any | None:
        if self._folder is None:
            return None
        if model not in self._known:
            from tokenizers import Tokenizer  # slow to import

            path = self._folder / f"{cid(model)}.json"
            self._known[model] = Tokenizer.from_file(str(path)) if path.is_file() else None
        return self._known[model]


def number(value: Any) -> int | None:
    """A number that an upstream reports, rounded down; None if it is none."""
    if type(value) is int:
        return value
    if type(value) is float:
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else None


async def count(tokenizer: Any, text: str, most: int) -> int:
    """Our count of a text's tokens. A long one is counted in pieces, where each cut may add a token, in a thread of its
    own: there texts take turns. What comes after a piece that passes `most`, which nobody pays for, is taken to be like
    what came before.
    """
    if len(text) <= COUNTED_HERE:
        return _tokens_in(tokenizer, text)
    loop, tokens = asyncio.get_running_loop(), 0
    for at in range(0, len(text), PIECE):
        found = await loop.run_in_executor(_COUNTING, _tokens_in, tokenizer, text[at : at + PIECE])
        tokens += found
        if tokens > most + SLACK_TOKENS and at + PIECE < len(text):
            return tokens * len(text) // (at + PIECE)
    return tokens


def _tokens_in(tokenizer: Any, text: str) -> int:
    """The tokens of a text. Of its methods only those of batches let other threads run meanwhile."""
    return len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


def estimate(size_bytes: int) -> int:
    """Tokens where nothing counted them: bytes / 4, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def node_units(header: bytes | None) -> NodeUnits | None:
    """Units from a node's header; None when it is absent or unreadable."""
    if not header:
        return None
    try:
        return named_units(_NODE_UNITS.decode(header))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def named_units(noted: Mapping[str, int]) -> NodeUnits | None:
    """A node's units by meter name; None when one is negative. Names that are no meter are left out."""
    found = {Meter[name]: count for name, count in noted.items() if name in Meter.__members__}
    return found if all(count >= 0 for count in found.values()) else None


def divide(total: int, into: Meter, parts: Mapping[Meter, int]) -> dict[Meter, int]:
    """A total of the coarse meter `into`, with its finer parts counted apart: never more than the total together."""
    divided: dict[Meter, int] = {}
    for finer, coarser in FINER:
        if coarser == into:
            divided[finer] = min(parts.get(finer, 0), total)
            total -= divided[finer]
    return divided | {into: total}


def agreed(claimed: int, ours: int | None, most: int) -> tuple[int, bool]:
    """Tokens to bill, and whether the claim was above our count; without a count, above `most`, the bytes delivered."""
    if ours is None:
        return min(claimed, most), claimed > most
    if claimed > ours + SLACK_TOKENS:
        return ours, True
    return claimed, False


def capped(units: Units, most: Units) -> Units:
    """Units no higher than those the hold was made for: finer meters share what their coarser one may hold."""
    left = coarse(most)
    if not any(in_finer_meters(units)):
        return Units(*map(min, units, left))
    kept = list(map(min, units, left))
    shares = list(map(sub, left, kept))
    for finer, coarser in FINER:
        kept[finer] = min(units[finer], shares[coarser])
        shares[coarser] -= kept[finer]
    return Units(*kept)


def _reported(details: Any, name: str) -> int:
    return _whole(details.get(name)) if isinstance(details, dict) else 0


def _whole(value: Any) -> int:
    return max(0, number(value) or 0)
