"""Symbolic checks: halmos on `test/symbolic`, and on the committed artifacts, which it gets in its environment.

    python -m contracts.symbolic HALMOS

Prints the output of halmos, without the bytecode of contracts that have no source. Fails when a law fails, and
when halmos left a path out.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ARTIFACTS = ("AICoin", "LaneVault", "Settlement")
ARGUMENTS = ("--root", ".", "--forge-build-out", "out/symbolic", "--match-contract", "^Symbolic", "--loop", "300")
BRANCHES = ("--solver-timeout-branching", "50ms")
"""How long halmos asks whether a path can be taken, before it takes it. Its own answer, 1 ms of the clock, is too short
on a busy machine: paths that cannot be are taken, they multiply, and a law does not end. What is shown is the same."""
_COLOUR = re.compile(r"\x1b\[\d*m")


def environment() -> dict[str, str]:
    """The environment with the creation code of every contract that the laws create, by its name."""
    read = {name: json.loads((HERE / "artifacts" / f"{name}.json").read_text())["bytecode"] for name in ARTIFACTS}
    return {**os.environ, **read, "FOUNDRY_PROFILE": "symbolic"}


def readable(lines: Iterable[str]) -> Iterator[str]:
    """halmos's output, without the code of contracts that are there as bytes alone."""
    quiet = False
    for line in lines:
        plain = _COLOUR.sub("", line).rstrip()
        quiet = "unknown deployed bytecode" in plain or (quiet and plain.startswith("         "))
        if not quiet:
            yield plain


def main(halmos: str) -> int:
    """Run it. Returns the exit code."""
    command = [str(Path(halmos).absolute()), *ARGUMENTS, *BRANCHES]
    whole = True
    with subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None, "it is a pipe"
        for line in readable(run.stdout):
            print(line, flush=True)
            whole = whole and "WARNING" not in line
    return run.returncode or int(not whole)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
