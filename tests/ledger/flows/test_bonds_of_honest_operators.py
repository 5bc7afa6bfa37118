"""An honest operator keeps its bond, whatever an asker or a consumer times well, and whatever an outage delays."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.errors import Refusal
from gateway.payment.leases import BalanceLeases
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.disputes.facts import SignedReceipt
from ledger.core.disputes.questions import DEBITS, FINAL, PAYOUTS
from ledger.core.receipts.receipt import Receipt, receipt_digest
from ledger.core.settlement.events import FinalShown
from ledger.core.values.errors import Unavailable
from ledger.core.values.sum_tree import ZERO
from ledger.flows import leases
from ledger.store.session import unit_of_work
from ledger.store.settlement import proofs
from ledger.store.settlement.batches import Batch
from roles.audit.watch import Auditor, Evidence, inspect
from tests import builders as b
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import DEPOSIT, FUNDS, WINDOW, a_stage, time_of
from tests.ledger.flows.test_times_on_a_chain import DAY, NOTICE, Clerk

CALL = 10**6


class Honest(Clerk):
    """Its watcher holds every receipt that its gateway signed, in a batch or not."""

    def judge_holding(self, made: Sequence[Receipt], *posted: Batch) -> list[str]:
        """What a watcher says of the batches. A proof that it finds is sent, and the chain decides."""
        files = {one.header.id: self.file(one) for one in posted}
        signer, domain = self.stage.operator, self.stage.domain
        held = [SignedReceipt(one, signer.sign(receipt_digest(domain, one))) for one in made]
        auditor = Auditor(self.stage.auditor.address, 0)
        found = inspect(self.chain, self.stage.lane, Evidence(files.get, held=held), auditor)
        for one in found:
            if one.call is not None:
                self.chain.transact(self.stage.key(self.stage.auditor), one.call, one.value)
        return [one.said for one in found if one.batch]

    def log(self, made: list[Receipt]) -> None:
        """The gateway signs receipts, and nobody posts them yet."""
        with unit_of_work(self.engine) as session:
            b.write(session, made, [self.terms], self.stage.operator)

    def leases(self) -> BalanceLeases:
        return BalanceLeases(self.engine, self.stage.lane, self.stage.operator.address, 100 * CALL, 60_000)

    async def end(self, held: BalanceLeases) -> None:
        """What a gateway does every two seconds."""
        with unit_of_work(self.engine) as session:
            ending = leases.ending(session, self.stage.lane, self.stage.operator.address)
        await held.end(ending)


@pytest.fixture
def honest(engine: Engine, tmp_path: Path) -> Iterator[Honest]:
    with an_anvil() as url:
        made = Parameters(exit_notice_seconds=NOTICE)
        yield Honest(engine, a_stage(Chain(url, deploy(url, FUNDS, made, tmp_path))))


@pytest.mark.parametrize("tree", [PAYOUTS, DEBITS])
def test_a_lane_without_a_final_batch_answers_for_its_empty_trees(honest: Honest, tree: int) -> None:
    chain, lane, asker = honest.chain, honest.stage.lane, honest.stage.key(honest.stage.auditor)
    chain.transact(asker, chain.calls.to("Questions", "askFinal", lane, tree, 0), 2 * chain.question_fee(FINAL))
    honest.index()
    chain.transact(honest.stage.key(honest.stage.operator), honest.answer())
    shown = [log.event for log in chain.logs(0, chain.tip()) if isinstance(log.event, FinalShown)]
    assert [one.word for one in shown] == [ZERO]


def test_who_left_and_came_back_is_charged_by_a_clock_that_is_late(honest: Honest) -> None:
    chain, lane, leaver = honest.chain, honest.stage.lane, honest.caller
    honest.move("requestWithdraw")
    honest.stage.wait(NOTICE + 2)
    honest.index()
    first = honest.settle()
    honest.stage.wait(WINDOW + 1)
    chain.transact(FUNDS, chain.calls.finalize(lane, 1, first.header))
    with unit_of_work(honest.engine) as session:
        proof = proofs.debit(session, first, leaver)
    assert proof is not None
    chain.transact(FUNDS, chain.calls.withdraw(lane, leaver, proof.cumulative, proof.siblings))
    left = time_of(chain)
    chain.transact(FUNDS, chain.calls.deposit(lane, leaver, DEPOSIT))
    honest.index()
    made = [one._replace(ended_at=(left - 1) * 1_000) for one in honest.call(1, CALL)]
    honest.post(made)
    second = honest.settle()
    assert honest.judge_holding(made, first, second) == ["honest"]
    assert second.barred == ()


def test_an_old_backlog_goes_into_one_batch_once_all_of_it_is_posted(honest: Honest) -> None:
    honest.lane = replace(honest.lane, batch_calls=1)
    made = [honest.call(1, CALL), honest.call(1), honest.call(1)]
    for some in made[:2]:
        honest.post(some)
    honest.log(made[2])
    honest.stage.wait(2 * DAY)
    honest.index()
    with pytest.raises(Unavailable, match="not posted"):
        honest.close()
    honest.post_the_rest(1)
    batch = honest.close()
    assert batch is not None
    assert batch.header.calls == 3
    honest.commit()
    assert honest.judge_holding([one for some in made for one in some], batch) == ["honest"]


def test_who_asked_to_leave_is_not_served_on_what_is_leased_while_a_call_of_it_is_open(honest: Honest) -> None:
    async def keep_a_call_open() -> None:
        held = honest.leases()
        stream = await held.hold(honest.caller, CALL)
        honest.move("requestWithdraw")
        honest.index()
        await honest.end(held)
        with pytest.raises(Refusal, match="asked to leave"):
            await held.hold(honest.caller, CALL)
        stream.settle(CALL)
        await honest.end(held)
        assert held.free(honest.caller) == 0

    asyncio.run(keep_a_call_open())


def test_a_lease_ends_with_the_session_key_whose_voucher_it_stands_on(honest: Honest) -> None:
    async def keep_a_call_open() -> None:
        held = honest.leases()
        honest.sign_by_a_key()
        stream = await held.hold(honest.caller, CALL)
        await honest.end(held)
        (await held.hold(honest.caller, CALL)).release()
        honest.revoke_the_key()
        await honest.end(held)
        with pytest.raises(Refusal, match="revoked the key"):
            await held.hold(honest.caller, CALL)
        stream.release()
        await honest.end(held)
        await honest.end(held)
        with pytest.raises(Refusal, match="short of voucher"):
            await held.hold(honest.caller, CALL)

    asyncio.run(keep_a_call_open())
