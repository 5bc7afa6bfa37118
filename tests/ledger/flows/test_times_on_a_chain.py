"""Times of an honest lane: no clock that falls, and nothing that is not indexed, makes a batch that judges refuse."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.disputes.facts import SignedReceipt
from ledger.core.receipts.receipt import receipt_digest
from ledger.flows import batches as settling
from ledger.store.chain import chain_time
from ledger.store.session import unit_of_work
from ledger.store.settlement.batches import Batch
from roles.audit.watch import Auditor, Evidence, inspect
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS, a_stage, time_of
from tests.ledger.flows.test_on_a_chain import Operator

NOTICE = 900


class Clerk(Operator):
    """A ledger whose wall clock goes on, and whose chain is looked at by a watcher that holds every receipt."""

    def mine(self, at: int) -> None:
        """A block of this time (s)."""
        self.chain.rpc("evm_setNextBlockTimestamp", at)
        self.chain.rpc("evm_mine")

    def now(self, later: int = 0) -> int:
        """The network's time (ms), so many ms after its last block was indexed."""
        with unit_of_work(self.engine) as session:
            return chain_time.now(session, 1 + later)

    def close(self, later: int = 0) -> Batch | None:
        with unit_of_work(self.engine) as session:
            return settling.close(session, self.lane, 0, 1 + later)

    def commit(self) -> None:
        with unit_of_work(self.engine) as session:
            settling.commit(session, self.lane, self.chain.calls, 1)
        assert self.send() == 1

    def move(self, what: str) -> None:
        """The caller asks to leave, or to stay after all."""
        leaver = self.stage.key(self.stage.consumers[0])
        self.chain.transact(leaver, self.chain.calls.to("Consumers", what, self.stage.lane))

    def judge(self, *posted: Batch) -> list[str]:
        """What a watcher says of the batches."""
        files = {one.header.id: self.file(one) for one in posted}
        signer, domain = self.stage.operator, self.stage.domain
        receipts = [one for file in files.values() for one in file.receipts]
        held = [SignedReceipt(one, signer.sign(receipt_digest(domain, one))) for one in receipts]
        auditor = Auditor(self.stage.auditor.address, 0)
        found = inspect(self.chain, self.stage.lane, Evidence(files.get, held=held), auditor)
        return [one.said for one in found if one.batch]


@pytest.fixture
def clerk(engine: Engine, tmp_path: Path) -> Iterator[Clerk]:
    with an_anvil() as url:
        made = Parameters(exit_notice_seconds=NOTICE)
        yield Clerk(engine, a_stage(Chain(url, deploy(url, FUNDS, made, tmp_path))))


def test_a_clock_that_falls_closes_no_batch_before_its_receipts_or_the_batch_before(clerk: Clerk) -> None:
    ended = clerk.now(5_000)
    clerk.post([one._replace(ended_at=ended) for one in clerk.call(1, 10**6)])
    clerk.mine(ended // 1_000 - 3)
    clerk.index()  # late: the block is older than the clock was
    assert clerk.now() < ended
    first = clerk.close()
    clerk.post(clerk.call(1))
    second = clerk.close()
    assert first is not None
    assert second is not None
    clerk.mine(ended // 1_000)
    for _ in range(2):
        clerk.commit()
    assert clerk.judge(first, second) == ["honest"] * 2


@pytest.mark.parametrize("stays", [True, False])
def test_receipts_of_an_account_that_may_stay_after_all_wait_until_it_cannot(clerk: Clerk, *, stays: bool) -> None:
    clerk.serve(1)
    first = clerk.settle()
    late = clerk.call(1)
    clerk.move("requestWithdraw")
    over = time_of(clerk.chain) + NOTICE
    clerk.mine(over - 1)
    clerk.index()
    clerk.network = replace(clerk.network, confirmations=2)
    clerk.chain.rpc("evm_setNextBlockTimestamp", over)
    if stays:
        clerk.move("cancelWithdraw")
    else:
        clerk.mine(over)
    second = clerk.close(2_000)
    assert second is not None
    assert second.header.closed_at == over + 1
    clerk.chain.rpc("evm_setNextBlockTimestamp", over + 1)
    clerk.commit()
    clerk.post(late)
    assert clerk.close(3_000) is None
    for _ in range(2):
        clerk.chain.rpc("evm_mine")
    clerk.index()
    third = clerk.close()
    assert third is not None
    assert third.barred == (() if stays else (0,))
    clerk.commit()
    assert clerk.judge(first, second, third) == ["honest"] * 3
