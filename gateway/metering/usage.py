"""The units a call used: our own count where we can make one, else the node's claim, never more than was held.

A node that claims more tokens than were delivered is billed at our count, and `Metered.overclaimed` is true. A claim of
zero is billed as zero. Without a tokenizer, our bound is the size of the answer: a token has at least one byte.
"""

from pathlib import Path
from typing import Any

import msgspec

from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import Units

SLACK_TOKENS = 4
"""Begin and end marks that a node may count and we do not see."""
BYTES_PER_TOKEN = 4
"""The estimate when neither the node nor a tokenizer counted."""


class Usage(msgspec.Struct):
    """The `usage` object of an OpenAI answer. Embeddings have no completion tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Metered(msgspec.Struct, frozen=True):
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


def count(tokenizer: Any | None, text: str) -> int | None:
    """Our count of a text; None without a tokenizer."""
    return len(tokenizer.encode(text, add_special_tokens=False).ids) if tokenizer is not None else None


def estimate(size_bytes: int) -> int:
    """Tokens where nothing counted them: bytes / 4, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def node_units(header: bytes | None) -> NodeUnits | None:
    """Units from a node's header; None when it is absent, unreadable or negative."""
    if not header:
        return None
    try:
        units = _NODE_UNITS.decode(header)
    except msgspec.MsgspecError:
        return None
    return units if min(units.input_token, units.output_token, units.byte, units.fuel, units.ms or 0) >= 0 else None


def agreed(claimed: int, ours: int | None, most: int) -> tuple[int, bool]:
    """Tokens to bill, and whether the claim was above our count; without a count, above `most`, the bytes delivered."""
    if ours is None:
        return min(claimed, most), claimed > most
    if claimed > ours + SLACK_TOKENS:
        return ours, True
    return claimed, False


def capped(units: Units, most: Units) -> Units:
    """Units no higher than those the hold was made for."""
    return Units(*map(min, units, most))
