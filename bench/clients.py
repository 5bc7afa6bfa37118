"""Which stock client does what: runs the tests of `tests/gateway/clients`, and makes the table of `docs/clients.md`.

    python -m bench.clients        (or: make bench-clients)

A row is a program of theirs, which has nothing of ours in it but a URL and a key; its client is what its first line
names in backticks, of the version in the lock file that its environment is made from. A cell is filled if the program
printed the feature at its end and its test passed. The table is written only if every test ran and passed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "tests" / "gateway" / "clients"
PAGE = ROOT / "docs" / "clients.md"
DONE = "done: "
FEATURES = {
    "plain": "a call, answered whole",
    "streamed": "the same, event by event",
    "tools": "the model calls functions of the client, and reads what they answer",
    "shaped": "an answer in the form of a JSON schema",
    "usage": "what was used, with its details, is what the client shows",
    "refused": "an error of ours is raised as the client's own class, with its code and text",
    "tensors": "tensors in JSON and in bytes, packed, and by version",
    "paid": "pays for each call by itself, without an account",
    "keys": "makes a key, and reads a statement",
}
"""The columns of the table."""
LOCKS = ("clients.lock", "kserve.lock")
BEGIN, END = "<!-- made by make bench-clients -->", "<!-- until here -->"
_NAMED = re.compile(r"`([^`]+)`")


def programs() -> dict[str, str]:
    """The client of each program, by the program's path within the folder."""
    pages = [page for kind in ("py", "cjs", "mjs") for page in CLIENTS.glob(f"*/[a-z]*.{kind}")]
    found = {}
    for page in sorted(pages):
        named = _NAMED.search(page.read_text().splitlines()[0])
        if named is None:
            raise SystemExit(f"{page}: the first line names the client in backticks")
        found[str(page.relative_to(CLIENTS))] = named[1]
    return found


def version(program: str, client: str) -> str:
    """The version of a program's client that is locked."""
    if program.endswith(".py"):
        lines = "".join((CLIENTS / name).read_text() for name in LOCKS)
        found = re.search(rf"^{re.escape(client.partition('[')[0])}(?:\[[a-z]+\])?==(\S+)", lines, re.MULTILINE)
        return found[1] if found else "?"
    lock = ROOT / "package-lock.json" if program.endswith(".cjs") else CLIENTS / "paying" / "package-lock.json"
    return str(json.loads(lock.read_text())["packages"][f"node_modules/{client}"]["version"])


def table(done: Mapping[str, Set[str]]) -> str:
    """The table: a row a program that has done something."""
    rows = [f"| client | program | {' | '.join(FEATURES)} |", f"|---|---|{'---|' * len(FEATURES)}"]
    for program, client in programs().items():
        cells = ["yes" if feature in done.get(program, ()) else "" for feature in FEATURES]
        rows.append(f"| {client} {version(program, client)} | {program} | {' | '.join(cells)} |")
    return "\n".join(rows)


def written(page: str, made: str) -> str:
    """A page with another table."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}"


def done_in(report: Path) -> dict[str, set[str]]:
    """What each program has done, by a report of pytest. Exits when a test failed or did not run."""
    found = defaultdict[str, set[str]](set)
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [each for kind in ("failure", "error", "skipped") for each in case.iter(kind)]
        if bad:
            raise SystemExit(f"{case.get('name')}: {bad[0].get('message')}\nthe table is left as it was")
        for one in case.iter("property"):
            found[str(one.get("name"))].add(str(one.get("value")))
    return dict(found)


def main() -> int:
    """Run the clients, and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"--junitxml={report}", str(CLIENTS)]
        subprocess.run(command, cwd=ROOT, check=False)
        made = table(done_in(report))
    PAGE.write_text(written(PAGE.read_text(), made))
    print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
