"""Drawing in a terminal: a workflow, levels from top to bottom, steps that run in parallel side by side; and amounts as
columns.
"""

import textwrap
from collections.abc import Mapping, Sequence

from ledger.core.catalog.capsules import Capsule, Step
from ledger.core.catalog.templates import named
from ledger.core.values.ids import Digest, cid
from roles.cli import amounts

WIDTH, ABREAST = 25, 3
"""Columns of a box, and boxes in a row: as many as fit 80 columns."""


HEIGHT = 8
"""Rows of a plot."""
MARKS = " ▁▂▃▄▅▆▇█"
"""Parts of a row, from none to all of it."""


def columns(amounts_by_name: Sequence[tuple[str, int]], width: int) -> list[str]:
    """Lines of text: a column of three characters for each amount, the newest at the right, as many as fit a width.
    Nothing for no amounts.
    """
    most = max((amount for _, amount in amounts_by_name), default=0)
    if not most:
        return []
    axis = [amounts.format(most), amounts.format(most // 2), amounts.format(0)]
    room = max(map(len, axis))
    shown = amounts_by_name[-max(1, (min(width, 120) - room - 3) // 4) :]
    eighths = [-(-amount * HEIGHT * 8 // most) for _, amount in shown]
    lines = []
    for row in reversed(range(HEIGHT)):
        said = {HEIGHT - 1: axis[0], HEIGHT // 2 - 1: axis[1]}.get(row, "")
        parts = (MARKS[min(8, max(0, one - 8 * row))] * 3 for one in eighths)
        lines.append(f"{said:>{room}} | {' '.join(parts)}".rstrip())
    lines.append(f"{axis[2]:>{room}} +{'-' * (4 * len(shown))}")
    lines.append(f"{'':>{room}}   {shown[0][0]} to {shown[-1][0]} UTC, by epoch")
    return lines


def draw(capsule: Capsule, names: Mapping[str, str]) -> list[str]:
    """Lines of text: a box for each step with what it reads, an arrow between levels. `names` are of models, by id."""
    lines = [f"{capsule.name}: {len(capsule.steps)} steps in {len(capsule.levels)} levels"]
    for number, level in enumerate(capsule.levels):
        for row in _rows([_box(capsule.steps[name], names) for name in level]):
            lines += row
        if number + 1 < len(capsule.levels):
            abreast = min(len(level), ABREAST)
            lines.append("  ".join("|".center(WIDTH) for _ in range(abreast)).rstrip())
            lines.append("v".center(WIDTH * abreast + 2 * (abreast - 1)).rstrip())
    return lines


def _rows(boxes: list[list[str]]) -> list[list[str]]:
    """Boxes side by side, in rows that fit."""
    rows = []
    for at in range(0, len(boxes), ABREAST):
        beside = boxes[at : at + ABREAST]
        height = max(map(len, beside))
        filled = [[*box, *[" " * WIDTH] * (height - len(box))] for box in beside]
        rows.append(["  ".join(parts).rstrip() for parts in zip(*filled, strict=True)])
    return rows


def _box(step: Step, names: Mapping[str, str]) -> list[str]:
    reads = sorted({path.step for path in named(step.input) if path.step})
    inside = [step.id, _kind(step, names), "reads " + ", ".join(reads) if reads else "reads the request"]
    if step.when is not None:
        inside.append(f"when {step.when.text}")
    if step.max_price is not None:
        inside.append(f"at most {amounts.format(step.max_price)}")
    if step.on_error.value != "fail":
        inside.append(f"on error: {step.fallback or step.on_error.value}")
    edge = "+" + "-" * (WIDTH - 2) + "+"
    lines = [line for text in inside for line in textwrap.wrap(text, WIDTH - 4, subsequent_indent="  ")]
    return [edge, *(f"| {line:<{WIDTH - 4}} |" for line in lines), edge]


def _kind(step: Step, names: Mapping[str, str]) -> str:
    if step.model:
        return _name(step.model, names)
    if step.capsule:
        return f"workflow {_name(step.capsule, names)}"
    if step.glue:
        return f"glue {step.glue}"
    return f"any {(step.capability or {}).get('task', 'model')}"


def _name(id: Digest, names: Mapping[str, str]) -> str:
    return names.get(cid(id), cid(id))
