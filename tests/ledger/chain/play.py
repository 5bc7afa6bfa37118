"""A lane whose operator posts what it likes, and an auditor that knows what anybody can know."""

from __future__ import annotations

from ledger.core.catalog.bids import Line, Role
from ledger.core.disputes.faults import find_fraud_proof
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.recomputation import Facts, PlacedBid
from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.values.ids import Address, Digest
from tests.builders import COMPUTE, MAKER, a_receipt, some_terms
from tests.ledger.chain.conftest import BOND, DEPOSIT, Stage, register
from tests.ledger.chain.lies import Book, Draft
from tests.rates import asks


class Play:
    """A lane whose operator posts what it likes, and an auditor that knows what anybody can know."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.chain = stage, stage.chain
        self.treasury = Address(bytes.fromhex(stage.chain.deployment.treasury[2:]))
        lines = [
            Line(MAKER, Role.maker, 100_000),
            Line(COMPUTE, Role.compute, 0, asks(input_token=100_000_000, output_token=400_000_000)),
            Line(self.treasury, Role.protocol, 20_000),
        ]
        self.terms = some_terms(lines=lines)
        self.payees = register(self.chain, MAKER, COMPUTE, self.treasury)
        self.consumers = {signer.address: 1 + n for n, signer in enumerate(stage.consumers)}
        self.book = Book(stage.domain, stage.lane, stage.operator, self.payees, self.consumers, [self.terms])
        self.number = 0

    def receipts(self, count: int = 3) -> list[Receipt]:
        """The next receipts of both consumers in turn."""
        made = []
        for _ in range(count):
            self.number += 1
            consumer = self.stage.consumers[self.number % 2].address
            made.append(a_receipt(self.number, self.terms, consumer=consumer, gateway=self.stage.operator.address))
        return made

    def honest(self, count: int = 3) -> Draft:
        return self.book.honest(self.receipts(count))

    def post(self, draft: Draft) -> BatchFile:
        file = draft.post()
        key = self.stage.key(self.stage.operator)
        self.chain.transact(key, self.chain.calls.commit(self.stage.lane, file.header))
        return file

    def facts(self, bids: dict[tuple[Digest, Role, Address], list[PlacedBid]] | None = None) -> Facts:
        payees = {index: party for party, index in self.payees.items()}
        deposits = {who: (index, DEPOSIT) for who, index in self.consumers.items()}
        return Facts(self.treasury, payees, deposits, bids)

    def find_fraud_proof(self, file: BatchFile, facts: Facts | None = None) -> FraudProof | None:
        before = self.book.files[-2] if len(self.book.files) > 1 else None
        return find_fraud_proof(file, before, file.header, facts or self.facts())

    def convict(self, file: BatchFile, proof: FraudProof | None, function: str) -> None:
        """The accusation is the one expected, and the chain agrees with it."""
        assert proof is not None, "the auditor saw nothing"
        assert proof.function == function, proof.why
        self.send(file, proof)
        head = self.chain.head(self.stage.lane)
        assert head.next == file.opening.number, "the batch and all after it are void"
        assert self.chain.balance(self.stage.auditor.address) == 10**12 + BOND // 2, "the auditor has half the bond"
        lane = self.chain.lane(self.stage.lane)
        assert (lane.bond, lane.insurance, lane.active) == (0, BOND - BOND // 2, False)

    def send(self, file: BatchFile, proof: FraudProof | None) -> None:
        assert proof is not None
        fee = int(self.chain.settlement("challengeFee")) if proof.paid else 0
        call = self.chain.calls.prove(self.stage.lane, file.opening.number, file.header, proof)
        self.chain.transact(self.stage.key(self.stage.auditor), call, fee)
