"""The key that commits is followed by another: every batch comes on chain once, whatever the old one left behind."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from ledger.core.settlement.batches import Status
from ledger.core.settlement.transactions import Policy
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Signer
from ledger.flows import audits, transactions
from ledger.flows import batches as settling
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches
from ledger.store.settlement import transactions as stored
from tests.ledger.chain.conftest import Stage, stage
from tests.ledger.flows.test_on_a_chain import Operator

__all__ = ["stage"]
POLICY = Policy(confirmations=0, stuck_ms=1_000, max_fee=10**12)


class Worker(Operator):
    """A worker with a key of the lane's, and a clock of its own."""

    def __init__(self, engine: Engine, stage: Stage) -> None:
        super().__init__(engine, stage)
        self.key, self.now = stage.key(stage.operator), 1_000

    def follow(self, key: Signer) -> None:
        """The operator names another key, and the worker starts again with it."""
        call = self.chain.calls.to_settlement("setPoster", self.stage.lane, key.address)
        self.chain.transact(self.stage.key(self.stage.operator), call)
        self.key = key

    def close_and_intend(self) -> batches.Batch:
        with unit_of_work(self.engine) as session:
            batch = settling.close(session, self.lane, 0, self.now)
            assert batch is not None
            assert settling.commit(session, self.lane, self.chain.calls, self.now)
        return batch

    def sign(self) -> Digest | None:
        with unit_of_work(self.engine) as session:
            wire = self.chain.with_key(self.key)
            return transactions.sign_next(session, self.stage.lane, wire, self.key.address, self.now)

    def review(self) -> None:
        """Review what is under way."""
        wire = self.chain.with_key(self.key)
        with unit_of_work(self.engine) as session:
            under_way = transactions.under_way(session, self.stage.lane)
        for one in under_way:
            with unit_of_work(self.engine) as session:
                transactions.review(session, self.stage.lane, wire, one, self.now, POLICY)

    def until_posted(self, batch: batches.Batch) -> None:
        """Sign, review and index, sweep by sweep, until the batch is on chain."""
        for _ in range(20):
            self.now += 3_000
            self.chain.rpc("evm_increaseTime", 3)
            self.chain.rpc("evm_mine")
            while self.sign():
                pass
            self.review()
            self.index()
            with unit_of_work(self.engine) as session:
                settling.commit(session, self.lane, self.chain.calls, self.now)
            with unit_of_work(self.engine) as session:
                found = batches.get(session, self.stage.lane, batch.number)
            if found is not None and found.status is Status.posted:
                return
        pytest.fail("the batch is not on chain")


@pytest.fixture
def worker(engine: Engine, stage: Stage) -> Worker:
    made = Worker(engine, stage)
    made.serve(2)
    return made


def intended(worker: Worker) -> None:
    """Nothing but an intention is left of the old key's time."""


def signed(worker: Worker) -> None:
    """The old key signed, and its worker ended before it sent anything."""
    assert worker.sign()


def stuck(worker: Worker) -> None:
    """The old key's commit is sent, and no block takes it."""
    worker.chain.rpc("evm_setAutomine", False)
    assert worker.sign()
    worker.review()


@pytest.mark.parametrize("left", [intended, signed, stuck], ids=lambda one: one.__name__)
def test_a_batch_of_the_old_keys_time_comes_on_chain_once(worker: Worker, left: Callable[[Worker], None]) -> None:
    batch = worker.close_and_intend()
    left(worker)
    if left is stuck:
        worker.chain.rpc("anvil_dropAllTransactions")
        worker.chain.rpc("evm_setAutomine", True)
    poster = worker.stage.key(worker.stage.auditor)
    worker.follow(poster)
    before = worker.chain.nonces(poster.address)
    worker.until_posted(batch)
    worker.serve(3, leased=0)
    second = worker.close_and_intend()
    worker.until_posted(second)
    assert worker.chain.head(worker.stage.lane).next == 3, "two batches, each once"
    assert worker.chain.nonces(poster.address) > before, "the new key commits"
    with unit_of_work(worker.engine) as session:
        assert audits.reconcile(session, audits.Scope(worker.stage.lane, worker.stage.domain), 9) == []


def test_what_the_old_key_cannot_raise_any_more_is_committed_anew_by_the_new_one(worker: Worker) -> None:
    batch = worker.close_and_intend()
    poster = worker.stage.key(worker.stage.auditor)
    before = worker.chain.nonces(poster.address)
    call = worker.chain.calls.to_settlement("setPoster", worker.stage.lane, poster.address)
    worker.chain.transact(worker.stage.key(worker.stage.operator), call)
    worker.chain.rpc("evm_setAutomine", False)
    assert worker.sign()
    worker.review()
    worker.key = poster
    worker.now += 3_000
    worker.review()
    with unit_of_work(worker.engine) as session:
        tries, last = stored.latest(session, worker.stage.lane, f"commit 0x{worker.stage.lane.hex()} {batch.number}")
    assert (tries, last and last.status) == (1, Sending.lost)
    worker.chain.rpc("anvil_dropAllTransactions")
    worker.chain.rpc("evm_setAutomine", True)
    worker.until_posted(batch)
    assert worker.chain.head(worker.stage.lane).next == 2
    assert worker.chain.nonces(poster.address) == before + 1
