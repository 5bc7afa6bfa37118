"""A line chart as SVG, by hand: up to four curves over a few points, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 104
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")


@dataclass(frozen=True, slots=True)
class Curve:
    """A label and its points, in the order they are drawn."""

    label: str
    points: Sequence[tuple[float, float]]


def chart(title: str, subtitle: str, x_label: str, y_label: str, curves: Sequence[Curve], low: float = 0.0) -> str:
    """The chart. Upwards from `low` to the highest value, at least 1; sideways in the order of the points."""
    xs = [x for curve in curves for x, _ in curve.points]
    high = max(1.0, *(y for curve in curves for _, y in curve.points))
    first, last = curves[0].points[0][0], curves[0].points[-1][0]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last != first else 0.5
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44" fill="#57606a">{escape(subtitle)}</text>',
    ]
    for step in range(6):
        y = low + (high - low) * step / 5
        _, down = place(first, y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    for x in sorted(set(xs)):
        across, _ = place(x, low)
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - BOTTOM + 38}" text-anchor="middle">{escape(x_label)}</text>')
    turn = f"rotate(-90 18 {HEIGHT / 2:.0f})"
    parts.append(f'<text x="18" y="{HEIGHT / 2:.0f}" text-anchor="middle" transform="{turn}">{escape(y_label)}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        spots = [place(x, y) for x, y in curve.points]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in spots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{colour}"/>' for across, down in spots]
        at, foot = LEFT + number % 2 * 290, HEIGHT - 36 + number // 2 * 20
        parts.append(f'<rect x="{at}" y="{foot - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{at + 18}" y="{foot}">{escape(curve.label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
