"""The driver: draws the outcomes of a round from its seed, lives through them on one network, and has them judged.

Kinds that trouble one request are under way together. A reorganisation and a kill trouble everybody: those are alone.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from ledger.store.receipts import receipts
from ledger.store.session import unit_of_work
from tests.attacks.battery import network as networks
from tests.attacks.battery import verdict
from tests.attacks.battery.clients import Heard, Payer
from tests.attacks.battery.kinds import CALM, KILLED, KINDS, REORGANISED, Kind, perform
from tests.attacks.battery.network import Grid
from tests.attacks.battery.play import Outcome, Play

PAYING_AT_ONCE, CALLING_AT_ONCE = 40, 12
"""Who pays waits for the chain most of the time."""
REORGANISED_AT_ONCE = 40
KILLED_AT_ONCE = 24
"""For each of the gateways."""


def drawn(count: int, random: Random) -> list[Kind]:
    """So many kinds by their shares, in any order; each at least once."""
    total = sum(kind.share for kind in KINDS)
    made = [kind for kind in KINDS for _ in range(max(1, count * kind.share // total))]
    made += random.choices(KINDS, [kind.share for kind in KINDS], k=max(0, count - len(made)))
    random.shuffle(made)
    return made


class Progress:
    """Says how far a round is, every few seconds."""

    def __init__(self, seed: str, total: int) -> None:
        self.seed, self.total, self.done, self._began, self._said = seed, total, 0, time.monotonic(), 0.0

    def step(self, what: str) -> None:
        self.done += 1
        if time.monotonic() - self._said > 5 or self.done == self.total:
            self._said = time.monotonic()
            seconds = self._said - self._began
            said = f"{self.seed}: {seconds:6.0f} s  {self.done:>6} of {self.total} outcomes  {what}"
            print(said, file=sys.stderr, flush=True)


async def live_through(play: Play, kinds: Sequence[Kind], progress: Progress) -> list[Outcome]:
    """All outcomes of a round, seen through as far as their clients care."""
    made = [(kind, kind.make(play, number)) for number, kind in enumerate(kinds)]
    payers = [outcome.account for _, outcome in made if isinstance(outcome.by, Payer)]
    await asyncio.to_thread(play.grid.fund, payers)
    calm = [(kind, outcome) for kind, outcome in made if kind in CALM]
    paying = [one for one in calm if isinstance(one[1].by, Payer)]
    calling = [one for one in calm if not isinstance(one[1].by, Payer)]
    await asyncio.gather(
        together(play, paying, PAYING_AT_ONCE, progress), together(play, calling, CALLING_AT_ONCE, progress)
    )
    await come_back(play, [outcome for _, outcome in calm])
    reorganised = [(kind, outcome) for kind, outcome in made if kind is REORGANISED]
    for start in range(0, len(reorganised), REORGANISED_AT_ONCE):
        part = reorganised[start : start + REORGANISED_AT_ONCE]
        await asyncio.gather(together(play, part, len(part), progress), reorganise(play, part[0][1].random))
    await come_back(play, [outcome for _, outcome in reorganised])
    killed = [(kind, outcome) for kind, outcome in made if kind is KILLED]
    halves = [[one for one in killed if one[1].number % 2 == gateway] for gateway in range(2)]
    await asyncio.gather(*(kill_while(play, gateway, half, progress) for gateway, half in enumerate(halves)))
    await come_back(play, [outcome for _, outcome in killed])
    return [outcome for _, outcome in made]


async def together(play: Play, made: Sequence[tuple[Kind, Outcome]], most: int, progress: Progress) -> None:
    """So many at a time."""
    free = asyncio.Semaphore(most)

    async def one(kind: Kind, outcome: Outcome) -> None:
        async with free:
            await perform(play, kind, outcome)
        play.write_down(outcome)
        progress.step(kind.name)

    async with asyncio.TaskGroup() as group:
        for kind, outcome in made:
            group.create_task(one(kind, outcome))


async def reorganise(play: Play, random: Random) -> None:
    """The chain loses its last blocks, and their transactions come back a little later."""
    await asyncio.sleep(random.uniform(1.5, 5))
    lost = await asyncio.to_thread(play.grid.forget_blocks, random.randint(1, 6))
    await asyncio.sleep(random.uniform(0, 2.5))
    await asyncio.to_thread(play.grid.send_again, lost)


async def kill_while(play: Play, gateway: int, made: Sequence[tuple[Kind, Outcome]], progress: Progress) -> None:
    """Kill a gateway, again and again, while calls of all ages are under way at it."""
    process = play.grid.gateways[gateway]
    for start in range(0, len(made), KILLED_AT_ONCE):
        part = made[start : start + KILLED_AT_ONCE]
        random = part[0][1].random

        async def strike(random: Random = random) -> None:
            await asyncio.sleep(random.uniform(0.1, 3.5))
            await asyncio.to_thread(process.kill)
            process.start()
            await asyncio.to_thread(process.wait)

        await asyncio.gather(together(play, part, len(part), progress), strike())


async def come_back(play: Play, outcomes: Sequence[Outcome]) -> None:
    """Whoever was charged and has no whole answer asks again: it must be there. Before that no call is under way."""
    await play.decided()
    lane = play.grid.network.lane

    def charged() -> set[int]:
        with unit_of_work(play.grid.network.engine) as session:
            known = receipts.by_calls(session, lane, [call for one in outcomes for call in one.calls(lane)])
        return {one.number for one in outcomes if set(one.calls(lane)) & set(known)}

    paid = await asyncio.to_thread(charged)
    waiting = [one for one in outcomes if one.number in paid and one.heard is not Heard.whole]
    for one in waiting:
        if not one.unkept:
            await play.see_through(one)
            one.heard_codes.append("came back")


def run(count: int, seed: str) -> verdict.Round:
    """One round on a network of its own: so many outcomes, and what the books say of them."""
    folder = Path(tempfile.mkdtemp(prefix="tollway-battery-", dir="/tmp"))
    folder.chmod(0o755)
    began = time.monotonic()
    try:
        grid = networks.start(folder)
        try:
            print(f"{seed}: the network is up after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            outcomes = asyncio.run(_live(grid, count, seed))
            judged = verdict.judge(grid, outcomes)
            judged.seconds = round(time.monotonic() - began)
        finally:
            grid.stop()
    except BaseException:
        print(f"the logs are in {folder}/local/logs", file=sys.stderr)
        raise
    if not judged.differences:
        shutil.rmtree(folder, ignore_errors=True)
    return judged


async def _live(grid: Grid, count: int, seed: str) -> list[Outcome]:
    await grid.open_wires()
    try:
        play = Play(grid, seed)
        kinds = drawn(count, Random(seed))
        return await live_through(play, kinds, Progress(seed, len(kinds)))
    finally:
        await grid.close_wires()
