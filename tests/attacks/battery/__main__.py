"""The whole battery: `python -m tests.attacks.battery [--outcomes N] [--seed S]`, or `make battery`.

It plays rounds, each on a network of its own, two at once. The record, bench/results/battery.json, is written after
each round; run again with the same numbers, it plays the rounds that are not recorded.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.attacks.battery import driver
from tests.attacks.battery.kinds import KINDS
from tests.attacks.battery.verdict import FREE, PART, WHOLE, WINDOW

RESULTS = Path(__file__).resolve().parents[3] / "bench" / "results" / "battery.json"
ROUND = 1_000
AT_ONCE = 2
COLUMNS = (WHOLE, PART, WINDOW, FREE, "charged without an answer", "charged twice")


def table(rounds: list[dict[str, Any]]) -> str:
    """Outcomes by kind, all rounds together, as Markdown."""
    rows = [["kind", "outcomes", *COLUMNS]]
    sums: Counter[str] = Counter()
    for kind in KINDS:
        counts: Counter[str] = Counter()
        for one in rounds:
            counts.update(one["table"].get(kind.name, {}))
        sums += counts
        rows.append([kind.name, *_cells(counts)])
    rows.append(["all", *_cells(sums)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cells(counts: Counter[str]) -> list[str]:
    return [f"{sum(counts.values()):,}", *(f"{counts[column]:,}" for column in COLUMNS)]


def recorded() -> dict[str, Any]:
    """The battery that was begun last, as far as it came."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def main() -> None:
    """Play the rounds that are not recorded yet, two at once; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=10_000)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    sizes = [min(ROUND, options.outcomes - start) for start in range(0, options.outcomes, ROUND)]
    asked = {"seed": options.seed, "outcomes": options.outcomes}
    known = recorded()
    rounds = known["rounds"] if asked.items() <= known.items() else []
    left = [number for number in range(len(sizes)) if number not in {one["round"] for one in rounds}]
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as pool:
        playing = {pool.submit(driver.run, sizes[number], f"{options.seed}-{number}"): number for number in left}
        for ended in as_completed(playing):
            rounds.append({"round": playing[ended], **asdict(ended.result())})
            rounds.sort(key=lambda one: int(one["round"]))
            RESULTS.write_text(json.dumps({**asked, "rounds": rounds}, indent=1) + "\n")
            print(f"{len(rounds)} of {len(sizes)} rounds", flush=True)
    print(table(rounds))
    wrong = [difference for one in rounds for difference in one["differences"]]
    print("\n".join(wrong) or "no differences")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
