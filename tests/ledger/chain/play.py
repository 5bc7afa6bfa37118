"""A lane whose operator posts what it likes, and an auditor that knows what anybody can know."""

from __future__ import annotations

from ledger.core.catalog.bids import Line, Role
from ledger.core.disputes.facts import Facts, SignedReceipt
from ledger.core.disputes.faults import examine, state_of
from ledger.core.disputes.proofs import FraudProof
from ledger.core.receipts.receipt import Receipt, receipt_digest
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.values.documents import Document
from ledger.core.values.ids import Address, Digest
from roles.audit.watch import Auditor, Evidence, Files, Finding, gather, inspect
from tests.builders import COMPUTE, MAKER, a_receipt, some_terms
from tests.ledger.chain.conftest import BOND, Stage, epoch_of, register, time_of
from tests.ledger.chain.lies import Book, Draft
from tests.rates import asks

BUDGET = 10**17


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
        self.book.vouchers = {1 + n: signer for n, signer in enumerate(stage.consumers)}
        self.number = 0
        self.drafts: list[Draft] = []
        self.documents: dict[Digest, Document] = {}
        self.held: list[SignedReceipt] = []

    def receipts(self, count: int = 3) -> list[Receipt]:
        """The next receipts of both consumers in turn."""
        made = []
        for _ in range(count):
            self.number += 1
            consumer = self.stage.consumers[self.number % 2].address
            made.append(self.receipt(self.number, consumer))
        return made

    def receipt(self, number: int, consumer: Address, **others: object) -> Receipt:
        """A receipt that ends now."""
        signer, lane = self.stage.operator.address, self.stage.lane
        ended_at = time_of(self.chain) * 1_000
        made = a_receipt(
            number,
            self.terms,
            consumer=consumer,
            gateway=signer,
            lane=lane,
            ended_at=ended_at,
            **others,  # type: ignore[arg-type]
        )
        return made._replace(epoch=epoch_of(self.chain))

    def hold(self, *receipts: Receipt) -> None:
        """Somebody holds these receipts, signed by the gateway."""
        signer = self.stage.operator
        self.held += [SignedReceipt(one, signer.sign(receipt_digest(self.stage.domain, one))) for one in receipts]

    def honest(self, count: int = 3) -> Draft:
        return self.book.honest(self.receipts(count))

    def post(self, draft: Draft) -> BatchFile:
        self.book.closed_at, self.book.era = time_of(self.chain), self.chain.lane(self.stage.lane).era
        file = draft.post()
        self.drafts.append(draft)
        key = self.stage.key(self.stage.operator)
        self.chain.transact(key, self.chain.calls.commit(self.stage.lane, file.header))
        return file

    def auditors_facts(self, *, book: bool = False) -> Facts:
        """What anybody can know."""
        logged = [log.event for log in self.chain.logs(0, self.chain.tip())]
        return gather(self.chain, self.stage.lane, logged, book=book)

    def find_fraud_proof(self, file: BatchFile, *, book: bool = False) -> FraudProof | None:
        before = self.book.files[-2] if len(self.book.files) > 1 else None
        state = state_of(before, before.header) if before else None
        return examine(file, state, file.header, self.stage.lane, self.auditors_facts(book=book)).proof

    def look(self, files: Files | None = None, *, budget: int = BUDGET, book: bool = False) -> list[Finding]:
        """One look of the auditor, and what it says is done."""
        shown = {file.header.id: file for file in self.book.files}
        auditor = Auditor(self.stage.auditor.address, budget)
        evidence = Evidence(files or shown.get, self.documents.get, self.held)
        found = inspect(self.chain, self.stage.lane, evidence, auditor, book=book)
        for one in found:
            if one.call is not None:
                self.chain.transact(self.stage.key(self.stage.auditor), one.call, one.value)
        return found

    def convict(self, file: BatchFile, proof: FraudProof | None, function: str) -> None:
        """The accusation is the one expected, and the chain agrees with it."""
        assert proof is not None, "the auditor saw nothing"
        assert proof.function == function, proof.why
        self.send(file, proof)
        self.is_convicted()

    def is_convicted(self) -> None:
        """Everything pending is void, and the auditor is owed half the bond."""
        lane, chain = self.stage.lane, self.chain
        assert chain.head(lane).next == 1
        assert int(chain.settlement("owed", self.stage.auditor.address)) == BOND // 2
        assert (chain.books(lane).bond, chain.lane(lane).active) == (0, False)

    def send(self, file: BatchFile, proof: FraudProof | None, id: int | None = None) -> None:
        assert proof is not None
        fee = self.chain.question_fee(proof.kind) if proof.paid else 0
        call = self.chain.calls.prove(self.stage.lane, id or file.opening.number, file.header, proof)
        self.chain.transact(self.stage.key(self.stage.auditor), call, 2 * fee)
