"""Two gateway processes on two cores beside one, in turn: what a second process adds, and what keeps it from more.

    make bench-two      three rounds of one, the other, and both, plain and streamed

Load, node and database run on the same cores: what a call costs in all of them says how many calls a second the machine
can have at most (`possible`), and `shared` how much more CPU a call costs a gateway when another one runs beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import report
from bench.gateway.__main__ import Target, cpu_seconds, gateway_process, key_for, running
from bench.grid import a_grid
from tests.conftest import free_port
from tests.gateway.world import a_signer

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CONNECTIONS = 16
KINDS = ("plain", "stream")


def busy() -> float:
    """CPU seconds of the whole machine so far."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft = map(int, fields[:7])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def measure(gateways: list[Target], kind: str) -> dict[str, float]:
    """One run over these gateways at once, each with a load of its own."""
    before, machine = [cpu_seconds(one.pid) for one in gateways], busy()
    words = [[one.port, one.path, CONNECTIONS, SECONDS, kind, one.key, one.model, ""] for one in gateways]
    commands = [[sys.executable, "-m", "bench.gateway.load", *map(str, said)] for said in words]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    runs = [json.loads(load.communicate(timeout=120)[0]) for load in started]
    assert not any(run["failed"] for run in runs), runs
    calls = sum(run["calls"] for run in runs)
    own = sum(cpu_seconds(one.pid) - at for one, at in zip(gateways, before, strict=True))
    return {
        "per_second": sum(run["per_second"] for run in runs),
        "gateway_us": 1e6 * own / calls,
        "machine_us": 1e6 * (busy() - machine) / calls,
    }


def two_gateways(stack: ExitStack) -> list[Target]:
    """Two gateways of one lane, over a durable database, with one model."""
    upstream = free_port()
    stack.enter_context(running("bench.gateway.upstream", str(upstream), port=upstream))
    world = stack.enter_context(a_grid())
    world.a_model_at(f"http://127.0.0.1:{upstream}", ask={"input_token": "2000000", "output_token": "8000000"})
    world.deposit(a_signer("bench").address, 10**15)
    ports = [free_port(), free_port()]
    pids = [stack.enter_context(gateway_process(world, port, f"bench gateway {port}")) for port in ports]
    key = key_for(world, ports[0])
    return [Target(f"gateway {n}", port, pid, key) for n, (port, pid) in enumerate(zip(ports, pids, strict=True))]


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """The medians of the rounds."""
    return {what: round(median(run[what] for run in runs), 1) for what in runs[0]}


def main() -> None:
    """Measure, tell, write the results."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {kind: {"one": [], "two": []} for kind in KINDS}
    with ExitStack() as stack:
        gateways = two_gateways(stack)
        for kind in KINDS:
            measure(gateways, kind)  # warm
            for _ in range(ROUNDS):
                for which, some in (("one", gateways[:1]), ("two", gateways), ("one", gateways[1:])):
                    found[kind][which].append(measure(some, kind))
    facts: dict[str, object] = {}
    for kind, runs in found.items():
        one, two = middle(runs["one"]), middle(runs["two"])
        possible = 1e6 * (os.cpu_count() or 1) / two["machine_us"]
        facts[kind] = {
            "one": one,
            "two": two,
            "times": round(two["per_second"] / one["per_second"], 2),
            "possible_times": round(possible / one["per_second"], 2),
            "shared": round(two["gateway_us"] / one["gateway_us"], 3),
        }
    facts["cpus"] = os.cpu_count()
    (report.RESULTS / "two.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
