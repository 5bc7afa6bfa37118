"""Times of an honest lane: no clock that falls, and nothing that is not indexed, makes a batch that judges refuse."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.disputes import questions
from ledger.core.disputes.facts import SignedReceipt
from ledger.core.disputes.proofs import ask_mandate, ask_words
from ledger.core.receipts.receipt import receipt_digest
from ledger.core.values.sum_tree import ZERO
from ledger.core.values.typed_data import Voucher, signing_digest, voucher_hash
from ledger.flows import batches as settling
from ledger.store.access import vouchers
from ledger.store.chain import chain_time
from ledger.store.session import unit_of_work
from ledger.store.settlement import proofs
from ledger.store.settlement.batches import Batch
from roles.audit.watch import Auditor, Evidence, inspect
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import ANSWER, DEPOSIT, FUNDS, WINDOW, a_stage, time_of
from tests.ledger.flows.test_on_a_chain import Operator

NOTICE = 900
DAY = 86_400
LIFE = 30 * DAY


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

    def sign_by_a_key(self) -> None:
        """The caller's one voucher is signed by a session key."""
        owner, key = self.stage.key(self.stage.consumers[0]), self.stage.consumers[1]
        self.chain.transact(owner, self.chain.calls.to("Keys", "setSessionKey", key.address))
        self.index()
        with unit_of_work(self.engine) as session:
            session.execute(text("DELETE FROM vouchers"))
            voucher = Voucher(self.stage.lane, self.caller, DEPOSIT)
            signature = key.sign(signing_digest(self.stage.domain, voucher_hash(voucher)))
            assert vouchers.raise_to(session, voucher, key.address, signature)

    def revoke_the_key(self) -> None:
        owner, key = self.stage.key(self.stage.consumers[0]), self.stage.consumers[1]
        self.chain.transact(owner, self.chain.calls.to("Keys", "revokeSessionKey", key.address))
        self.index()

    def ask_for_the_mandate(self, batch: Batch, at: int) -> None:
        """Of the caller's debit in a batch, which is the chain's number `at`."""
        with unit_of_work(self.engine) as session:
            proof = proofs.debit(session, batch, self.caller)
        assert proof is not None
        word = proof.word, list(proof.siblings)
        self.ask(replace(batch, number=at), ask_mandate((proof.index, proof.account), word, (None, (ZERO, [])), ""))
        self.index()

    def fall_and_come_back(self, batch: Batch) -> None:
        """Nobody answers; the lane is judged, and serves again when its rules let it."""
        chain, lane, question = self.chain, self.stage.lane, ask_words(0, 0, 0)
        auditor, operator = self.stage.key(self.stage.auditor), self.stage.key(self.stage.operator)
        self.ask(batch, question)
        self.stage.wait(ANSWER + 1)
        subject = questions.subject_of_words(0, 0, 0)
        chain.transact(auditor, chain.calls.to("Questions", "close", lane, batch.number, batch.header.id, subject))
        self.stage.wait(DAY)
        chain.transact(operator, chain.calls.to("Settlement", "addBond", lane, 10**10))
        chain.transact(operator, chain.calls.to("Settlement", "setActive", lane, True))
        self.index()

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


@pytest.mark.parametrize("fell", [True, False])
def test_what_a_revoked_key_signed_is_covered_however_late_it_is_posted(clerk: Clerk, *, fell: bool) -> None:
    clerk.sign_by_a_key()
    clerk.post(clerk.call(1, 10**6))
    clerk.revoke_the_key()
    if fell:
        clerk.stage.wait(6 * ANSWER)
        clerk.index()
        first = clerk.close()
        assert first is not None
        clerk.commit()
        clerk.stage.wait(WINDOW - 6 * ANSWER)
        clerk.fall_and_come_back(first)
    else:
        clerk.stage.wait(LIFE - 2 * NOTICE)
        clerk.index()
    batch = clerk.close()
    assert batch is not None
    assert batch.barred == ()
    clerk.commit()
    assert clerk.judge(batch) == ["honest"]
    clerk.ask_for_the_mandate(batch, 1)
    clerk.chain.transact(clerk.stage.key(clerk.stage.operator), clerk.answer())
    assert clerk.chain.posted(clerk.stage.lane, 1).open == 0
