"""The worker as a process: celery and beat over Redis, a chain, and nothing but rows and logs to go by."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.chain.calls import LaneTerms
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.accounts.accounts import CUSTODY, available, claimable
from ledger.core.accounts.permits import Permit
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Digest, Lane, to_hex
from ledger.core.values.typed_data import Signer
from ledger.deployments import Deployment, path
from ledger.store.access import permits
from ledger.store.access.permits import StoredPermit
from ledger.store.chain import parties
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches
from tests import book
from tests import builders as b
from tests.conftest import an_anvil, stop
from tests.ledger.chain.conftest import FUNDS, open_lane, time_of

ROOT = Path(__file__).resolve().parents[3]
OPERATOR_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
OPERATOR = Signer(bytes.fromhex(OPERATOR_KEY))
ALICE = Signer(bytes.fromhex("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"))


@dataclass
class Network:
    """A lane on a chain of its own, and the worker that settles it."""

    engine: Engine
    chain: Chain
    rpc_url: str
    lane: Lane
    environment: dict[str, str]

    def until(self, what: Callable[[], bool], seconds: float = 240) -> None:
        """Wait for something the worker does, mining as time goes by."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if what():
                return
            self.chain.rpc("evm_mine")
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds} s; alarms: {self.alarms()}")

    def balance(self, name: str) -> int:
        with unit_of_work(self.engine) as session:
            return postings.balance(session, self.lane, name)

    def statuses(self) -> list[str]:
        with unit_of_work(self.engine) as session:
            return [batch.status.value for batch in batches.with_status(session, self.lane, *Status)]

    def alarms(self) -> list[alarms.Alarm]:
        with unit_of_work(self.engine) as session:
            return alarms.active(session, self.lane)

    def permit(self) -> Digest:
        """A permit of `upto`, as a gateway stores it."""
        permit = Permit(
            ALICE.address,
            b.MAKER,
            OPERATOR.address,
            self.chain.calls.token,
            5,
            0,
            time_of(self.chain) + 10**6,
            Digest(bytes(32)),
        )
        asked = StoredPermit(self.lane, permit, b"", b.BOB, Digest(bytes(32)), Digest(bytes(32)))
        with unit_of_work(self.engine) as session:
            assert permits.request(session, asked, 2**62)
        return permit.id

    def refusal(self, permit: Digest) -> str:
        """Why the worker refused a permit; nothing before it has."""
        with unit_of_work(self.engine) as session:
            seen = permits.decided(session, self.lane, [permit]).get(permit)
        return str(seen.error) if seen is not None else ""

    def serve(self, count: int, first: int) -> None:
        """Charge calls of Alice, as a gateway would."""
        ended = time_of(self.chain) * 1_000
        parties: dict[str, Any] = {"lane": self.lane, "consumer": ALICE.address, "ended_at": ended}
        with unit_of_work(self.engine) as session:
            b.write(session, [b.a_receipt(first + i, **parties) for i in range(count)])


@pytest.fixture
def network(engine: Engine, postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Network]:
    with an_anvil() as rpc_url:
        deployment: Deployment = deploy(rpc_url, FUNDS, Parameters(60), tmp_path)
        chain = Chain(rpc_url, deployment)
        operator = OPERATOR.address
        chain.transact(FUNDS, chain.calls.transfer(operator, 10**12))
        chain.transact(FUNDS, chain.calls.transfer(ALICE.address, 10**12))
        chain.transact(OPERATOR, chain.calls.approve(chain.calls.settlement, 10**11))
        lane = open_lane(chain, OPERATOR, LaneTerms(60, 10), 10**11)
        chain.transact(OPERATOR, chain.calls.add_gateway(lane, b.GATEWAY.address))
        chain.transact(ALICE, chain.calls.approve(chain.calls.consumers, 10**12))
        chain.transact(ALICE, chain.calls.deposit(lane, ALICE.address, 10**10))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LEDGER_DATABASE_URL": postgres_url,
            "LEDGER_REDIS_URL": redis_url,
            "LEDGER_RPC_URL": rpc_url,
            "LEDGER_DEPLOYMENT": str(path(deployment.chain_id, tmp_path)),
            "LEDGER_LANE": to_hex(lane),
            "LEDGER_CONFIRMATIONS": "1",
            "LEDGER_BATCH_SECONDS": "0",
            "LEDGER_SWEEP_SECONDS": "0.5",
            "LEDGER_AUDIT_SECONDS": "2",
            "LEDGER_RELAY_CLAIMS": "true",
            "LEDGER_OPERATOR_KEY": OPERATOR_KEY,
        }
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        log = (tmp_path / "worker.log").open("wb")
        migrations, *commands = book.typed("ledger/README.md", "celery -A ledger.worker").lines
        subprocess.run(migrations.split(), env=environment, cwd=tmp_path, check=True)
        started = [
            subprocess.Popen(command.split(), env=environment, cwd=tmp_path, stdout=log, stderr=log)
            for command in commands
        ]
        try:
            yield Network(engine, chain, rpc_url, lane, environment)
        finally:
            for process in reversed(started):
                stop(process)
            print((tmp_path / "worker.log").read_text()[-6_000:])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_deposit_becomes_receipts_a_batch_a_commit_and_a_claim(network: Network) -> None:
    alice = available(ALICE.address)
    permit = network.permit()
    network.until(lambda: network.balance(alice) == 10**10)
    network.until(lambda: "there is no Permit2" in network.refusal(permit))
    with unit_of_work(network.engine) as session:
        b.lease(session, ALICE.address, 10**9, lane=network.lane)
    network.serve(100, first=1)
    network.until(lambda: network.statuses() == ["posted"])
    earned = network.balance(claimable(b.MAKER))
    assert earned > 0
    network.chain.rpc("evm_increaseTime", 61)
    network.until(lambda: network.statuses() == ["final"])
    network.until(lambda: network.balance(claimable(b.MAKER)) == 0)
    assert network.chain.balance(b.MAKER) == earned
    with unit_of_work(network.engine) as session:
        assert parties.index_of(session, b.COMPUTE) is not None
    assert network.balance(CUSTODY) == network.chain.balance(network.lane)
    network.serve(20, first=101)
    network.until(lambda: network.statuses() == ["final", "posted"])
    assert network.alarms() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_alarm_of_a_deposit_that_the_chain_took_back_ends_when_it_is_there_again(network: Network) -> None:
    network.until(lambda: network.balance(available(ALICE.address)) == 10**10)
    chain, before = network.chain, network.chain.tip()
    sent = chain.transact(ALICE, chain.calls.deposit(network.lane, ALICE.address, 10**9))
    raw = chain.rpc("eth_getRawTransactionByHash", to_hex(sent.hash))
    network.until(lambda: network.balance(available(ALICE.address)) == 11 * 10**9)
    with unit_of_work(network.engine) as session:
        b.lease(session, ALICE.address, 11 * 10**9, lane=network.lane)
    chain.rpc("anvil_reorg", chain.tip() - before, [])
    network.until(lambda: [alarm.law for alarm in network.alarms()] == ["ledger.index"])
    chain.send_raw(bytes.fromhex(raw[2:]))
    network.until(lambda: network.alarms() == [])
    network.serve(100, first=1)
    network.until(lambda: network.statuses() == ["posted"])
