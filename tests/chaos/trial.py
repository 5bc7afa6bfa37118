"""A seeded run: a network under load, one misfortune after another, and what the books say afterwards."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.armed import POINTS
from tests.chaos.checks import come_to_rest, recompute
from tests.chaos.load import Load
from tests.chaos.network import Network, payees, start
from tests.chaos.proxy import Wire
from tests.gateway.nodes import answering, dying

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results" / "chaos.json"
Misfortune = Callable[[Network, Random], None]
PAUSE_SECONDS = 2.0
WAIT_SECONDS = 120.0
"""How long a point may take to be reached, and a network to answer again."""


def killing(name: str) -> Misfortune:
    """kill -9 a component."""
    return lambda network, random: network.kill(name)


def at(point: str) -> Misfortune:
    """Die at a named point, whenever a process gets there."""

    def die(network: Network, random: Random) -> None:
        file = network.arm(point)
        deadline = time.monotonic() + WAIT_SECONDS
        while file.exists() and time.monotonic() < deadline:
            network.chain.rpc("evm_mine")
            time.sleep(0.2)
        if file.exists():
            file.unlink(missing_ok=True)
            raise NotReached(point)

    return die


class NotReached(Exception):
    """Nobody came to a point in time: counted, and told in the record."""


def a_cut_wire(network: Network, random: Random) -> None:
    """The worker does not reach the chain."""
    network.proxy.turn(Wire.cut)
    time.sleep(random.uniform(1, 4))
    network.proxy.turn(Wire.whole)


def a_deaf_wire(network: Network, random: Random) -> None:
    """The chain hears the worker, the worker does not hear the chain."""
    network.proxy.turn(Wire.deaf)
    time.sleep(random.uniform(1, 4))
    network.proxy.turn(Wire.whole)


def a_frozen_chain(network: Network, random: Random) -> None:
    """The chain's RPC takes requests and says nothing, to anybody, until it is well again."""
    with network.frozen("chain"):
        time.sleep(random.uniform(4, 12))


def a_jumping_clock(network: Network, random: Random) -> None:
    """The wall clock jumps half an hour, and back."""
    network.set_clock(random.choice((-1, 1)) * 1_800_000)
    time.sleep(3)
    network.set_clock(0)


def disordered_tasks(network: Network, random: Random) -> None:
    """What waits in the queue is delivered again, in another order."""
    for _ in range(10):
        network.disturb_tasks(random.shuffle)
        time.sleep(0.1)


def a_dying_node(network: Network, random: Random) -> None:
    """The node drops every connection for a while."""
    network.node.behaviour = dying
    time.sleep(1.5)
    network.node.behaviour = answering()


MISFORTUNES: dict[str, Misfortune] = {
    **{f"kill -9 {name}": killing(name) for name in ("gateway", "worker", "beat")},
    "kill -9 postgres": lambda network, random: network.kill_postgres(),
    "redis wiped": lambda network, random: network.wipe_redis(),
    "disk full": lambda network, random: network.fill_disk(2),
    "wire to the chain cut": a_cut_wire,
    "answers of the chain lost": a_deaf_wire,
    "the chain's RPC freezes": a_frozen_chain,
    "clock jumps": a_jumping_clock,
    "tasks doubled and reordered": disordered_tasks,
    "node dies": a_dying_node,
    **{f"dies at {point}": at(point) for point in POINTS},
}
SHORT = ("dies at 6-7 logged", "kill -9 postgres", "dies at 10 broadcast", "redis wiped", "kill -9 worker")
"""What every run of the tests lives through: gateway, PostgreSQL, worker, Redis; a minute on two quiet processors."""


def run(folder: Path, names: Sequence[str], random: Random) -> dict[str, Any]:
    """Live through these misfortunes; what it came to."""
    began = time.monotonic()
    network = start(folder)
    try:
        before = {payee: network.chain.balance(payee) for payee in payees()}
        survived: Counter[str] = Counter()
        missed: Counter[str] = Counter()
        with Load(network, random) as load:
            for name in names:
                answered = load.answered
                print(f"{time.monotonic() - began:6.0f} s {answered:>6} calls  {name}", file=sys.stderr, flush=True)
                try:
                    MISFORTUNES[name](network, random)
                    survived[name] += 1
                except NotReached:
                    missed[name] += 1
                network.until(partial(load.went_on, answered), WAIT_SECONDS, f"calls are answered again after: {name}")
                time.sleep(PAUSE_SECONDS)
        come_to_rest(network)
        found = recompute(network, load, before)
        tries = sum(caller.tries for caller in load.callers)
    finally:
        network.stop()
    facts = asdict(found) | {"tries": tries, "seconds": round(time.monotonic() - began)}
    return facts | {"survived": dict(survived), "not_reached": dict(missed)}


def main() -> None:
    """A long run, by its seed; its record goes to bench/results/chaos.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="how often every misfortune happens")
    options = parser.parse_args()
    random = Random(options.seed)
    names = [name for _ in range(options.rounds) for name in random.sample(list(MISFORTUNES), len(MISFORTUNES))]
    folder = Path(tempfile.mkdtemp(prefix="tollway-chaos-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        facts = run(folder, names, random)
    except BaseException:
        print(f"the logs are in {folder}/local/logs")
        raise
    shutil.rmtree(folder, ignore_errors=True)
    record = {"seed": options.seed, "rounds": options.rounds, **facts}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record))
    raise SystemExit(1 if facts["differences"] else 0)


if __name__ == "__main__":
    main()
