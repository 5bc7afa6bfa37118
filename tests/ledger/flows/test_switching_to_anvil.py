"""A private grid that moves to a chain that runs: its batches stay, the chain's batches are claimed, nobody twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from ledger import tasks
from ledger.chain.calls import LaneTerms
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.context import Context
from ledger.core.accounts.accounts import available, claimable
from ledger.core.settlement.batches import Status as BatchStatus
from ledger.core.settlement.transactions import Status
from ledger.core.values.ids import ZERO_DIGEST, Address, address, to_hex
from ledger.core.values.typed_data import Domain, Signer
from ledger.deployments import path
from ledger.flows import audits
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batch_files, batches
from tests import builders as b
from tests.conftest import an_anvil, settings_for
from tests.ledger.chain.conftest import FUNDS, open_lane, time_of
from tests.ledger.flows.test_switching import CREDIT, PRIVATE, a_private_grid, release
from tests.room import PAYEES

OPERATOR_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
OPERATOR = Signer(bytes.fromhex(OPERATOR_KEY))
TERMS, BOND = LaneTerms(window=3, answer_time=1), 10**9
ROUNDS, CALLS, MORE = 8, 20, 10**8


@pytest.fixture
def rpc_url() -> Iterator[str]:
    with an_anvil() as url:
        yield url


@pytest.fixture
def chain(rpc_url: str, tmp_path: Path) -> Chain:
    """A chain with a lane whose windows are seconds long: in almost every sweep a batch is about to be final."""
    chain = Chain(rpc_url, deploy(rpc_url, FUNDS, Parameters(60), tmp_path))
    chain.transact(FUNDS, chain.calls.transfer(OPERATOR.address, 10**12))
    for taker in (chain.calls.settlement, chain.calls.consumers):
        chain.transact(OPERATOR, chain.calls.approve(taker, 10**12))
    lane = open_lane(chain, OPERATOR, TERMS, BOND)
    chain.transact(OPERATOR, chain.calls.add_gateway(lane, b.GATEWAY.address))
    return chain


class Worker:
    """What the worker does, task by task, over a ledger that has been a private grid."""

    def __init__(self, place: Context, chain: Chain) -> None:
        self.place, self.chain, self.engine, self.lane = place, chain, place.engine, place.scope.lane

    def sweep(self) -> None:
        """A second passes; every task that could be due runs."""
        self.chain.rpc("evm_increaseTime", 1)
        self.chain.rpc("evm_mine")
        tasks.index()
        tasks.post(to_hex(b.GATEWAY.address))
        tasks.close()
        tasks.transmit()

    def serve(self, first: int) -> None:
        """Charge calls of Alice, as a gateway would."""
        ended = time_of(self.chain) * 1_000
        with unit_of_work(self.engine) as session:
            b.write(session, [b.a_receipt(first + n, lane=self.lane, ended_at=ended) for n in range(CALLS)])

    def lease(self, amount: int) -> None:
        """All of Alice's deposit, to the gateway."""
        with unit_of_work(self.engine) as session:
            b.lease(session, b.ALICE, amount, lane=self.lane)
            session.execute(
                text("INSERT INTO leases VALUES (:lane, :id, :consumer, :gateway, :amount, 0, 0, 'open')"),
                {
                    "id": b"lease",
                    "lane": self.lane,
                    "consumer": b.ALICE,
                    "gateway": b.GATEWAY.address,
                    "amount": amount,
                },
            )

    def balance(self, name: str) -> int:
        with unit_of_work(self.engine) as session:
            return postings.balance(session, self.lane, name)

    def owed(self) -> int:
        """What is served and not paid out."""
        with unit_of_work(self.engine) as session:
            waiting = [*batches.with_status(session, self.lane, *(set(BatchStatus) - {BatchStatus.final}))]
            return len(waiting) + sum(postings.balance(session, self.lane, claimable(payee)) for payee in PAYEES)

    def laws(self) -> list[alarms.Alarm]:
        """What a thorough audit finds, of the chain's lane and of the grid's."""
        with unit_of_work(self.engine) as session:
            found = audits.reconcile(session, self.place.scope, tasks.now(), thorough=True)
            return found + audits.reconcile(session, audits.Scope(PRIVATE.lane, Domain()), 11, thorough=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_batches_and_claims_go_on_where_the_grid_stopped_and_every_payee_is_paid_once(
    engine: Engine,
    postgres_url: str,
    redis_url: str,
    rpc_url: str,
    chain: Chain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charged = a_private_grid(engine)
    lane = chain.calls.lane_of(OPERATOR.address, ZERO_DIGEST, TERMS)
    release(engine, CREDIT - charged)
    command = [sys.executable, "-m", "ledger.operate", "retire"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    grid = {"LEDGER_DATABASE_URL": postgres_url, "LEDGER_LANE": to_hex(PRIVATE.lane)}
    said = subprocess.run(command, env=kept | grid, check=True, stdout=subprocess.PIPE)
    owed = json.loads(said.stdout)
    assert owed["deposits"] == {to_hex(b.ALICE): str(CREDIT - charged)}
    assert sum(map(int, owed["payments"].values())) == charged
    for who, amount in owed["deposits"].items():
        chain.transact(OPERATOR, chain.calls.deposit(lane, address(who), int(amount) + MORE))
    for who, amount in owed["payments"].items():
        chain.transact(OPERATOR, chain.calls.transfer(address(who), int(amount)))

    values = {"redis_url": redis_url, "rpc_url": rpc_url, "lane": lane, "confirmations": 1, "batch_seconds": 0}
    values |= {"deployment": path(chain.deployment.chain_id, tmp_path), "relay_claims": True}
    settings = settings_for(postgres_url, operator_key=SecretStr(OPERATOR_KEY), **values)
    place = Context(settings)
    monkeypatch.setattr(tasks, "here", lambda: place)
    worker = Worker(place, chain)
    while worker.balance(available(b.ALICE)) == 0:
        worker.sweep()
    deposited = CREDIT - charged + MORE
    worker.lease(deposited)
    for turn in range(ROUNDS):
        worker.serve(1 + turn * CALLS)
        worker.sweep()
        worker.sweep()
    for _ in range(60):
        if not worker.owed():
            break
        worker.sweep()

    with unit_of_work(engine) as session:
        final = batches.with_status(session, lane, BatchStatus.final)
        rows = session.execute(text("SELECT purpose, status FROM chain_transactions"))
        sent = {str(purpose): str(status) for purpose, status in rows}
        leased = postings.entries(session, lane, "leased:")
        old = batches.latest(session, PRIVATE.lane)
        assert old is not None
        batch_files.write_again(session, batch_files.Discard(), Domain(), old)
    assert len(final) > 2
    assert {purpose: status for purpose, status in sent.items() if status != Status.confirmed.value} == {}
    assert sum(purpose.startswith("claim") for purpose in sent) > 2, "while other batches became final"
    again = final[-1].cumulative
    assert again == charged // 10 * ROUNDS * CALLS
    assert {who: chain.balance(who) for who in PAYEES} == _shares(owed["payments"], again)
    assert sum(entries.credits - entries.debits for entries in leased.values()) == deposited - again
    assert worker.laws() == []


def _shares(payments: dict[str, str], total: int) -> dict[Address, int]:
    """What payees have in all: as much more as on the grid for each call, since all calls are alike."""
    grid = {address(who): int(amount) for who, amount in payments.items()}
    return {who: amount + amount * total // sum(grid.values()) for who, amount in grid.items()}
