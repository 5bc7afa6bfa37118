"""How a bench measures and says it: best of a few runs, ratios to the peers, a table, a file, one line of JSON."""

from __future__ import annotations

import gc
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def best(work: Callable[[], object], runs: int = 3) -> float:
    """CPU seconds of the fastest of a few runs, garbage collected before each.

    CPU time, not the clock's: work of one thread is measured, and what else the machine does should not count.
    """
    seconds = []
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def table(title: str, unit: str, rates: Mapping[str, float], ours: str) -> None:
    """Print rates, fastest first, and how many times faster ours is."""
    print(f"\n{title}")
    for name, rate in sorted(rates.items(), key=lambda row: -row[1]):
        print(f"  {name:<46} {rate:>14,.0f} {unit}   ours is {rates[ours] / rate:>8.2f} x")


def save(name: str, facts: Mapping[str, object]) -> None:
    """Write the facts with the command, the date and the machine, and end with them as one line of JSON."""
    made = {"command": shlex.join(["python", *sys.orig_argv[1:]]), "date": time.strftime("%Y-%m-%d", time.gmtime())}
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    load = {"load_before": round(os.getloadavg()[0], 2)}
    RESULTS.mkdir(exist_ok=True)
    body = {**facts, **made, **machine, **load}
    (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
    print(json.dumps(body))
