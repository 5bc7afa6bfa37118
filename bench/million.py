"""The arithmetic of a million calls a second, from what was measured here.

    python -m bench.million [--write]

`g` is bench/results/gateway.json (one gateway process, durable receipts), `p` is bench/results/ledger.json (posted and
batched by one worker), `c` is contracts/snapshots/gas.json. `--write` puts the table into deploy/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

from bench.report import RESULTS
from ledger.core.receipts.receipt import COUNT_SIZE, RECORD_HEAD

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "deploy" / "README.md"
TABLE = re.compile(r"(<!-- bench\.million -->\n).*?(<!-- /bench\.million -->)", re.DOTALL)
CALLS = 10**6
SIGNATURE_BYTES = 65
DAY = 86_400


def table(g: int, p: int, c: int) -> str:
    """The table in Markdown. Rounded up wherever a part of a machine is a whole one."""
    b = RECORD_HEAD.size + 4 * COUNT_SIZE + SIGNATURE_BYTES  # a call that counts itself, its tokens and bytes
    cores, lanes = math.ceil(CALLS / g), math.ceil(CALLS / p)
    commits = lanes * DAY // 60
    rows = [
        ("gateway cores", "10^6 / g", f"{cores:,}, say {math.ceil(cores / 16):,} machines of 16"),
        ("lanes (a database and a worker each)", "10^6 / p", f"{lanes}"),
        ("receipts a day", "10^6 · 86,400", f"{CALLS * DAY:.1e}"),
        (
            "receipt bytes a day, signed",
            f"{b} · 8.6 · 10^10",
            f"{b * CALLS * DAY / 1e12:.0f} TB, kept for the dispute window",
        ),
        ("receipt log write rate", f"{b} · 10^6", f"{b} MB/s: {math.ceil(b / lanes)} MB/s a lane, plus indexes"),
        ("commits, one a minute and lane", "lanes · 1,440", f"{commits:,} a day; {commits * c:.1e} gas a day"),
        ("gas a call", "c · lanes / (60 · 10^6)", f"{c * lanes / (60 * CALLS):.4f}"),
        ("with clearing, one commit a minute in all", "c / (60 · 10^6)", f"{c / (60 * CALLS):.4f}"),
    ]
    head = f"| what | formula | with g = {g:,}, p = {p:,}, c = {c:,} |\n|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Read what was measured; print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    measured = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("gateway", "ledger")}
    gas = json.loads((ROOT / "contracts" / "snapshots" / "gas.json").read_text())
    made = table(
        measured["gateway"]["plain_c16_calls_per_s"],
        measured["ledger"]["end_to_end_receipts_per_s"],
        gas["commit_finalize"],
    )
    print(made)
    if given.write:
        README.write_text(TABLE.sub(lambda found: found[1] + made + found[2], README.read_text()))


if __name__ == "__main__":
    main()
