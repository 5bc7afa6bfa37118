"""A seeded run: a network under load, one misfortune after another, and what the books say afterwards."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx

from ledger.chain.errors import Reverted
from ledger.core.accounts.accounts import withdrawing
from ledger.core.settlement.batches import settles_exit
from ledger.core.values.ids import to_hex
from ledger.store.money import postings
from ledger.store.receipts import receipts
from ledger.store.session import unit_of_work
from tests.chaos.armed import POINTS
from tests.chaos.checks import come_to_rest, recompute
from tests.chaos.load import Load
from tests.chaos.network import DEPOSIT, LEAVER, NOTICE_SECONDS, Network, is_told, key_of, payees, start, stream
from tests.chaos.proxy import Wire
from tests.gateway import nodes
from tests.gateway.nodes import Asked, answering, dying, piece

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results" / "chaos.json"
Misfortune = Callable[[Network, Random], None]
PAUSE_SECONDS = 2.0
ABSENT_SECONDS = 600
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


def an_absent_chain(network: Network, random: Random) -> None:
    """The chain says nothing for ten minutes: all clocks go on by that, and calls are served."""
    with network.frozen("chain"):
        network.set_clock(ABSENT_SECONDS * 1_000)
        for n in range(3):
            network.until(partial(is_told, network, f"without a chain {n}"), WAIT_SECONDS, "calls without a chain")
            time.sleep(PAUSE_SECONDS)
    network.chain.rpc("evm_increaseTime", ABSENT_SECONDS)
    network.chain.rpc("evm_mine")


def a_withdrawal_in_a_stream(network: Network, random: Random) -> None:
    """A consumer asks the chain for its deposit while it streams. It pays the stream, and is paid the rest."""
    leaves = threading.Event()

    async def behave(asked: Asked, wire: nodes.Wire) -> None:
        if not asked.json.get("stream"):
            return await answering()(asked, wire)
        await wire.begin()
        while not leaves.is_set():
            await wire.event(piece("t "))
            await asyncio.sleep(0.1)
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        return await wire.end()

    network.node.behaviour, lane, who = behave, network.lane, LEAVER.address
    network.told.append(stream(network, key_of(network, LEAVER), partial(ask_to_leave, network, leaves)))
    network.node.behaviour = answering()

    def is_settled() -> bool:
        network.chain.rpc("evm_increaseTime", 2)
        network.chain.rpc("evm_mine")
        asked_at = network.chain.account(lane, who).requested_at
        return settles_exit(network.chain.head(lane).final_closed_at, asked_at, NOTICE_SECONDS)

    network.until(is_settled, WAIT_SECONDS, "a final batch by which the leaver leaves")
    with unit_of_work(network.engine) as session:
        [signed] = receipts.of_consumer(session, lane, who)
    assert signed.receipt.charge > 0
    before = network.chain.balance(who)

    def is_paid() -> bool:
        """The proof is of the batch that is final on chain, or soon of another."""
        proof = httpx.get(f"{network.url}/v1/proofs/debit/{to_hex(who)}", timeout=30).json()
        siblings = [bytes.fromhex(word[2:]) for word in proof.get("proof", ())]
        try:
            network.chain.transact(LEAVER, network.chain.calls.withdraw(lane, who, signed.receipt.charge, siblings))
        except Reverted:
            return False
        return True

    network.until(is_paid, WAIT_SECONDS, "the leaver's deposit is paid back")
    assert network.chain.balance(who) == before + DEPOSIT - signed.receipt.charge


def ask_to_leave(network: Network, leaves: threading.Event) -> None:
    """Until what the leaver has left cannot be spent any more; then its stream may end."""
    network.chain.transact(LEAVER, network.chain.calls.to("Consumers", "requestWithdraw", network.lane))

    def is_set_aside() -> bool:
        with unit_of_work(network.engine) as session:
            return bool(postings.balance(session, network.lane, withdrawing(LEAVER.address)))

    network.until(is_set_aside, WAIT_SECONDS, "the leaver's deposit is set aside")
    leaves.set()


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
    "the chain is away for ten minutes": an_absent_chain,
    "a consumer withdraws in a stream": a_withdrawal_in_a_stream,
    "clock jumps": a_jumping_clock,
    "tasks doubled and reordered": disordered_tasks,
    "node dies": a_dying_node,
    **{f"dies at {point}": at(point) for point in POINTS},
}
SHORT = ("dies at 6-7 logged", "kill -9 postgres", "dies at 10 broadcast", "redis wiped", "kill -9 worker")
"""What every run of the tests lives through: gateway, PostgreSQL, worker, Redis; a minute on two quiet processors."""
LONG = ("clock jumps", "the chain is away for ten minutes", "disk full")
"""And what takes longer than a kill."""
ONCE = ("a consumer withdraws in a stream",)
"""There is one such consumer."""


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
    often = [name for name in MISFORTUNES if name not in ONCE]
    names = [*ONCE, *(name for _ in range(options.rounds) for name in random.sample(often, len(often)))]
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
