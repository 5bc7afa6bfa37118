"""The tables of the performance page, from what the benches wrote; each with its command, machine and date."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from docs.book.markdown import code, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
GAS = ROOT / "contracts" / "snapshots" / "gas.json"
PLACE = re.compile(r"^<!-- figures (\w+) -->$", re.MULTILINE)
TARGETS = {
    "tollway": "**Tollway**",
    "fastapi_aiohttp": "FastAPI + aiohttp",
    "fastapi_httpx": "FastAPI + httpx",
    "raw_uvicorn_aiohttp": "raw uvicorn + aiohttp",
    "direct": "the upstream itself",
}
ACTS = {
    "commit": "a commit, whatever it covers",
    "claim_1000": "a claim, of 1,000 payees",
    "claim_100000": "a claim, of 100,000 payees",
    "claim_range_100_per_payee": "a payee in a range of 100 claims",
    "deposit_authorization_first": "a first deposit, signed",
    "withdraw": "a withdrawal",
    "register": "registering a model with a parent",
    "bid": "a bid",
    "per_call_10k_calls_100_consumers_20_payees": "**a call**, in a batch of 10,000",
    "per_call_1m_calls_1000_consumers_20_payees": "**a call**, in a batch of 1,000,000",
}
Rows = Sequence[Sequence[object]]


def filled(page: str) -> str:
    """A page with a table in each of its places. KeyError for a place that nothing fills."""
    return PLACE.sub(lambda match: FIGURES[match[1]](), page)


def result(name: str) -> dict[str, Any]:
    """What a bench wrote."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def gas() -> dict[str, float]:
    """The snapshot of the contracts' gas."""
    found: dict[str, float] = json.loads(GAS.read_text())
    return found


def _gas() -> str:
    rows = [(name, f"{gas()[act]:,.2f}".removesuffix(".00")) for act, name in ACTS.items()]
    return table(("act", "gas"), rows) + _said("gas", GAS, {})


def _gateway() -> str:
    facts = result("gateway")
    known = [(facts["targets"][name], said) for name, said in TARGETS.items() if name in facts["targets"]]
    columns = ("plain_c1", "plain_c16", "plain_c64", "stream_c16", "long_c16")
    rows = [(said, *(_rate(one.get(column)) for column in columns), _cpu(one.get("plain_c16"))) for one, said in known]
    head = ("calls a second", "1 connection", "16", "64", "streams, 16", "long prompts, 16", "CPU a call, us")
    return table(head, rows) + _said("bench-gateway", RESULTS / "gateway.json", facts)


def _load() -> str:
    facts = result("load")
    rows = [
        (name, f"{run['calls']:,}", run["failed"], f"{run['p50_us'] / 1000:.1f}", f"{run['p99_us'] / 1000:.1f}")
        for name, run in facts["runs"].items()
    ]
    memory = f"Memory: {facts['memory_mb_second_quarter']} MiB in the second quarter, {facts['memory_mb_last_quarter']}"
    head = ("kind", "calls", "failed", "median, ms", "99 of 100 within, ms")
    return table(head, rows) + f"\n{memory} MiB in the last.\n" + _said("bench-load", RESULTS / "load.json", facts)


def _ledger() -> str:
    facts = result("ledger")
    rows = [
        (
            f"{one['receipts']:,}",
            f"{one['receipts_per_s']:,}",
            f"{one['ratio_to_copy']:.2f}",
            one["cpu_us_per_receipt"],
            one["peak_mb_of_both_workers"],
        )
        for one in facts["linear"]
    ]
    head = ("receipts", "a second", "times a COPY", "CPU a receipt, us", "both workers, MB")
    return table(head, rows) + _said("bench-ledger", RESULTS / "ledger.json", facts)


