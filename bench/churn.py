"""Nodes come and go as they like: how many calls succeed when only a part of them is online.

    python -m bench.churn [--nodes 10] [--seconds 15] [--rate 20] [--attempts 5]

Real node processes, a real gateway with durable receipts. At every moment a share of the nodes is online; one of the
others joins, and as soon as it listens one of those leaves (half of them by SIGKILL, without a word), again and again.
Offers stay in the book all the time, so the gateway is told nothing and has to notice. Measured for online rates from
1, where nobody can be replaced, to 0.5, with the gateway's fallback before the first byte and without it; the curve is
the AI-ModelNet paper's figure on dynamic nodes, in small.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import httpx

from bench import report
from bench.chart import Curve, chart
from bench.crowd import NAME, Crowd, prepare
from bench.grid import a_grid, receipts_of
from tests.conftest import free_port
from tests.gateway.world import Running, World, a_model, a_signer

ONLINE = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
TEXT = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["thank you, i love it"]}]}


async def load(gateway: Running, key: str, seconds: float, rate: float) -> dict[str, float]:
    """Calls at a steady rate, each sent on time whether or not the last has come back."""
    took: list[float] = []
    failed: dict[int, int] = {}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=20, headers={"Authorization": f"Bearer {key}"}) as http:

        async def one() -> None:
            began = time.perf_counter()
            answer = await http.post(f"/v2/models/{NAME}/infer", json=TEXT)
            if answer.status_code == 200:
                took.append(time.perf_counter() - began)
            else:
                failed[answer.status_code] = failed.get(answer.status_code, 0) + 1

        calls = []
        for number in range(int(seconds * rate)):
            calls.append(asyncio.create_task(one()))
            await asyncio.sleep(1 / rate)
            del number
        await asyncio.gather(*calls)
    total = len(took) + sum(failed.values())
    took.sort()
    return {
        "calls": total,
        "success": round(len(took) / total, 4),
        "p50_ms": round(1000 * took[len(took) // 2], 1),
        "p95_ms": round(1000 * took[len(took) * 19 // 20], 1),
        **{f"failed_{status}": count for status, count in failed.items()},
    }


async def churn(crowd: Crowd, stop: asyncio.Event) -> int:
    """Turns one node over after the other, with half a second between; how many times."""
    turns = 0
    while not stop.is_set():
        turned = await asyncio.to_thread(crowd.turn_over)
        turns += turned
        await asyncio.sleep(0.5)
    return turns


async def measure(world: World, crowd: Crowd, seconds: float, rate: float, attempts: int) -> list[dict[str, float]]:
    """A row for each online rate."""
    with_fallback = world.gateway("falls-back", attempts=attempts, connect_seconds=0.5)
    without = world.gateway("once", attempts=1, connect_seconds=0.5)
    rows = []
    for share in ONLINE:
        row: dict[str, float] = {"online": share}
        for label, gateway in (("", with_fallback), ("once_", without)):
            consumer = a_signer(f"churn {share} {label}")
            world.deposit(consumer.address, 10**12)
            crowd.reach(round(share * len(crowd.ports)))
            stop = asyncio.Event()
            turning = asyncio.create_task(churn(crowd, stop))
            found = await load(gateway, gateway.key(consumer), seconds, rate)
            stop.set()
            row[f"{label}turnovers"] = await turning
            answered, receipts = round(found["calls"] * found["success"]), receipts_of(world, consumer.address)
            assert receipts >= answered, f"{answered} calls were answered and {receipts} have a receipt"
            row |= {f"{label}{name}": value for name, value in found.items()}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rate", type=float, default=20, help="calls a second")
    parser.add_argument("--attempts", type=int, default=5, help="nodes that are asked for a call, at most")
    given = parser.parse_args()
    prepare()
    crowd = Crowd([free_port() for _ in range(given.nodes)])
    try:
        with a_grid() as world:
            subject = world.publish(a_model(NAME, protocol="oip/2"))
            for number, port in enumerate(crowd.ports):
                world.serve(subject, f"http://127.0.0.1:{port}", provider=a_signer(f"node {number}"), tier="edge")
            rows = asyncio.run(measure(world, crowd, given.seconds, given.rate, given.attempts))
    finally:
        for process in crowd.online.values():
            process.kill()
    facts = {**vars(given), "rates": rows}
    report.save("churn", facts)
    curves = [
        Curve(
            f"up to {given.attempts} nodes asked, before the first byte",
            [(row["online"], row["success"]) for row in rows],
        ),
        Curve("one node asked", [(row["online"], row["once_success"]) for row in rows]),
    ]
    turned = sum(row["turnovers"] + row["once_turnovers"] for row in rows)
    every = given.seconds * 2 * (len(rows) - 1) / max(1, turned)
    said = f"{given.nodes} nodes, one replaced every {every:.1f} s, {given.rate:.0f} calls a second"
    (report.RESULTS / "churn.svg").write_text(
        chart("Success rate under churn", said, "share of nodes online", "calls answered", curves)
    )


if __name__ == "__main__":
    main()
