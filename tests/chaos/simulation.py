"""One seeded life of the settlement flows: a worker that may die at any statement, over a chain under bad weather.

The flows are the product's own (indexing, settling, transmitting). What is simulated is around them: the chain, the
database's durability, the order and repetition of tasks. After the storm comes calm weather, in which everything must
come to rest with ledger and chain equal; faults are what does not hold on the way or at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias

from sqlalchemy import Engine
from sqlmodel import Session

from ledger.core.settlement.transactions import Policy
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Domain
from ledger.flows import batches, indexer, transactions
from ledger.flows.indexer import Network
from ledger.store.session import unit_of_work
from tests.chaos import books
from tests.chaos.weather import CLEAR, LANE, SENDER, SimCalls, SimChain, Weather

NETWORK = Network(chain_id=31337, lane=LANE, start_block=1, confirmations=2)
POLICY = Policy(confirmations=2, stuck_ms=60_000, max_fee=5_000)
LANE_SETTINGS = batches.Lane(LANE, Domain(31337), SENDER, batch_calls=50, batch_ms=0)
STORM_TICKS = 30
CALM_TICKS = 400
REST_TICKS = 5
"""How long all must stay at rest before it counts: a reorganisation may still be on its way to the indexer."""
CALLS = SimCalls()

Task: TypeAlias = Callable[[Session], object]


class Crash(BaseException):
    """kill -9."""


class Store(Protocol):
    """A database: PostgreSQL, or its likeness in memory."""

    def read(self) -> AbstractContextManager[Session]:
        """What is committed, to look at."""

    def unit_of_work(self, step: Callable[[], None]) -> AbstractContextManager[Session]:
        """One transaction. `step` may end the process: it is called before the commit, after it, or more often."""


class SqlStore:
    """PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def read(self) -> AbstractContextManager[Session]:
        """A transaction of its own."""
        return unit_of_work(self.engine)

    @contextmanager
    def unit_of_work(self, step: Callable[[], None]) -> Iterator[Session]:
        """The process may end before the commit and after it."""
        with unit_of_work(self.engine) as session:
            yield session
            step()
        step()


@dataclass
class Life:
    """A worker, its store and its chain."""

    random: Random
    chain: SimChain
    store: Store
    crash_at: int = -1
    """The step to die at, counted from the start; negative: by the weather's chance."""
    steps: int = 0
    crashes: int = 0

    def live(self, ticks: int) -> list[str]:
        """Storm, calm, and the verdict: every fault found, in words."""
        with self.store.unit_of_work(lambda: None) as session:
            books.open_books(session)
        faults = [fault for _ in range(ticks) for fault in self._tick()]
        self.chain.weather = CLEAR
        rest = 0
        for _ in range(CALM_TICKS):
            faults += self._tick()
            with self.store.read() as session:
                rest = rest + 1 if books.is_at_rest(session) else 0
            if faults or rest > REST_TICKS:
                break
        with self.store.read() as session:
            return faults + books.faults(session, self.chain)

    def _tick(self) -> list[str]:
        """Some time, a few calls, and the worker's tasks in any order, some of them twice."""
        self.chain.tick()
        now = self.chain.tip.block.timestamp * 1_000
        calm = self.chain.weather is CLEAR
        tasks = self._tasks(now)
        if calm or self.random.random() < 0.15:
            tasks.append(lambda s: books.close(s, now))
        if not calm:
            tasks += self.random.choices(tasks, k=2)
            calls = self.random.choice((0, 0, 1, 3))
            tasks += [lambda s: books.charge(s, calls)] if calls else []
            self.random.shuffle(tasks)
        return [fault for task in tasks if (fault := self._run(task))]

    def _tasks(self, now: int) -> list[Task]:
        with self.store.read() as session:
            reviews = books.under_way(session)
        return [
            lambda s: indexer.index_next(s, self.chain, NETWORK, now),
            lambda s: batches.commit(s, LANE_SETTINGS, CALLS, now),
            lambda s: batches.finalize(s, LANE_SETTINGS, CALLS, now),
            lambda s: transactions.sign_next(s, LANE, self.chain, SENDER, now),
            *(self._review(name, now) for name in reviews),
        ]

    def _review(self, name: Digest, now: int) -> Task:
        return lambda s: transactions.review(s, LANE, self.chain, name, now, POLICY)

    def _run(self, task: Task) -> str:
        """One task in its unit of work. An error that is not bad weather is a fault."""
        try:
            with self.store.unit_of_work(self._step) as session:
                task(session)
        except Unavailable:
            pass
        except Crash:
            self.crashes += 1
        except (Conflict, Rejected, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        sent = self.chain.just_sent()
        with self.store.read() as session:
            return "" if all(books.is_stored(session, raw) for raw in sent) else "bytes were sent that are not stored"

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at or (
            self.crash_at < 0 and self.random.random() * 1_000 < self.chain.weather.crashes
        ):
            raise Crash


def a_life(seed: int, weather: Weather, store: Store, crash_at: int = -1) -> Life:
    """The life of a seed."""
    return Life(Random(seed), SimChain(Random(seed + 1), weather), store, crash_at)
