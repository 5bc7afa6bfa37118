"""Thousands of lives of the settlement flows, and the proof that the simulation would notice if they were wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Engine

from ledger.core.settlement import transactions as core
from ledger.core.settlement.batches import Status
from ledger.core.settlement.transactions import Step
from ledger.flows import batches as settling
from ledger.flows import indexer
from ledger.flows import transactions as transmitting
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches, transactions
from tests.chaos import naive, weather
from tests.chaos.memory import BATCHES, CHAIN_TRANSACTIONS, POSTINGS, STORE, MemoryStore, in_memory
from tests.chaos.simulation import STORM_TICKS, Life, SqlStore, a_life
from tests.chaos.weather import CLEAR, LANE, STORM, TRIALS, Weather

SEEDS = int(os.environ.get("TOLLWAY_SEEDS", "3000"))
BREEZE = replace(CLEAR, claims=True)


def live(seed: int, weather: Weather = STORM, crash_at: int = -1, ticks: int = STORM_TICKS) -> tuple[Life, list[str]]:
    """The life of a seed over the store in memory, and its faults."""
    with in_memory():
        life = a_life(seed, weather, MemoryStore(), crash_at)
        return life, life.live(ticks)


def one(task: tuple[int, Weather]) -> tuple[int, int, list[str]]:
    """A seed, the crashes it survived, and its faults."""
    life, faults = live(*task)
    return task[0], life.crashes, faults


def many(seeds: int, weather: Weather) -> tuple[int, dict[int, list[str]]]:
    """How many crashes that many lives survived, and the faulty ones. All processors take part."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as pool:
        lives = list(pool.map(one, ((seed, weather) for seed in range(seeds)), chunksize=50))
    return sum(crashes for _, crashes, _ in lives), {seed: faults for seed, _, faults in lives if faults}


@pytest.mark.slow
def test_no_life_in_a_storm_has_a_fault() -> None:
    crashes, faults = many(SEEDS, STORM)
    assert faults == {}
    assert crashes > 3 * SEEDS


