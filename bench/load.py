"""The load test: minutes at 80 % of the most a gateway can do, then every receipt counted and memory compared.

    make bench-load                    ten minutes; BENCH_LOAD_SECONDS says otherwise

First the most is measured, plain and streamed. Then three quarters of the work is plain calls and a quarter streams, by
the clock, at 80 % of both. At the end every answered call must have exactly one receipt, numbered without a gap; what
the answers said was charged, the receipts and the segments of the receipt log must be one sum; memory must not grow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median

from bench import report
from bench.gateway.__main__ import Target, check, measure, memory_mb, ours, running
from tests.conftest import free_port

SECONDS = float(os.environ.get("BENCH_LOAD_SECONDS", "600"))
SHARE = 0.8
PARTS = {"plain": 0.75, "stream": 0.25}
CONNECTIONS = 32
FLAT = 0.05
"""How much memory may grow from the first quarter to the last, once warm."""


def begin(target: Target, kind: str, rate: float) -> subprocess.Popen[bytes]:
    """The load of one kind, in a process of its own."""
    words = [target.port, target.path, CONNECTIONS, SECONDS, kind, target.key, target.model, "", rate]
    return subprocess.Popen([sys.executable, "-m", "bench.gateway.load", *map(str, words)], stdout=subprocess.PIPE)


def watched(target: Target, loads: list[subprocess.Popen[bytes]]) -> list[float]:
    """Resident memory in MiB, twenty samples a run or one in five seconds, until the loads end."""
    samples = []
    while any(load.poll() is None for load in loads):
        time.sleep(min(5.0, SECONDS / 20))
        samples.append(memory_mb(target.pid))
    return samples


def main() -> None:
    """Measure the most, load, check, tell."""
    before = os.getloadavg()[0]
    with ExitStack() as stack:
        upstream_port = free_port()
        stack.enter_context(running("bench.gateway.upstream", str(upstream_port), port=upstream_port))
        target, world = ours(stack, upstream_port)
        most = {kind: median(measure(target, kind, CONNECTIONS, 4)["per_second"] for _ in range(3)) for kind in PARTS}
        print(f"the most: {most['plain']:,.0f} plain calls a second, {most['stream']:,.0f} streams", flush=True)
        so_far = int(check(world, target)["charged_atoms"])  # type: ignore[call-overload]
        loads = [begin(target, kind, SHARE * part * most[kind]) for kind, part in PARTS.items()]
        memory = watched(target, loads)
        runs = {kind: json.loads(load.communicate()[0]) for kind, load in zip(PARTS, loads, strict=True)}
        for run in runs.values():
            target.calls += run["calls"]
            target.failed += run["failed"]
        checked = check(world, target)
    told = sum(run["charged"] for run in runs.values())
    booked = int(checked["charged_atoms"]) - so_far  # type: ignore[call-overload]
    assert told == booked, f"the answers said {told} atoms, the receipts {booked}"
    quarter = max(1, len(memory) // 4)
    early, late = median(memory[quarter : 2 * quarter]), median(memory[-quarter:])
    growth = late / early - 1
    facts: dict[str, object] = {
        "seconds": SECONDS,
        "most_per_s": {kind: round(rate) for kind, rate in most.items()},
        "asked_per_s": {kind: round(SHARE * part * most[kind]) for kind, part in PARTS.items()},
        "runs": runs,
        "memory_mb_second_quarter": round(early, 1),
        "memory_mb_last_quarter": round(late, 1),
        "memory_growth": round(growth, 4),
        "memory_flat": growth <= FLAT,
        "answers_said_atoms": str(told),
        **checked,
        "cpus": os.cpu_count(),
        "load_before": round(before, 2),
    }
    (report.RESULTS / "load.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts))
    assert growth <= FLAT, f"memory grew by {growth:.1%}: {early:.1f} to {late:.1f} MiB"


if __name__ == "__main__":
    main()
