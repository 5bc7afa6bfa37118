"""Drawing a workflow in a terminal: levels of nodes from top to bottom, what runs in parallel side by side."""

from __future__ import annotations

from ledger.core.catalog.capsules import Capsule, Node
from ledger.core.catalog.templates import named
from ledger.core.values.ids import cid

WIDTH = 26


def draw(woven: Capsule) -> list[str]:
    """Lines of text: a box a node, an arrow a level, and below each box what it reads."""
    lines = [f"{woven.name}: {len(woven.nodes)} nodes, {len(woven.steps)} steps"]
    for number, level in enumerate(woven.steps):
        boxes = [_box(woven.nodes[name]) for name in level]
        height = max(map(len, boxes))
        rows = [[*box, *[" " * WIDTH] * (height - len(box))] for box in boxes]
        lines += ["  ".join(parts).rstrip() for parts in zip(*rows, strict=True)]
        if number + 1 < len(woven.steps):
            lines.append("  ".join("|".center(WIDTH) for _ in level).rstrip())
            lines.append("v".center(WIDTH * len(level) + 2 * (len(level) - 1)).rstrip())
    return lines


def _box(node: Node) -> list[str]:
    inside = [node.id, _what(node)]
    reads = sorted({path.node for path in named(node.input) if path.node})
    inside.append("reads " + ", ".join(reads) if reads else "reads the request")
    if node.when is not None:
        inside.append("only when it holds")
    if node.max_price is not None:
        inside.append(f"at most {node.max_price} atoms")
    if node.on_error.value != "fail":
        inside.append(f"on error: {node.fallback or node.on_error.value}")
    edge = "+" + "-" * (WIDTH - 2) + "+"
    return [edge, *(f"| {text[: WIDTH - 4]:<{WIDTH - 4}} |" for text in inside), edge]


def _what(node: Node) -> str:
    if node.model:
        return f"model {cid(node.model)[-10:]}"
    if node.capsule:
        return f"capsule {cid(node.capsule)[-10:]}"
    if node.glue:
        return f"glue {node.glue}"
    return f"any {(node.capability or {}).get('task', 'model')}"
