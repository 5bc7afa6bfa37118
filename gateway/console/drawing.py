"""Layouts of drawings, in whole pixels and the same for the same values: flows of atoms, and graphs in levels.

Templates write them as SVG, in which text stays text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 960
"""Of a drawing of flows."""
HEIGHT: Final = 420
BLOCK: Final = 14
"""The width of a flow's block."""
GAP: Final = 10
"""Between two blocks of a column, at most."""
TITLES: Final = 22
"""Above the columns, for their titles."""
LINE: Final = 18
"""From the middle of a block's label to the next one's, at least."""
LABELS: Final = 190
"""Room for the labels at the right of the last column."""
BOX_WIDTH: Final = 200
BOX_HEIGHT: Final = 46
BOX_GAP: Final = 18
LEVEL_GAP: Final = 64
MARGIN: Final = 12


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle with its label: a party to flows, or a box of a graph."""

    x: int
    y: int
    width: int
    height: int
    key: str


@dataclass(frozen=True, slots=True)
class Band:
    """A flow from one block to another, or an arrow, as an SVG path."""

    source: str
    target: str
    amount: int
    path: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Blocks and the bands between them, within (0, 0) to (width, height)."""

    width: int
    height: int
    blocks: tuple[Block, ...]
    bands: tuple[Band, ...]


Flow = tuple[str, str, int]
"""From, to, how much. Both are keys of blocks."""


def sankey(columns: Sequence[Sequence[str]], flows: Iterable[Flow]) -> Drawing:
    """Flows between the blocks of neighbouring columns, whose order is kept. A block is as high as what goes through
    it, but at least a pixel.
    """
    wanted = [flow for flow in flows if flow[2] > 0]
    through = {key: _through(key, wanted) for column in columns for key in column}
    height = HEIGHT - TITLES
    most = max((sum(through[key] for key in column) for column in columns), default=0) or 1
    crowded = max((len(column) for column in columns), default=1)
    gap = min(GAP, height // (2 * max(crowded, 1)))
    room = height - gap * max(crowded - 1, 0) - crowded
    step = (WIDTH - LABELS - BLOCK) // max(len(columns) - 1, 1)
    placed: dict[str, Block] = {}
    for place, column in enumerate(columns):
        y, middle = TITLES, TITLES - LINE
        for key in column:
            tall = max(1, through[key] * room // most)
            y = max(y, middle + LINE - tall // 2)
            placed[key] = Block(place * step, y, BLOCK, tall, key)
            y, middle = y + tall + gap, y + tall // 2
    left = {key: block.y for key, block in placed.items()}
    right = dict(left)
    bands = []
    for source, target, amount in wanted:
        tall = max(1, amount * room // most)
        begin, end = placed[source], placed[target]
        bands.append(Band(source, target, amount, _ribbon(begin.x + BLOCK, right[source], end.x, left[target], tall)))
        right[source] += tall
        left[target] += tall
    bottom = max((block.y + block.height for block in placed.values()), default=0)
    return Drawing(WIDTH, max(bottom, HEIGHT // 4) + MARGIN, tuple(placed.values()), tuple(bands))


def _through(key: str, flows: Sequence[Flow]) -> int:
    """What goes through a block: in or out of it, whichever is more."""
    out = sum(amount for source, _, amount in flows if source == key)
    return max(out, sum(amount for _, target, amount in flows if target == key))


def _ribbon(x: int, y: int, to_x: int, to_y: int, tall: int) -> str:
    middle = (x + to_x) // 2
    there = f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"
    return f"{there}v{tall}C{middle} {to_y + tall} {middle} {y + tall} {x} {y + tall}Z"


def graph(levels: Sequence[Sequence[str]], arrows: Iterable[tuple[str, str]]) -> Drawing:
    """Boxes in levels from left to right, the boxes of a level below each other and all levels centred."""
    tallest = max((len(level) for level in levels), default=0)
    height = 2 * MARGIN + max(tallest, 1) * (BOX_HEIGHT + BOX_GAP) - BOX_GAP
    placed: dict[str, Block] = {}
    for place, level in enumerate(levels):
        own = len(level) * (BOX_HEIGHT + BOX_GAP) - BOX_GAP
        y = (height - own) // 2
        for key in level:
            placed[key] = Block(MARGIN + place * (BOX_WIDTH + LEVEL_GAP), y, BOX_WIDTH, BOX_HEIGHT, key)
            y += BOX_HEIGHT + BOX_GAP
    width = 2 * MARGIN + max(len(levels), 1) * (BOX_WIDTH + LEVEL_GAP) - LEVEL_GAP
    bands = [Band(source, target, 0, _arrow(placed[source], placed[target])) for source, target in arrows]
    return Drawing(width, height, tuple(placed.values()), tuple(bands))


def _arrow(source: Block, target: Block) -> str:
    """From the right side of a box to the left side of another; within a level down or up its right side."""
    x, y, to_y = source.x + BOX_WIDTH, source.y + BOX_HEIGHT // 2, target.y + BOX_HEIGHT // 2
    if source.x == target.x:
        out = x + LEVEL_GAP // 2
        return f"M{x} {y}C{out} {y} {out} {to_y} {x} {to_y}"
    to_x = target.x
    middle = (x + to_x) // 2
    return f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"


def levels_by(keys: Iterable[str], before: Callable[[str], Iterable[str]]) -> list[list[str]]:
    """Keys in levels: each a level after the last of those `before` it. A circle is cut where it is met."""
    depth: dict[str, int] = {}

    def of(key: str, path: frozenset[str]) -> int:
        if key not in depth:
            earlier = [one for one in before(key) if one not in path]
            depth[key] = 1 + max((of(one, path | {key}) for one in earlier), default=-1)
        return depth[key]

    wanted = list(keys)
    for key in wanted:
        of(key, frozenset({key}))
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key in wanted:
        found[depth[key]].append(key)
    return [level for level in found if level]


def largest(amounts: Mapping[str, int], most: int, others: str) -> dict[str, str]:
    """Each key, or `others` for all but the `most` with the largest amounts."""
    ranked = sorted(amounts, key=lambda key: (-amounts[key], key))
    return {key: key if place < most else others for place, key in enumerate(ranked)}
