"""The references of settings, of meters and of the bounds on strangers, from their tables in the code."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from docs.book.markdown import code, page, table
from gateway import bounds
from gateway.settings import Settings as GatewaySettings
from ledger.core.values.meters import METERS, Meter
from ledger.settings import Settings as LedgerSettings

MEANINGS = {
    Meter.call: "a call, whatever it reads and writes",
    Meter.input_token: "tokens of the prompt",
    Meter.cached_input_token: "tokens of the prompt that the server had in its cache",
    Meter.cache_write_token: "tokens of the prompt that were written into a cache",
    Meter.output_token: "tokens of the answer",
    Meter.reasoning_token: "tokens of the answer that the model thought and did not show",
    Meter.input_audio_token: "tokens of sound in the prompt",
    Meter.output_audio_token: "tokens of sound in the answer",
    Meter.input_image: "images in the prompt",
    Meter.output_image: "images in the answer",
    Meter.search: "searches that the server made for the answer",
    Meter.input_character: "characters of the prompt",
    Meter.ms: "milliseconds that serving took; of a transcription, the recording's length",
    Meter.byte: "bytes of the answer, as the consumer gets them",
    Meter.fuel: "instructions of WebAssembly between the steps of a workflow",
}


def pages() -> dict[str, str]:
    """The three pages."""
    return {
        "reference/settings.md": page(
            "Settings",
            "A process reads its settings once, when it starts, from variables of its environment. A variable that is"
            " empty counts as not set. No key, password or database has a default.",
            "`deploy/env.example` is a file to start from; [the runbook](../runbook.md) says how to change a key.",
            "## The gateway",
            _settings(GatewaySettings),
            "## The ledger: workers, periodic jobs, migrations",
            _settings(LedgerSettings),
            "The command line has [variables of its own](cli.md#variables).",
        ),
        "reference/meters.md": page(
            "Meters and units",
            "A meter is a unit in which use is counted. A bid asks atoms for a number of units: its scale. So an ask of"
            " `output_token=4000000` is four million atoms for a million tokens, which is four atoms a token.",
            "A unit is counted in one meter only: a cached token is not an input token as well. A line without an ask"
            " for a finer meter counts its units in the coarser one, so that no use is free by omission. An ask of 0 is"
            " an ask: it makes the units free.",
            table(
                ("meter", "counts", "an ask buys", "without an ask counts as"),
                ((code(m.name), MEANINGS[m], f"{m.scale:,}", _coarse(m)) for m in METERS),
            ),
            "[What a price can say](../meters.md) shows which prices of well known models these meters express.",
        ),
        "reference/bounds.md": page(
            "Bounds",
            "Everything that a stranger sends, opens or makes the gateway do has a bound. This is the whole table, from"
            " `gateway/bounds.py`. A stranger is a client before its call is admitted, and a node always."
            " `tests/attacks/test_bounds.py` has a test for each row.",
            table(("bound", "value", "why"), _bounds(bounds)),
        ),
    }


def _settings(model: type[BaseModel]) -> str:
    prefix = str(model.model_config.get("env_prefix", ""))
    return table(
        ("variable", "what it says", "unless set"),
        (
            (code(f"{prefix}{name.upper()}"), field.description, _default(field))
            for name, field in model.model_fields.items()
        ),
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    if default in (None, "") or isinstance(default, SecretStr):
        return ""
    return code(f"0x{default.hex()}" if isinstance(default, bytes) else default)


def _coarse(meter: Meter) -> str:
    return "" if meter.coarse == meter else code(METERS[meter.coarse].name)


def _bounds(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Each constant with its value and the text below it; a text stands for the constants above it, too."""
    waiting: list[tuple[str, str]] = []
    rows: list[tuple[str, str, str]] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
            waiting.append((node.target.id, _value(getattr(module, node.target.id))))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and waiting:
            rows += [(code(name), value, str(node.value.value)) for name, value in waiting]
            waiting = []
        elif waiting:
            rows += [(code(name), value, "") for name, value in waiting]
            waiting = []
    yield from rows


def _value(value: object) -> str:
    if isinstance(value, int) and value >= 2**10 and value % 2**10 == 0:
        return f"{value // 2**20:,} MiB" if value % 2**20 == 0 else f"{value // 2**10:,} KiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:g} s" if isinstance(value, float) else str(value)
