"""`tollway batch report` over a batch of 10^6 receipts: seconds of a whole process, and its peak memory.

    python -m bench.earnings [--receipts 1000000]

The file is a private grid's, so that no chain is asked: on a chain the reading of its logs is added, whose time depends
on the endpoint. A small file first compiles what is compiled once a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import report
from bench.closing import write

ROOT = Path(__file__).resolve().parents[1]
AIM_SECONDS = 60


def reported(folder: Path) -> tuple[float, float, int]:
    """Seconds by the clock and of CPU of one report, and the rows of its answer."""
    command = [sys.executable, "-m", "roles.cli.main", "batch", "report", str(folder), "--json"]
    environment = {**os.environ, "TOLLWAY_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    took, used = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(f"tollway batch report failed: {ended.stdout}{ended.stderr}")
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, len(json.loads(ended.stdout)["earned"])


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    most = parser.parse_args().receipts
    found = {}
    for count in (64, most):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "00000001.batch"
            with path.open("wb") as sink:
                write(sink, count, hashed=False)
            size = path.stat().st_size
            took, cpu, rows = reported(Path(place))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(f"{count:>12,} receipts   {took:>6.1f} s   {cpu:>6.1f} s of CPU   {rows} rows   peak {peak:,} MiB")
        found = {"receipts": count, "file_mb": round(size / 1e6), "rows": rows, "seconds": round(took, 1)}
        found |= {"cpu_seconds": round(cpu, 1), "peak_mib": peak, "aim_seconds": AIM_SECONDS}
    report.save("earnings", found)


if __name__ == "__main__":
    main()
