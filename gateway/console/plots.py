"""Plots of atoms, laid out in whole pixels: stacked columns, and lines over changes. Templates write them as SVG, with
the same numbers in a table beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 110
"""Room for amounts at the left."""
BOTTOM: Final = 26
TOP: Final = 14
RIGHT: Final = 16
TICKS: Final = 4
LABELS: Final = 6
"""Names below a plot, at most: more would lie upon each other."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a column: its class, and what it is of."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, as an SVG list of them."""

    kind: str
    points: str
    dots: tuple[tuple[int, int, int], ...]
    """x, y and amount of each point."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn within (0, 0) to (width, height). `ticks` are heights and amounts, `names` places and texts."""

    ticks: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, str], ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def columns(stacks: Sequence[tuple[str, Mapping[str, int]]]) -> Plot:
    """A column for each name, from left to right; its parts are stacked in their order, by class."""
    top = round_up(max((sum(parts.values()) for _, parts in stacks), default=0))
    step = (WIDTH - LEFT - RIGHT) // max(len(stacks), 1)
    wide = max(2, min(48, step * 3 // 4))
    bars = []
    for place, (name, parts) in enumerate(stacks):
        x = LEFT + place * step + (step - wide) // 2
        ends = [0, *accumulate(parts.values())]
        for (kind, amount), start, end in zip(parts.items(), ends, ends[1:], strict=False):
            if amount:
                y = _y(end, top)
                bars.append(Bar(x, y, wide, max(1, _y(start, top) - y), kind, name, amount))
    middles = [(LEFT + place * step + step // 2, name) for place, (name, _) in enumerate(stacks)]
    return Plot(_ticks(top), _spread(middles), bars=tuple(bars))


def lines(names: Sequence[str], series: Mapping[str, Sequence[int]]) -> Plot:
    """A line for each class, over the names from left to right."""
    top = round_up(max((amount for one in series.values() for amount in one), default=0))
    step = (WIDTH - LEFT - RIGHT - 40) // max(len(names) - 1, 1)
    places = [LEFT + 20 + place * step for place in range(len(names))]
    drawn = []
    for kind, amounts in series.items():
        dots = tuple((x, _y(amount, top), amount) for x, amount in zip(places, amounts, strict=True))
        drawn.append(Line(kind, " ".join(f"{x},{y}" for x, y, _ in dots), dots))
    return Plot(_ticks(top), tuple(zip(places, names, strict=True)), lines=tuple(drawn))


def round_up(amount: int) -> int:
    """The least of 4, 8, 20, 40, 80, 200, ... that is no less than an amount: a quarter of it is whole."""
    scale = 1
    while True:
        for top in (4, 8, 20):
            if amount <= top * scale:
                return top * scale
        scale *= 10


def _y(amount: int, top: int) -> int:
    return HEIGHT - BOTTOM - amount * (HEIGHT - BOTTOM - TOP) // top


def _ticks(top: int) -> tuple[tuple[int, int], ...]:
    return tuple((_y(top * part // TICKS, top), top * part // TICKS) for part in range(TICKS + 1))


def _spread(middles: Sequence[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    every = -(-len(middles) // LABELS) or 1
    return tuple(middles[place] for place in range(0, len(middles), every))
