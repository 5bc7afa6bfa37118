"""The flows against the real contracts: what they answer is accepted, and who leaves gets all of its money."""

import io

import pytest
from sqlalchemy import Engine, text

from ledger.chain.calls import words
from ledger.chain.reads import Chain
from ledger.core.accounts import movements
from ledger.core.catalog.bids import Line, Role
from ledger.core.settlement import events
from ledger.core.settlement.batch_file import BatchFile, read
from ledger.core.settlement.header import Header
from ledger.core.values.ids import ZERO_DIGEST
from ledger.core.values.typed_data import Voucher, signing_digest, voucher_hash
from ledger.flows import batches as settling
from ledger.flows import challenges as disputing
from ledger.flows import indexer
from ledger.flows import postings as posting
from ledger.store.money import postings
from ledger.store.receipts import watermarks
from ledger.store.session import unit_of_work
from ledger.store.settlement import batch_files, batches, challenges, proofs, transactions
from tests import builders as b
from tests.ledger.chain.conftest import DEPOSIT, FUNDS, WINDOW, Stage, register, stage
from tests.rates import asks

__all__ = ["stage"]
RECEIPTS, PAYOUTS, DEBITS, LINES = range(4)
TERMS = b.some_terms(
    lines=[Line(b.MAKER, Role.maker, 100_000), Line(b.COMPUTE, Role.compute, 0, asks(input_token=10**8))]
)


class Operator:
    """A ledger on the stage's lane; its first consumer calls, the second one never does."""

    def __init__(self, engine: Engine, stage: Stage) -> None:
        self.engine, self.stage, self.chain = engine, stage, stage.chain
        self.caller, self.idle = (signer.address for signer in stage.consumers)
        self.lane = settling.Lane(stage.lane, stage.domain, stage.operator.address, 1_000, 0)
        self.network = indexer.Network(
            stage.chain.deployment.chain_id, stage.lane, 0, 0, settlement=stage.domain.contract
        )
        self.served = 0
        register(stage.chain, b.MAKER, b.COMPUTE)
        with unit_of_work(engine) as session:
            watermarks.ensure(session, stage.lane, stage.operator.address)
        self.index()

    def index(self) -> None:
        with unit_of_work(self.engine) as session:
            while indexer.index_next(session, self.chain, self.network, 1):
                pass

    def serve(self, calls: int, leased: int = DEPOSIT) -> None:
        """Calls of the first consumer, leased and posted."""
        signer, first = self.stage.operator, self.served + 1
        self.served += calls
        made = [b.a_receipt(first + n, TERMS, consumer=self.caller, gateway=signer.address) for n in range(calls)]
        with unit_of_work(self.engine) as session:
            postings.book(session, movements.lease(b.LANE, b"one", self.caller, signer.address, leased, 1))
            b.write(session, made, [TERMS], signer)
            assert posting.post_chunk(session, b.LANE, signer.address, 1_000, 1) == calls

    def release(self, amount: int) -> None:
        """The gateway gives back what it did not spend, and it is set aside for who is leaving."""
        with unit_of_work(self.engine) as session:
            postings.book(
                session, movements.release(b.LANE, b"one", self.caller, self.stage.operator.address, amount, 1)
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
            waiting = transactions.intended(session, b.LANE)
            for one in waiting:
                self.chain.transact(self.stage.key(self.stage.operator), (one.target, one.data))
                session.execute(
                    text("UPDATE chain_transactions SET status = 'confirmed' WHERE id = :id"), {"id": one.id}
                )
        self.index()
        return len(waiting)

    def file(self, batch: batches.Batch) -> BatchFile:
        sink = io.BytesIO()
        with unit_of_work(self.engine) as session:
            batch_files.write_again(session, sink, self.stage.domain, batch)
        return read(sink.getvalue())


@pytest.fixture
def operator(engine: Engine, stage: Stage) -> Operator:
    return Operator(engine, stage)


def test_every_question_of_the_chain_is_answered_to_its_satisfaction(operator: Operator) -> None:
    operator.serve(130)
    batch = operator.settle()
    chain, lane, header = operator.chain, operator.stage.lane, batch.header
    with unit_of_work(operator.engine) as session:
        for tree in (RECEIPTS, PAYOUTS, DEBITS, LINES):
            siblings: list[bytes] = []
            node = bytes((header.receipts_root, header.payout_root, header.debit_root, header.lines_root)[tree])
            place = 0
            while True:
                _ask(chain, operator, "demandNode", header, (tree, node, place, siblings[::-1]))
                opened = disputing.open_node(session, batch, tree, len(siblings), place)
                if opened.children is None:
                    break
                side = 0 if any(opened.children[0]) else 1
                siblings.append(opened.children[1 - side])
                node, place = opened.children[side], 2 * place + side
        proof = proofs.debit(session, batch, operator.caller)
        assert proof is not None
        signer = operator.stage.consumers[0]
        signed = signer.sign(
            signing_digest(operator.stage.domain, voucher_hash(Voucher(lane, signer.address, DEPOSIT)))
        )
        row = {"lane": lane, "account": signer.address, "most": DEPOSIT, "signed": signed}
        session.execute(text("INSERT INTO vouchers VALUES (:lane, :account, :most, :signed)"), row)
    debit = (proof.index, proof.account, proof.cumulative, list(proof.siblings))
    _ask(chain, operator, "challengeDebit", header, debit)
    operator.index()
    with unit_of_work(operator.engine) as session:
        asked = len(challenges.unanswered(session, lane))
        assert disputing.answer_all(session, chain.calls, operator.stage.operator.address, lane, 2) == asked > 10
    assert chain.posted(lane, 1).open == asked
    assert operator.send() == asked
    assert chain.posted(lane, 1).open == 0
    with unit_of_work(operator.engine) as session:
        assert challenges.unanswered(session, lane) == []
    operator.stage.wait(WINDOW)
    chain.transact(FUNDS, chain.calls.finalize(lane, 1, header))


@pytest.mark.parametrize("calls", [0, 3])
def test_who_never_called_leaves_with_all_of_its_deposit(operator: Operator, calls: int) -> None:
    chain, lane = operator.chain, operator.stage.lane
    idle = operator.stage.consumers[1]
    before = chain.balance(idle.address)
    chain.transact(operator.stage.key(idle), chain.calls.request_withdraw(lane))
    operator.stage.wait(2)
    operator.index()
    if calls:
        operator.serve(calls)
    batch = operator.settle()
    assert (batch.header.calls, batch.header.debit_root == ZERO_DIGEST) == (calls, calls == 0)
    operator.stage.wait(WINDOW + 1)
    chain.transact(FUNDS, chain.calls.finalize(lane, 1, batch.header))
    with unit_of_work(operator.engine) as session:
        proof = proofs.debit(session, batch, idle.address)
    assert proof is not None
    chain.transact(FUNDS, chain.calls.withdraw(lane, idle.address, proof.cumulative, proof.siblings))
    assert chain.balance(idle.address) == before + DEPOSIT
    assert events.Withdrawn(lane, idle.address, DEPOSIT) in [log.event for log in chain.logs(0, chain.tip())]


def _ask(chain: Chain, operator: Operator, name: str, header: Header, rest: tuple[object, ...]) -> None:
    """Put a question about batch 1 to the chain, as anybody may for a fee."""
    call = chain.calls.to_settlement(name, operator.stage.lane, 1, words(header), *rest)
    chain.transact(operator.stage.key(operator.stage.auditor), call, int(chain.settlement("challengeFee")))
