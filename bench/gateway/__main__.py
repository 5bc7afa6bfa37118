"""The gateway measured: calls a second and latency, beside a direct call and bare proxies, in one interleaved run.

    make bench-gateway            ours and the floors, under ten minutes
    make bench-gateway PEERS=1    and LiteLLM, Portkey, x402's middleware, nginx, Envoy, vllm-router, smg, TensorZero,
                                  each in an environment of its own

`BENCH_SECONDS` and `BENCH_ROUNDS` say how long a run is and how often each is made; BENCH_CONNECTIONS, at how many.

Every Tollway call in it is held, metered, priced, signed and durable (PostgreSQL with fsync on) before its last byte;
at the end every answered call must have exactly one receipt, and the receipts must sum to what was charged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import report
from bench.gateway import peers, proxies
from bench.grid import a_grid
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.store.session import unit_of_work
from tests.conftest import free_port, wait_until_open
from tests.gateway.world import OPERATOR, World, a_signer

SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CONNECTIONS = tuple(map(int, os.environ.get("BENCH_CONNECTIONS", "1,16,64").split(",")))
KINDS = ("plain", "stream", "paced", "long")
"""What is called (`bench.gateway.load`); the last two at 16 connections only."""
RUNS = [(kind, number) for kind in KINDS[:2] for number in CONNECTIONS] + [(kind, 16) for kind in KINDS[2:]]
PATH = "/v1/chat/completions"
OURS, FASTAPI, RAW, DIRECT = "tollway", "fastapi_aiohttp", "raw_uvicorn_aiohttp", "direct"


@dataclass
class Target:
    """Something that answers chat completions: where, and with which process."""

    name: str
    port: int
    pid: int
    key: str = "none"
    model: str = "@acme/chat"
    path: str = PATH
    headers: str = ""
    foreign: bool = False
    """A peer. When it breaks under the load, the others are still measured."""
    runs: dict[tuple[str, int], list[dict[str, float]]] = field(default_factory=dict)
    failed: int = 0
    calls: int = 0


def process(*command: str, port: int, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A server, started and listening."""
    environment = {**os.environ, **(environment or {})}
    started = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=subprocess.DEVNULL)
    wait_until_open(port, started, 60)
    return started


