"""Writes `prices.json`: what well known models ask, as bids, and what calls of them cost, to the atom.

    python tests/vectors/prices.py model_prices_and_context_window_backup.json     (a file of litellm's PyPI wheel)

Independent of the product: plain integers, its own table of meters, the price found from 0 upward in steps.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

ATOMS_PER_DOLLAR = 10**9
PPM = 10**6
TARGET = Path(__file__).with_name("prices.json")

SCALE = {
    "call": 1, "input_token": 10**6, "cached_input_token": 10**6, "cache_write_token": 10**6, "output_token": 10**6,
    "reasoning_token": 10**6, "input_audio_token": 10**6, "output_audio_token": 10**6, "input_image": 1,
    "output_image": 1, "search": 1, "input_character": 10**6, "ms": 10**3, "byte": 10**9, "fuel": 10**6,
}  # fmt: skip
COARSER = {
    "cached_input_token": "input_token",
    "cache_write_token": "input_token",
    "input_audio_token": "input_token",
    "reasoning_token": "output_token",
    "output_audio_token": "output_token",
}
FIELDS = {
    "input_token": "input_cost_per_token",
    "cached_input_token": "cache_read_input_token_cost",
    "cache_write_token": "cache_creation_input_token_cost",
    "output_token": "output_cost_per_token",
    "reasoning_token": "output_cost_per_reasoning_token",
    "input_audio_token": "input_cost_per_audio_token",
    "output_audio_token": "output_cost_per_audio_token",
    "input_image": "input_cost_per_image",
    "output_image": "output_cost_per_image",
    "input_character": "input_cost_per_character",
}
"""The file's name for the dollars that one unit of a meter costs."""
MODELS = [
    "gpt-5.5", "gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "o3", "gpt-audio", "claude-opus-4-6",
    "claude-sonnet-4-6", "claude-haiku-4-5", "gemini/gemini-2.5-pro", "gemini/gemini-2.5-flash",
    "gemini/gemini-2.5-flash-image", "deepseek/deepseek-chat", "deepseek/deepseek-reasoner",
    "mistral/mistral-large-latest", "perplexity/sonar-deep-research", "text-embedding-3-small", "tts-1", "whisper-1",
]  # fmt: skip
VARIANTS = {
    "gpt-5.5": {"long": "_above_272k_tokens", "batch": "_batches", "priority": "_priority"},
    "gemini/gemini-2.5-pro": {"long": "_above_200k_tokens"},
    "claude-sonnet-4-6": {"hour": "_above_1hr"},
}
"""Prices that step with a call's length, a longer cache, batch or priority: a model of its own, `name:variant`."""
CALLS = [
    {"call": 1, "input_token": 1, "output_token": 1},
    {"call": 1, "input_token": 1_234, "output_token": 567},
    {"call": 1, "input_token": 803, "cached_input_token": 98_304, "output_token": 1_021, "reasoning_token": 4_099},
    {"call": 1, "input_token": 17, "cache_write_token": 20_483, "output_token": 333, "search": 3},
    {"call": 1, "input_token": 29, "input_audio_token": 7_919, "output_token": 11, "output_audio_token": 5_003},
    {"call": 1, "input_image": 2, "output_image": 1, "input_token": 301, "output_token": 1_291},
    {"call": 1, "input_character": 4_999, "ms": 61_337, "byte": 1_048_577},
]
SHARES_PPM = (100_000, 10_000, 20_000)
"""A maker's, a gateway's and the protocol's ratios, for the price with shares."""


def asks(row: dict[str, Any], suffix: str = "") -> dict[str, int]:
    """Atoms per scale of each meter that the file has a price for."""
    found = {}
    for meter, field in FIELDS.items():
        dollars = row.get(field + suffix, row.get(field))
        if dollars is not None:
            found[meter] = _whole(dollars * SCALE[meter] * ATOMS_PER_DOLLAR)
    searches = row.get("search_context_cost_per_query")
    if searches is not None:
        found["search"] = _whole(searches["search_context_size_medium"] * ATOMS_PER_DOLLAR)
    if "input_cost_per_second" in row:
        found["ms"] = _whole(row["input_cost_per_second"] * ATOMS_PER_DOLLAR)
    return {meter: found[meter] for meter in SCALE if meter in found}


def fixed(ask: dict[str, int], units: dict[str, int]) -> int:
    """What one line asks: summed in billionths of an atom, rounded up once."""
    billionths = 0
    for meter, count in units.items():
        pays = meter if meter in ask else COARSER.get(meter, meter)
        billionths += ask.get(pays, 0) * count * (10**9 // SCALE[pays])
    return -(-billionths // 10**9)


def least_price(asked: int) -> int:
    """The least price that pays `asked` and every share of itself, each rounded up: climbing from below."""
    price = asked
    while True:
        due = asked + sum(-(-ratio * price // PPM) for ratio in SHARES_PPM)
        if due <= price:
            return price
        price = due


def main(source: Path) -> None:
    """Write the file."""
    table = json.loads(source.read_text("utf-8"), parse_float=Decimal)
    models = []
    for name in MODELS:
        for variant, suffix in {"": "", **VARIANTS.get(name, {})}.items():
            ask = asks(table[name], suffix)
            calls = [
                {"units": units, "fixed": str(fixed(ask, units)), "price": str(least_price(fixed(ask, units)))}
                for units in CALLS
            ]
            quoted = {meter: str(atoms) for meter, atoms in ask.items()}
            models.append({"name": f"{name}:{variant}" if variant else name, "ask": quoted, "calls": calls})
    found = {
        "note": "prices of well known models as bids of one provider; one dollar is an AIC. Made by prices.py.",
        "source": "litellm 1.110.2, model_prices_and_context_window_backup.json",
        "shares_ppm": list(SHARES_PPM),
        "models": models,
    }
    TARGET.write_text(json.dumps(found, indent=1) + "\n")


def _whole(atoms: Decimal | int) -> int:
    if atoms != int(atoms):
        raise ValueError(f"{atoms} is no whole number of atoms")
    return int(atoms)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
