"""Drawing a workflow in a terminal: levels from top to bottom, steps that run in parallel side by side."""

from ledger.core.catalog.capsules import Capsule, Step
from ledger.core.catalog.templates import named
from ledger.core.values.ids import cid

WIDTH = 26


def draw(capsule: Capsule) -> list[str]:
    """Lines of text: a box for each step with what it reads, an arrow between levels."""
    lines = [f"{capsule.name}: {len(capsule.steps)} steps in {len(capsule.levels)} levels"]
    for number, level in enumerate(capsule.levels):
        boxes = [_box(capsule.steps[name]) for name in level]
        height = max(map(len, boxes))
        rows = [[*box, *[" " * WIDTH] * (height - len(box))] for box in boxes]
        lines += ["  ".join(parts).rstrip() for parts in zip(*rows, strict=True)]
        if number + 1 < len(capsule.levels):
            lines.append("  ".join("|".center(WIDTH) for _ in level).rstrip())
            lines.append("v".center(WIDTH * len(level) + 2 * (len(level) - 1)).rstrip())
    return lines


def _box(step: Step) -> list[str]:
    reads = sorted({path.step for path in named(step.input) if path.step})
    inside = [step.id, _kind(step), "reads " + ", ".join(reads) if reads else "reads the request"]
    if step.when is not None:
        inside.append("has a condition")
    if step.max_price is not None:
        inside.append(f"at most {step.max_price} atoms")
    if step.on_error.value != "fail":
        inside.append(f"on error: {step.fallback or step.on_error.value}")
    edge = "+" + "-" * (WIDTH - 2) + "+"
    return [edge, *(f"| {text[: WIDTH - 4]:<{WIDTH - 4}} |" for text in inside), edge]


def _kind(step: Step) -> str:
    if step.model:
        return f"model {cid(step.model)[-10:]}"
    if step.capsule:
        return f"capsule {cid(step.capsule)[-10:]}"
    if step.glue:
        return f"glue {step.glue}"
    return f"any {(step.capability or {}).get('task', 'model')}"
