"""Nodes come and go as they like: how many answers are right when only a part of the nodes is online.

    python -m bench.churn [--nodes 10] [--seconds 90] [--rate 4] [--attempts 5]

Figure 6 of the AI-ModelNet paper, in small, on the task of `bench.triage`. Real node processes, a real gateway with
durable receipts. At every moment a share of the nodes is online; one of the others joins, and as soon as it listens one
of those leaves without a word, again and again: SIGKILL, or SIGSTOP, which leaves its sockets open. Offers stay in the
book all the time, so the gateway is told nothing and has to notice.

Each message is asked in four ways, for online rates from 1, where nobody can be replaced, to 0.5. A call that is not
answered counts as a wrong answer.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench import report
from bench.chart import Curve, chart
from bench.churn.crowd import SERVED, Crowd, prepare
from bench.collaboration import CAPSULES, ask, infer, sell, wait_for, weave
from bench.grid import a_grid, receipts_of
from bench.triage.task import Message, messages
from tests.conftest import free_port
from tests.gateway.world import WEAVER, Running, World, a_signer

ONLINE = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
PAUSE_SECONDS = 4.0
"""Between two turns, each of which takes as long as a node takes to start. Longer than who asks a node waits for it."""
SILENT_SECONDS = 1.0
"""How long a node may be silent: for the gateway, and for who asks a node directly."""
APART = Path(__file__).parent / "online.json"
FOUR = ("large", "general-a", "general-b", "general-c")
WAYS = {
    "single": "one model on one node, no network",
    "same": "the same model on every node",
    "debate": "debate of three, on every node",
    "apart": "vote of four, each on one node",
}


class Answer(NamedTuple):
    """Of one call: how long it took, whether it was right, its price, and why it failed if it did."""

    seconds: float
    right: bool = False
    atoms: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A gateway, the nodes behind it, and the names of the workflows whose models have one node each."""

    world: World
    gateway: Running
    crowd: Crowd
    apart: Sequence[str]
    direct: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=SILENT_SECONDS))

    def asks(self, way: str, share: float) -> Callable[[int, str], tuple[str, int]]:
        """What asks a message by its number, with a consumer of its own for each way and share."""
        if way == "single":
            return self._directly
        names = {"same": ["@triage/large"], "debate": ["@wanda/debate"], "apart": self.apart}[way]
        consumer = a_signer(f"{way} {share}")
        self.world.deposit(consumer.address, 10**12)
        key = self.gateway.key(consumer)
        return lambda number, text: ask(self.gateway, key, names[number % len(names)], text)

    def _directly(self, number: int, text: str) -> tuple[str, int]:
        """The large model at one node, another one for each message; nobody is paid."""
        port = self.crowd.ports[number % len(self.crowd.ports)]
        return infer(self.direct, f"http://127.0.0.1:{port}/v2/models/large/infer", text)[0], 0


def build(world: World, crowd: Crowd, attempts: int) -> Network:
    """Every model on every node, and each workflow of models that have one node each, beginning at another node."""
    nodes = {port: a_signer(f"node {number}") for number, port in enumerate(crowd.ports)}
    models = sell(world, nodes, "triage", SERVED)
    homes = [sell(world, {port: nodes[port]}, f"home-{number}", FOUR) for number, port in enumerate(crowd.ports)]
    gateway = world.gateway(attempts=attempts, connect_seconds=0.5, first_byte_seconds=SILENT_SECONDS)
    world.deposit(WEAVER.address, 10**12)
    gateway.key(WEAVER)
    apart = []
    for number in range(len(homes)):
        spread = {model: homes[(number + step) % len(homes)][model] for step, model in enumerate(FOUR)}
        apart.append(weave(gateway, APART, spread, f"@wanda/online-{number}"))
    wait_for(gateway, [weave(gateway, CAPSULES / "debate.json", models), *apart])
    return Network(world, gateway, crowd, apart)


def answer(asks: Callable[[int, str], tuple[str, int]], number: int, message: Message) -> Answer:
    """One call."""
    began = time.perf_counter()
    try:
        said, atoms = asks(number, message.text)
    except httpx.HTTPStatusError as error:
        return Answer(time.perf_counter() - began, failed=str(error.response.status_code))
    except httpx.TransportError as error:
        return Answer(time.perf_counter() - began, failed=type(error).__name__)
    return Answer(time.perf_counter() - began, said == message.label, atoms)


