"""What a command costs before it asks anybody: CPU seconds of a whole process, the least of a few runs.

    python -m bench.commands [--runs 5]

`--help` of the program and of every group, and commands that only look at the home: a wallet that is there, a network
that is not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import report
from roles.cli.main import GROUPS

ROOT = Path(__file__).resolve().parents[1]
TYPED = (("wallet", "list"), ("wallet", "show", "alice"), ("consumer", "balance"), ("provider", "earnings"))
AIM = 0.5


def cpu_seconds(words: tuple[str, ...], home: str) -> float:
    """User and system time of one run, its interpreter included."""
    command = [sys.executable, "-m", "roles.cli.main", *words]
    environment = {**os.environ, "TOLLWAY_HOME": home, "TOLLWAY_PASSWORD": "bench", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT)
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    found = {}
    with tempfile.TemporaryDirectory() as home:
        cpu_seconds(("wallet", "create", "alice", "--light"), home)
        for words in (("--help",), *((group, "--help") for group in GROUPS), *TYPED):
            name = f"tollway {' '.join(words)}"
            found[name] = round(min(cpu_seconds(words, home) for _ in range(runs)), 3)
            print(f"  {name:<32} {found[name]:>6.3f} s of CPU{'' if found[name] < AIM else '   over the aim'}")
    report.save("commands", {"cpu_seconds": found, "aim": AIM})


if __name__ == "__main__":
    main()
