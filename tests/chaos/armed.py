"""A product's process that can be made to die at a named point: `python -m tests.chaos.armed MODULE ARGUMENT...`.

The points are those of a call's journey. A file `arm/POINT` in the folder `CHAOS_FOLDER` makes the next process that
gets there kill itself, as kill -9 would; a file `clock` moves its clock by so many milliseconds. The product knows
nothing of it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

BEFORE, AFTER = "before", "after"
POINTS: dict[str, tuple[str, str, str]] = {
    "1-2 logs taken in": ("ledger.flows.indexer", "index_next", AFTER),
    "3 leased": ("ledger.flows.leases", "lease", AFTER),
    "4 reserved": ("gateway.call.call", "ask_node", BEFORE),
    "5 answered by the node": ("gateway.metering.answers", "whole", AFTER),
    "6 priced": ("gateway.payment.receipt_log", "append", BEFORE),
    "6-7 logged": ("gateway.payment.receipt_log", "append", AFTER),
    "8 posted": ("ledger.flows.postings", "post_chunk", AFTER),
    "9 closed": ("ledger.flows.batches", "close", AFTER),
    "10 intended": ("ledger.flows.batches", "commit", AFTER),
    "10 signed": ("ledger.flows.transactions", "sign_next", AFTER),
    "10 about to broadcast": ("ledger.chain.rpc", "Endpoint.send_raw", BEFORE),
    "10 broadcast": ("ledger.chain.rpc", "Endpoint.send_raw", AFTER),
    "10 reviewed": ("ledger.flows.transactions", "review", AFTER),
    "12 claims intended": ("ledger.flows.claims", "claim", AFTER),
    "13 reconciled": ("ledger.flows.audits", "reconcile", AFTER),
}
"""Where a point is: a module, what is called there, and whether to die before or after it (and before its commit)."""
GATEWAYS = tuple(name for name, (module, _, _) in POINTS.items() if module.startswith("gateway") or "leasing" in module)
ALWAYS = ("10 about to broadcast", "10 broadcast", "13 reconciled")
"""Points passed only when there is work; elsewhere a call that returns nothing did nothing."""
CLOCK_SECONDS = 0.2


def arm(folder: Path) -> None:
    """Make every point of the modules this process has deadly when asked."""
    for name, (module, path, when) in POINTS.items():
        if (name in GATEWAYS) != (sys.argv[1] == "gateway"):
            continue
        owner: Any = import_module(module)
        *outer, last = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, last, deadly(getattr(owner, last), folder / "arm" / name, when, name in ALWAYS))


def deadly(real: Callable[..., Any], file: Path, when: str, always: bool) -> Callable[..., Any]:
    """`real`, with a death before or after it."""

    def die(result: object) -> None:
        if (result or always) and file.exists():
            file.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)

    if asyncio.iscoroutinefunction(real):

        @functools.wraps(real)
        async def waited(*args: Any, **named: Any) -> Any:
            if when == BEFORE:
                die(True)
            result = await real(*args, **named)
            if when == AFTER:
                die(result)
            return result

        return waited

    @functools.wraps(real)
    def called(*args: Any, **named: Any) -> Any:
        if when == BEFORE:
            die(True)
        result = real(*args, **named)
        if when == AFTER:
            die(result)
        return result

    return called


def skew(file: Path) -> None:
    """Make this process's wall clock follow the file's offset."""
    real, seen = time.time_ns, [0.0, 0]

    def now() -> int:
        if time.monotonic() - seen[0] > CLOCK_SECONDS:
            try:
                offset = int(file.read_text() or "0") * 1_000_000
            except OSError:
                offset = 0
            seen[:] = [time.monotonic(), offset]
        return real() + int(seen[1])

    time.time_ns = now
    time.time = lambda: now() / 1e9


if __name__ == "__main__":
    home = Path(os.environ["CHAOS_FOLDER"])
    skew(home / "clock")
    arm(home)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