def test_no_life_with_verdicts_against_us_has_a_fault() -> None:
    assert many(SEEDS // 10, TRIALS)[1] == {}


def test_a_life_is_the_same_every_time() -> None:
    first, second = live(7)[0], live(7)[0]
    assert first.steps == second.steps
    assert first.store.tables == second.store.tables  # type: ignore[attr-defined]


@pytest.mark.slow
def test_dying_at_every_single_step_changes_nothing_in_the_end() -> None:
    steps = live(1, BREEZE, crash_at=10**9, ticks=6)[0].steps
    assert steps > 300
    for step in range(1, steps, max(1, steps // 200)):
        life, faults = live(1, BREEZE, crash_at=step, ticks=6)
        assert (life.crashes, faults) == (1, []), step


def test_naive_settlement_fails_nearly_every_seed() -> None:
    def commit(s: Any, lane: object, calls: object, now: int) -> None:
        naive.commit(s, _chain_of[0], now)

    _chain_of: list[Any] = []
    faults = 0
    for seed in range(100):
        with in_memory(), mock.patch.object(naive, "batches", BATCHES), mock.patch.object(naive, "postings", POSTINGS):
            life = a_life(seed, STORM, MemoryStore())
            _chain_of[:] = [life.chain]
            with mock.patch.object(settling, "commit", commit):
                faults += bool(life.live(STORM_TICKS))
    assert faults > 80


def _never(*args: object) -> None:
    """Leave out a protection."""


def _no_reorganisation(real: Callable[..., Step]) -> Callable[..., Step]:
    def step(*args: Any) -> Step:
        found = real(*args)
        return Step.wait if found is Step.note_gone else found

    return step


@contextlib.contextmanager
def _new_nonce_for_a_replacement() -> Iterator[None]:
    """Replace by giving the intention another nonce, as if the first bytes could no longer be mined."""

    wires: list[Any] = []
    add = CHAIN_TRANSACTIONS.add_attempt

    def same_fee(wire: Any, found: Any, attempts: Any, now: int, policy: Any) -> Any:
        wires.append(wire)
        return replace(attempts[-1], ordinal=len(attempts), signed_at=now)

    def add_attempt(s: Any, lane: Any, attempt: Any) -> None:
        if wires:
            wire, found = wires.pop(), s.chain_transactions[attempt.chain_transaction]
            nonce = transmitting.transactions.next_nonce(s, found.sender, wire.nonces(found.sender))  # type: ignore[attr-defined]
            raw, hashed = wire.sign((found.target, found.data), nonce, found.gas, wire.fee())
            attempt = replace(attempt, raw=raw, hash=hashed)
            s.chain_transactions[found.id] = replace(found, nonce=nonce)
        add(s, lane, attempt)

    with (
        mock.patch.object(transmitting, "replace_by_fee", same_fee),
        _in_store("transactions", "add_attempt", add_attempt),
    ):
        yield


@contextlib.contextmanager
def _in_store(module: str, name: str, other: Callable[..., object]) -> Iterator[None]:
    with mock.patch.object(STORE[module], name, other):
        yield


PLANTED: dict[str, Callable[[], Any]] = {
    "a replacement takes another nonce": _new_nonce_for_a_replacement,
    "a mined transaction is never looked at again": lambda: mock.patch.object(
        transmitting, "next_step", _no_reorganisation(core.next_step)
    ),
    "what was confirmed is not reopened by a reorganisation": lambda: _in_store("transactions", "reopen", _never),
    "confirmed without asking the indexer": lambda: mock.patch.object(
        transmitting.chain_time,  # type: ignore[attr-defined]
        "get",
        return_value=weather.far_ahead(),
    ),
    "a gap in the nonces is not filled": lambda: mock.patch.object(transmitting, "missing_nonce", _never),
    "a failed purpose is not intended again": lambda: mock.patch.object(
        core, "may_try_again", lambda last, tries, now: last is None
    ),
    "a batch settles once for all": lambda: _in_store("postings", "is_booked", lambda *args: False),
    "a failed commit is forgotten": lambda: mock.patch.object(settling, "_retry", _never),
    "a block is read before it is confirmed, and never again": lambda: mock.patch.object(
        indexer, "_is_canonical", return_value=True
    ),
    "a verdict is for ever": lambda: mock.patch.object(indexer, "_restore_batches", _never),
    "what was built in the place of a batch stands beside it": lambda: mock.patch.object(indexer, "_reinstate", _never),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_seen(planted: str) -> None:
    with in_memory(), PLANTED[planted]():
        assert any(one_planted(seed) for seed in range(400))


def one_planted(seed: int) -> list[str]:
    """A life in the store the test has made."""
    return a_life(seed, TRIALS, MemoryStore()).live(STORM_TICKS)


@pytest.mark.parametrize("seed", range(3))
def test_postgresql_lives_the_same_life_step_for_step(engine: Engine, seed: int) -> None:
    storm = replace(STORM, crashes=30)
    with in_memory():
        likeness = a_life(seed, storm, MemoryStore(by_statement=False))
        assert likeness.live(12) == []
        with likeness.store.read() as session:
            accounts = {name: tuple(entries) for name, entries in session.accounts.items()}  # type: ignore[attr-defined]
            sent = {t.purpose: (t.status, t.nonce) for t in session.chain_transactions.values() if t.nonce is not None}  # type: ignore[attr-defined]
    real = a_life(seed, storm, SqlStore(engine))
    assert real.live(12) == []
    assert (real.steps, real.crashes) == (likeness.steps, likeness.crashes)
    with unit_of_work(engine) as session:
        assert {name: tuple(entries) for name, entries in postings.entries(session, LANE).items()} == accounts
        names = [name for _, name, _ in transactions.nonces_from(session, weather.SENDER, 0).values()]
        found = [transactions.get(session, LANE, name) for name in names]
        assert {t.purpose: (t.status, t.nonce) for t in found if t} == sent
        assert {b.status for b in batches.with_status(session, LANE, *Status)} <= {Status.final, Status.void}