@contextmanager
def running(*command: str, port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """The same, stopped by its own id afterwards."""
    started = process(*command, port=port, environment=environment)
    try:
        yield started.pid
    finally:
        started.terminate()
        started.wait(40)


def cpu_seconds(pid: int) -> float:
    """User and system time so far of a process and of those it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    started = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return own + sum(cpu_seconds(int(child)) for children in started for child in children)


def memory_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(target: Target, kind: str, connections: int, seconds: float) -> dict[str, float]:
    """One run of the load against one target."""
    before = cpu_seconds(target.pid)
    command = [target.port, target.path, connections, seconds, kind, target.key, target.model, target.headers]
    out = subprocess.run(
        [sys.executable, "-m", "bench.gateway.load", *map(str, command)], capture_output=True, check=True, timeout=120
    ).stdout
    run: dict[str, float] = json.loads(out)
    if run["failed"]:
        print(f"  {target.name}: {run['failed']} failed, first: {run['first_failure']!r}"[:400])
    run.pop("first_failure")
    run.pop("charged")
    run["cpu_us_per_call"] = 1e6 * (cpu_seconds(target.pid) - before) / max(1, run["calls"])
    target.failed += int(run["failed"])
    target.calls += int(run["calls"])
    return run


def ours(stack: ExitStack, upstream_port: int) -> tuple[Target, World]:
    """A gateway process over a durable database, one model, and a consumer with money."""
    world = stack.enter_context(a_grid())
    world.a_model_at(f"http://127.0.0.1:{upstream_port}", ask={"input_token": "2000000", "output_token": "8000000"})
    consumer = a_signer("bench")
    world.deposit(consumer.address, 10**15)
    port = free_port()
    pid = stack.enter_context(gateway_process(world, port, "bench gateway"))
    return Target(OURS, port, pid, key_for(world, port)), world


@contextmanager
def gateway_process(world: World, port: int, name: str) -> Iterator[int]:
    """A gateway with a signing key of its own over this database."""
    environment = {
        "LEDGER_DATABASE_URL": world.url,
        "GATEWAY_SIGNING_KEY": to_hex(keccak256(name.encode())),
        "GATEWAY_OPERATOR": to_hex(OPERATOR.address),
        "GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "GATEWAY_LEASE_ATOMS": str(10**12),
    }
    command = ("gateway", "--port", str(port), "--log-level", "warning")
    with running(*command, port=port, environment=environment) as pid:
        yield pid


def key_for(world: World, port: int) -> str:
    """An API key of the bench's consumer."""
    import httpx

    from tests.gateway.world import a_voucher

    body = {"voucher": a_voucher(a_signer("bench"), 10**15)}
    response = httpx.post(f"http://127.0.0.1:{port}/v1/keys", json=body, timeout=30)
    response.raise_for_status()
    return str(response.json()["key"])


def targets(stack: ExitStack) -> tuple[list[Target], World, dict[str, str]]:
    """Everything to measure, started; and why a peer is not among it."""
    upstream_port = free_port()
    mock = stack.enter_context(running("bench.gateway.upstream", str(upstream_port), port=upstream_port))
    found = [Target(DIRECT, upstream_port, mock)]
    for name, floor in ((RAW, "raw"), (FASTAPI, "fastapi"), ("fastapi_httpx", "httpx")):
        port = free_port()
        command = ("bench.gateway.floors", floor, str(port), str(upstream_port))
        found.append(Target(name, port, stack.enter_context(running(*command, port=port))))
    gateway, world = ours(stack, upstream_port)
    found.append(gateway)
    missing: dict[str, str] = {}
    if os.environ.get("PEERS"):
        started, missing = peers.start(stack, peers.makers(upstream_port, world.url) | proxies.makers(upstream_port))
        for peer in started:
            found.append(Target(peer.name, peer.port, peer.pid, peer.key, peer.model, peer.path, peer.headers, True))
    return found, world, missing


def check(world: World, gateway: Target) -> dict[str, object]:
    """Every answered call has one receipt, numbered without a gap, and they sum to what the segments say."""
    from sqlalchemy import text

    with unit_of_work(world.engine) as session:
        count, last, distinct, total = session.execute(
            text("SELECT count(*), max(seq), count(DISTINCT call_id), sum(charge)::bigint FROM receipts")
        ).one()
        logged = session.execute(text("SELECT sum(total)::bigint FROM segments")).scalar_one()
    answered = gateway.calls - gateway.failed
    assert count == last == distinct == answered, (
        f"{answered} answered, {count} receipts, last {last}, {distinct} calls"
    )
    assert total == logged, f"receipts sum to {total}, segments to {logged}"
    return {"receipts": count, "charged_atoms": str(total), "receipts_checked": True}


def middle(target: Target, kind: str, connections: int, what: str) -> float:
    """The median of a figure over the rounds."""
    return median(run[what] for run in target.runs[kind, connections])


def row_of(target: Target) -> dict[str, object]:
    """One target's figures: medians over the rounds."""
    figures: dict[str, object] = {
        f"{kind}_c{connections}": {what: round(middle(target, kind, connections, what), 1) for what in runs[0]}
        for (kind, connections), runs in target.runs.items()
    }
    return figures | {"memory_mb": round(memory_mb(target.pid), 1)}


def figures(found: list[Target]) -> dict[str, object]:
    """The figures, and the ratios they were measured for."""
    by_name = {target.name: target for target in found}
    rows = {target.name: row_of(target) for target in found}

    def ratio(kind: str, floor: str, what: str = "per_second") -> dict[str, float]:
        """Ours over a floor: the median of the rounds, and the least and the most."""
        pairs = zip(by_name[OURS].runs[kind, 16], by_name[floor].runs[kind, 16], strict=False)
        found = sorted(one[what] / other[what] for one, other in pairs)
        return {"median": round(median(found), 3), "least": round(found[0], 3), "most": round(found[-1], 3)}

    def added(name: str) -> float:
        return middle(by_name[name], "plain", 1, "p50_us") - middle(by_name[DIRECT], "plain", 1, "p50_us")

    others = [t.name for t in found if t.foreign or t.name in (FASTAPI, RAW)]
    calls, cpu = (
        {name: {k: ratio(k, name, what) for k in KINDS if (k, 16) in by_name[name].runs} for name in others}
        for what in ("per_second", "cpu_us_per_call")
    )
    return {
        "targets": rows,
        "c16_calls_per_s_to": calls,
        "c16_cpu_a_call_to": cpu,
        "plain_c16_calls_per_s": round(middle(by_name[OURS], "plain", 16, "per_second")),
        "plain_c1_added_p50_us": round(added(OURS), 1),
        "plain_c1_added_p50_ratio_to_fastapi_aiohttp": round(added(OURS) / added(FASTAPI), 3),
    }


def rounds(found: list[Target], missing: dict[str, str]) -> None:
    """Every target in every round, one after the other, so that all are measured under the same load."""
    for number in range(ROUNDS):
        for kind, connections in RUNS:
            for target in list(found):
                run = tried(target, kind, connections, SECONDS, missing)
                if run is None:
                    found.remove(target)
                    continue
                if run["failed"] and target.foreign:
                    failed = f"{run['failed']:,.0f} of {run['calls']:,.0f} {kind} calls failed at {connections}"
                    missing[f"{target.name} {kind}"] = failed
                    continue
                target.runs.setdefault((kind, connections), []).append(run)
                rate = f"{run['per_second']:>9,.0f}/s  {run['cpu_us_per_call']:>7,.0f} us of CPU a call"
                print(f"round {number + 1}  {kind:<6} {connections:>2}  {target.name:<22} {rate}", flush=True)


def tried(
    target: Target, kind: str, connections: int, seconds: float, missing: dict[str, str]
) -> dict[str, float] | None:
    """One run; None, and why, when a peer breaks under it."""
    try:
        return measure(target, kind, connections, seconds)
    except (subprocess.SubprocessError, OSError) as error:
        if not target.foreign:
            raise
        missing[target.name] = f"broke at {connections} {kind} connections: {error}"[:500]
        print(f"  {target.name} {missing[target.name]}", flush=True)
        return None


def main() -> None:
    """Measure, check, write the results."""
    began, load = time.monotonic(), os.getloadavg()[0]
    with ExitStack() as stack:
        found, world, missing = targets(stack)
        for target in list(found):
            if any(tried(target, kind, 8, 0.5, missing) is None for kind in KINDS):
                found.remove(target)
        rounds(found, missing)
        facts = figures(found) | check(world, next(target for target in found if target.name == OURS))
    if missing:
        facts["peers_missing"] = missing
    facts["seconds"] = round(time.monotonic() - began)
    facts |= {"cpus": os.cpu_count(), "load_before": round(load, 2)}
    print(json.dumps(facts["targets"], indent=1))
    (report.RESULTS / "gateway.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps({name: value for name, value in facts.items() if name != "targets"}))


if __name__ == "__main__":
    main()