def load(network: Network, share: float, test: Sequence[Message], rate: float) -> dict[str, list[Answer]]:
    """Every message in every way, at a steady rate: sent on time whether or not the last has come back."""
    asks = {way: network.asks(way, share) for way in WAYS}
    calls: dict[str, list[Future[Answer]]] = {way: [] for way in WAYS}
    with ThreadPoolExecutor(64) as pool:
        began = time.monotonic()
        for number, message in enumerate(test):
            time.sleep(max(0, began + number / rate - time.monotonic()))
            for way in WAYS:
                calls[way].append(pool.submit(answer, asks[way], number, message))
        return {way: [call.result() for call in waiting] for way, waiting in calls.items()}


def churn(crowd: Crowd, stop: threading.Event) -> int:
    """Turns one node over after the other; how many times."""
    turns = 0
    while not stop.wait(PAUSE_SECONDS):
        turns += crowd.turn_over()
    return turns


def counted(answers: Sequence[Answer]) -> dict[str, float]:
    """What a way's answers come to."""
    served = [one for one in answers if not one.failed]
    seconds = sorted(one.seconds for one in served)
    failed = Counter(one.failed for one in answers if one.failed)
    return {
        "answered": round(len(served) / len(answers), 4),
        "accuracy": round(sum(one.right for one in answers) / len(answers), 4),
        "atoms_a_call": round(sum(one.atoms for one in served) / len(served), 1),
        "p50_ms": round(1000 * seconds[len(seconds) // 2], 1),
        "p95_ms": round(1000 * seconds[len(seconds) * 19 // 20], 1),
        **{f"failed_{why}": count for why, count in sorted(failed.items())},
    }


def measure(network: Network, test: Sequence[Message], rate: float) -> list[dict[str, Any]]:
    """A row for each online rate. What its consumers were charged is what their answers said: who fails is not paid."""
    rows = []
    for share in ONLINE:
        network.crowd.reach(round(share * len(network.crowd.ports)))
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            turning = pool.submit(churn, network.crowd, stop)
            try:
                answers = load(network, share, test, rate)
            finally:
                stop.set()
        for way in WAYS:
            charged = receipts_of(network.world, a_signer(f"{way} {share}").address)
            assert sum(one.receipt.charge for one in charged) == sum(one.atoms for one in answers[way]), way
        row = {"online": share, "turnovers": turning.result()} | {way: counted(answers[way]) for way in WAYS}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=90, help="for each online rate")
    parser.add_argument("--rate", type=float, default=4, help="messages a second, each asked in every way")
    parser.add_argument("--attempts", type=int, default=5, help="nodes that are asked for a call, at most")
    given = parser.parse_args()
    prepare()
    crowd = Crowd([free_port() for _ in range(given.nodes)])
    try:
        with a_grid() as world:
            crowd.reach(given.nodes)
            network = build(world, crowd, given.attempts)
            test = messages(int(given.seconds * given.rate), "collaboration")
            rows = measure(network, test, given.rate)
    finally:
        crowd.end()
    report.save("churn", {**vars(given), "left": crowd.left, "ways": WAYS, "rates": rows})
    turned = sum(row["turnovers"] for row in rows)
    said = f"{given.nodes} nodes, one replaced every {given.seconds * (len(rows) - 1) / max(1, turned):.1f} s"
    draw("churn", "Right answers while nodes come and go", said, "accuracy", rows)
    draw("churn-answered", "Calls answered while nodes come and go", said, "answered", rows)


def draw(name: str, title: str, said: str, value: str, rows: Sequence[dict[str, Any]]) -> None:
    """One value of every way against the online rate, as SVG."""
    curves = [Curve(label, [(row["online"], row[way][value]) for row in rows]) for way, label in WAYS.items()]
    (report.RESULTS / f"{name}.svg").write_text(
        chart(title, said, "share of nodes online", f"{value}, of all calls", curves)
    )


if __name__ == "__main__":
    main()
