"""The flows against the real contracts: what they answer is accepted, and who leaves gets all of its money."""

import io
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ledger.chain.errors import Reverted
from ledger.core.accounts import movements
from ledger.core.catalog.bids import Line, Role
from ledger.core.disputes.audit import verify
from ledger.core.disputes.facts import SignedReceipt
from ledger.core.disputes.proofs import FraudProof, ask_mandate, ask_receipt, ask_words, omitted
from ledger.core.disputes.proofs import row as proof_row
from ledger.core.disputes.questions import DEBITS, FINAL, GATEWAYS, LINES, PAYOUTS, RECEIPTS, height_of, levels_shown
from ledger.core.receipts.receipt import Receipt, receipt_digest
from ledger.core.settlement import events
from ledger.core.settlement.batch_file import BatchFile, read
from ledger.core.settlement.header import gateways_tree
from ledger.core.settlement.transactions import Call
from ledger.core.values.ids import address
from ledger.core.values.sum_tree import EMPTY, ZERO, amount
from ledger.core.values.typed_data import Voucher, signing_digest, voucher_hash
from ledger.flows import audits, indexer
from ledger.flows import batches as settling
from ledger.flows import challenges as disputing
from ledger.flows import postings as posting
from ledger.store.access import vouchers
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import unit_of_work
from ledger.store.settlement import batch_files, batches, challenges, proofs, transactions
from roles.audit.watch import Auditor, Evidence, inspect
from tests import builders as b
from tests.ledger.chain.conftest import DEPOSIT, FUNDS, WINDOW, Stage, epoch_of, register, stage, time_of
from tests.rates import asks

__all__ = ["stage"]


class Operator:
    """A ledger on the stage's lane; its first consumer calls, the second one never does."""

    def __init__(self, engine: Engine, stage: Stage) -> None:
        self.engine, self.stage, self.chain = engine, stage, stage.chain
        self.caller, self.idle = (signer.address for signer in stage.consumers)
        self.notice = stage.chain.deployment.exit_notice_seconds
        self.lane = settling.Lane(stage.lane, stage.domain, stage.operator.address, 1_000, 0, self.notice)
        self.network = indexer.Network(
            stage.chain.deployment.chain_id, stage.lane, 0, 0, settlement=stage.domain.contract
        )
        self.served = 0
        treasury = address(stage.chain.deployment.treasury)
        lines = [Line(b.MAKER, Role.maker, 100_000), Line(b.COMPUTE, Role.compute, 0, asks(input_token=10**8))]
        self.terms = b.some_terms(lines=[*lines, Line(treasury, Role.protocol, 20_000)])
        register(stage.chain, b.MAKER, b.COMPUTE, treasury)
        voucher = Voucher(stage.lane, self.caller, DEPOSIT)
        signed = stage.consumers[0].sign(signing_digest(stage.domain, voucher_hash(voucher)))
        with unit_of_work(engine) as session:
            watermarks.ensure(session, stage.lane, stage.operator.address)
            vouchers.raise_to(session, voucher, self.caller, signed)
        self.index()

    def index(self) -> None:
        with unit_of_work(self.engine) as session:
            while indexer.index_next(session, self.chain, self.network, 1):
                pass

    def serve(self, calls: int, leased: int = DEPOSIT) -> None:
        """Calls of the first consumer, leased and posted."""
        made = self.call(calls, leased)
        self.post(made)

    def call(self, calls: int, leased: int = 0) -> list[Receipt]:
        """Calls of the first consumer that end now, and are not posted yet."""
        signer, first, ended = self.stage.operator, self.served + 1, time_of(self.chain)
        self.served += calls
        parties: dict[str, Any] = {"consumer": self.caller, "gateway": signer.address, "lane": self.stage.lane}
        if leased:
            with unit_of_work(self.engine) as session:
                lent = movements.lease(self.stage.lane, b"one", self.caller, signer.address, leased, 1)
                postings.book(session, lent)
        epoch = epoch_of(self.chain)
        made = [b.a_receipt(first + n, self.terms, ended_at=ended * 1_000, **parties) for n in range(calls)]
        return [one._replace(epoch=epoch) for one in made]

    def post(self, made: list[Receipt]) -> None:
        signer = self.stage.operator
        with unit_of_work(self.engine) as session:
            b.write(session, made, [self.terms], signer)
        self.post_the_rest(len(made))

    def post_the_rest(self, calls: int) -> None:
        """Post what is logged: so many calls."""
        with unit_of_work(self.engine) as session:
            assert posting.post_chunk(session, self.stage.lane, self.stage.operator.address, 1_000, 1) == calls

    def release(self, amount: int) -> None:
        """The gateway gives back what it did not spend, and it is set aside for who is leaving."""
        with unit_of_work(self.engine) as session:
            postings.book(
                session, movements.release(self.stage.lane, b"one", self.caller, self.stage.operator.address, amount, 1)
            )
            indexer.set_aside(session, self.stage.lane, 1)

    def settle(self) -> batches.Batch:
        """Close, commit, index."""
        with unit_of_work(self.engine) as session:
            batch = settling.close(session, self.lane, 0, 1)
            assert batch is not None
            settling.commit(session, self.lane, self.chain.calls, 1)
        self.send()
        return batch

    def send(self) -> int:
        """Send what is intended; the chain must take it. Returns how many."""
        with unit_of_work(self.engine) as session:
            waiting = transactions.intended(session, self.stage.lane)
            for one in waiting:
                self.chain.transact(self.stage.key(self.stage.operator), (one.target, one.data))
                session.execute(
                    text("UPDATE chain_transactions SET status = 'confirmed' WHERE id = :id"), {"id": one.id}
                )
        self.index()
        return len(waiting)

    def ask(self, batch: batches.Batch, question: FraudProof) -> None:
        """Put a question about a batch to the chain, as anybody may for a fee."""
        call = self.chain.calls.prove(self.stage.lane, batch.number, batch.header, question)
        self.chain.transact(self.stage.key(self.stage.auditor), call, 2 * self.chain.question_fee(question.kind))

    def answer(self) -> Call:
        """The answer to the one question that is open, as the ledger would send it."""
        with unit_of_work(self.engine) as session:
            assert disputing.answer_all(session, self.chain.calls, self.stage.operator.address, self.stage.lane, 1) == 1
            (waiting,) = transactions.intended(session, self.stage.lane)
            session.execute(
                text("UPDATE chain_transactions SET status = 'confirmed' WHERE id = :id"), {"id": waiting.id}
            )
        return waiting.target, waiting.data

    def file(self, batch: batches.Batch) -> BatchFile:
        sink = io.BytesIO()
        with unit_of_work(self.engine) as session:
            batch_files.write_again(session, sink, self.stage.domain, batch)
        return read(sink.getvalue())