def _earnings() -> str:
    facts = result("earnings")
    rows = [
        ("receipts; rows of the report", f"{facts['receipts']:,}; {facts['rows']:,}"),
        ("file, MB", f"{facts['file_mb']:,}"),
        ("CPU, seconds", facts["cpu_seconds"]),
        (f"by the clock, seconds (aim: {facts['aim_seconds']})", facts["seconds"]),
        ("memory at most, MiB", f"{facts['peak_mib']:,}"),
    ]
    return table(("`tollway batch report`", ""), rows) + _said("bench-earnings", RESULTS / "earnings.json", facts)


def _split() -> str:
    split, tree = result("split"), result("sumtree")
    rows = [
        ("receipts split a second", f"{split['split_receipts_per_s']:,}", "plain Python", _times(split, "python")),
        (
            "leaves of a sum tree a second",
            f"{tree['sumtree_leaves_per_s']:,}",
            "pycryptodome",
            _times(tree, "pycryptodome"),
        ),
    ]
    said = _said("bench-split", RESULTS / "split.json", split) + _said("bench-sumtree", RESULTS / "sumtree.json", tree)
    return table(("what", "here", "beside", "times as fast"), rows) + said


def _node() -> str:
    facts = result("node")
    rates = [(name, f"{rate:,}") for name, rate in facts["rates"].items()]
    floors = [(f"{name}, the engine alone", f"{rate:,}") for name, rate in facts["floors"].items()]
    return table(("what", "a second"), [*rates, *floors]) + _said("bench-node", RESULTS / "node.json", facts)


def _chaos() -> str:
    facts = result("chaos")
    survived = sum(facts["survived"].values())
    rows = [
        ("faults survived", survived),
        ("calls", f"{facts['calls']:,}"),
        ("atoms charged; paid out on chain", f"{facts['charged_atoms']:,}; {facts['paid_atoms']:,}"),
        ("differences", len(facts["differences"])),
    ]
    return table(("`make chaos`", ""), rows) + _said("chaos", RESULTS / "chaos.json", facts)


def _battery() -> str:
    facts = result("battery")
    ends = Counter[str]()
    for one in facts["rounds"]:
        for kinds in one["table"].values():
            ends.update(kinds)
    rows = [(name, f"{count:,}") for name, count in ends.most_common()]
    return table((f"of {facts['outcomes']:,} outcomes in doubt", ""), rows) + _said(
        "battery", RESULTS / "battery.json", facts
    )


FIGURES: dict[str, Callable[[], str]] = {
    "gas": _gas, "gateway": _gateway, "load": _load, "ledger": _ledger, "earnings": _earnings, "split": _split,
    "node": _node, "chaos": _chaos, "battery": _battery,
}  # fmt: skip


def _times(facts: dict[str, Any], peer: str) -> str:
    return next(f"{value:,}" for name, value in facts.items() if name.endswith(f"_ratio_to_{peer}"))


def _rate(run: dict[str, Any] | None) -> str:
    return f"{run['per_second']:,.0f}" if run else ""


def _cpu(run: dict[str, Any] | None) -> str:
    return f"{run['cpu_us_per_call']:.0f}" if run else ""


def _said(target: str, file: Path, facts: dict[str, Any]) -> str:
    """How it was measured, in a line of its own."""
    return f"\n{'; '.join(_how(target, file, facts))}.\n"


def _how(target: str, file: Path, facts: dict[str, Any]) -> Iterator[str]:
    yield code(f"make {target}")
    if "cpus" in facts:
        yield f"{facts['cpus']} cores" + (f", {facts['machine']}" if "machine" in facts else "")
    if "python" in facts:
        yield f"Python {facts['python']}"
    yield f"recorded in {code(file.relative_to(ROOT))}" + (f" on {when}" if (when := _date(file)) else "")


def _date(file: Path) -> str:
    """The day on which a result was recorded, from its version control; empty where there is none."""
    if shutil.which("git") is None:
        return ""
    words = ["git", "log", "-1", "--format=%cs", "--", str(file)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