@pytest.fixture
def operator(engine: Engine, stage: Stage) -> Operator:
    return Operator(engine, stage)


def test_every_question_of_the_chain_is_answered_to_its_satisfaction(operator: Operator) -> None:
    operator.serve(300)
    batch = operator.settle()
    chain, lane, header = operator.chain, operator.stage.lane, batch.header
    asked = 0
    for tree in (RECEIPTS, PAYOUTS, DEBITS, LINES, GATEWAYS):
        height = height_of(header, tree)
        for spot in sorted({(0, 0), (levels_shown(header, tree, 0), 1), (height, 0), (height, (1 << height) - 1)}):
            operator.ask(batch, ask_words(tree, *spot))
            asked += 1
    for place in (0, 299):
        operator.ask(batch, ask_receipt(place, ""))
        asked += 1
    with unit_of_work(operator.engine) as session:
        proof = proofs.debit(session, batch, operator.caller)
    assert proof is not None
    assert amount(proof.word) == proof.cumulative > 0
    (mandate,) = operator.file(batch).mandates
    assert (mandate.consumer, mandate.cum_max) == (proof.index, DEPOSIT)
    now = proof.word, list(proof.siblings)
    operator.ask(batch, ask_mandate((proof.index, proof.account), now, (None, (ZERO, [])), ""))
    asked += 1
    operator.index()
    with unit_of_work(operator.engine) as session:
        assert len(challenges.unanswered(session, lane)) == asked
        sent = disputing.answer_all(session, chain.calls, operator.stage.operator.address, lane, 2)
        assert sent == -(-asked // disputing.AT_ONCE)
    assert chain.posted(lane, 1).open == asked
    assert operator.send() == sent
    assert chain.posted(lane, 1).open == 0
    with unit_of_work(operator.engine) as session:
        assert challenges.unanswered(session, lane) == []
    operator.stage.wait(WINDOW)
    chain.transact(FUNDS, chain.calls.finalize(lane, 1, header))
    operator.index()
    for tree, index in ((PAYOUTS, 1), (DEBITS, proof.index), (DEBITS, 0)):
        question = chain.calls.to("Questions", "askFinal", lane, tree, index)
        chain.transact(operator.stage.key(operator.stage.auditor), question, 2 * chain.question_fee(FINAL))
    operator.index()
    with unit_of_work(operator.engine) as session:
        assert disputing.answer_all(session, chain.calls, operator.stage.operator.address, lane, 3) == 1
    operator.send()
    shown = [log.event for log in chain.logs(0, chain.tip()) if isinstance(log.event, events.FinalShown)]
    assert [amount(event.word) for event in shown][1:] == [proof.cumulative, 0]


@pytest.mark.parametrize("calls", [0, 3])
def test_who_never_called_leaves_with_all_of_its_deposit(operator: Operator, calls: int) -> None:
    chain, lane = operator.chain, operator.stage.lane
    idle = operator.stage.consumers[1]
    before = chain.balance(idle.address)
    chain.transact(operator.stage.key(idle), chain.calls.to("Consumers", "requestWithdraw", lane))
    operator.stage.wait(2)
    operator.index()
    if calls:
        operator.serve(calls)
    batch = operator.settle()
    assert (batch.header.calls, batch.header.debit_root == ZERO) == (calls, calls == 0)
    operator.stage.wait(WINDOW + 1)
    chain.transact(FUNDS, chain.calls.finalize(lane, 1, batch.header))
    with unit_of_work(operator.engine) as session:
        proof = proofs.debit(session, batch, idle.address)
    assert proof is not None
    chain.transact(FUNDS, chain.calls.withdraw(lane, idle.address, proof.cumulative, proof.siblings))
    assert chain.balance(idle.address) == before + DEPOSIT
    assert events.Withdrawn(lane, idle.address, DEPOSIT, escaped=False) in [
        log.event for log in chain.logs(0, chain.tip())
    ]


def test_receipts_that_come_after_the_batch_of_an_exit_are_barred_and_convict_nobody(operator: Operator) -> None:
    chain, lane, leaver = operator.chain, operator.stage.lane, operator.stage.consumers[0]
    operator.serve(2)
    first = operator.settle()
    late = operator.call(3)
    chain.transact(operator.stage.key(leaver), chain.calls.to("Consumers", "requestWithdraw", lane))
    operator.stage.wait(operator.notice + 2)
    operator.index()
    second = operator.settle()
    operator.post(late)
    third = operator.settle()
    assert (third.header.calls, third.barred, third.total, third.cumulative) == (3, (0, 1, 2), 0, first.total)
    assert amount(third.header.receipts_root) == 0

    files = {batch.header.id: operator.file(batch) for batch in (first, second, third)}
    held = [
        SignedReceipt(one, operator.stage.operator.sign(receipt_digest(operator.stage.domain, one))) for one in late
    ]
    auditor = Auditor(operator.stage.auditor.address, 0)
    said = [one.said for one in inspect(chain, lane, Evidence(files.get, held=held), auditor)]
    assert said[:3] == ["honest"] * 3
    last, previous = files[third.header.id], files[second.header.id]
    assert verify(last, previous, third.header, signature_step=0, epoch_seconds=3_600).ok

    (row,) = last.opening.ranges
    shown = proof_row(gateways_tree(lane, [row]), row.number, row.gateway, row)
    empty = omitted(second.header, held[0].shown, shown, (ZERO, list(EMPTY[:2])), 1)
    with pytest.raises(Reverted, match="NotProven"):
        chain.transact(operator.stage.key(operator.stage.auditor), chain.calls.prove(lane, 3, third.header, empty))

    operator.ask(third, ask_receipt(1, ""))
    operator.index()
    chain.transact(operator.stage.key(operator.stage.operator), operator.answer())
    assert chain.posted(lane, 3).open == 0

    operator.stage.wait(WINDOW + 1)
    operator.release(DEPOSIT - first.total - sum(one.charge for one in late))
    for batch in (first, second):
        chain.transact(FUNDS, chain.calls.finalize(lane, batch.number, batch.header))
    with unit_of_work(operator.engine) as session:
        proof = proofs.debit(session, second, leaver.address)
    assert proof is not None
    before = chain.balance(leaver.address)
    chain.transact(FUNDS, chain.calls.withdraw(lane, leaver.address, proof.cumulative, proof.siblings))
    assert chain.balance(leaver.address) - before == DEPOSIT - first.total
    operator.index()
    with unit_of_work(operator.engine) as session:
        assert audits.reconcile(session, audits.Scope(lane, operator.stage.domain), 1, thorough=True) == []
