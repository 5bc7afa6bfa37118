"""Batches that lie: an honest batch in plain Python, with a hook wherever an operator could bend it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ledger.core.catalog.bids import Terms, encode, terms_id
from ledger.core.disputes.recomputation import DEBITS, PAYOUTS, account_leaves
from ledger.core.kernels.records import SignedRecords
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt, pack, receipt_digest, struct_hash
from ledger.core.settlement.batch_file import BatchFile, Opening, Roots, read, write_head, write_receipts, write_tail
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.settlement.header import Range
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane
from ledger.core.values.sum_tree import CONSUMER_BIT, Tree, line_leaf, receipt_leaf
from ledger.core.values.typed_data import Domain, Signer

Amounts = dict[int, tuple[Address, int]]
Lines = list[tuple[int, int, int]]


@dataclass
class Book:
    """An operator's books: who is at which index, what is cumulative so far."""

    domain: Domain
    lane: Lane
    signer: Signer
    payees: Mapping[Address, int]
    consumers: Mapping[Address, int]
    terms: Sequence[Terms]
    paid: Amounts = field(default_factory=dict)
    owed: Amounts = field(default_factory=dict)
    files: list[BatchFile] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def honest(self, receipts: Sequence[Receipt]) -> Draft:
        """The batch these receipts make."""
        bodies = {terms_id(encode(one)): one for one in self.terms}
        paid, owed, lines = dict(self.paid), dict(self.owed), dict[tuple[int, int], int]()
        for place, receipt in enumerate(receipts):
            terms, run = bodies[receipt.terms], place // 64
            due = price(terms, receipt.units, receipt.subcall_total)
            shares = [(who, amount) for (who, _), amount in zip(payees(terms), due.amounts, strict=True)]
            # an operator that overcharges gives the surplus to the first line: the totals hide it
            shares[0] = (shares[0][0], shares[0][1] + receipt.charge - due.charge)
            for who, amount in shares:
                index = self.payees.get(who, 0)
                paid[index] = (who, paid.get(index, (who, 0))[1] + amount)
                lines[index, run] = lines.get((index, run), 0) + amount
            index = self.consumers[receipt.consumer]
            owed[index] = (receipt.consumer, owed.get(index, (receipt.consumer, 0))[1] + receipt.charge)
            lines[index | CONSUMER_BIT, run] = lines.get((index | CONSUMER_BIT, run), 0) + receipt.charge
        rows = [(party, run, amount) for (party, run), amount in sorted(lines.items()) if amount]
        first = self.files[-1].opening.ranges[0].last + 1 if self.files else 1
        return Draft(self, list(receipts), paid, owed, rows, first)


@dataclass
class Draft:
    """A batch not yet written: bend it, then `write` it."""

    book: Book
    receipts: list[Receipt]
    paid: Amounts
    owed: Amounts
    lines: Lines
    first: int
    bend_roots: Callable[[Roots], Roots] | None = None
    book_root: Digest = ZERO_DIGEST
    before: BatchFile | None = None
    """The batch this one goes on from; by default the last one posted."""

    def write(self) -> bytes:
        """The public file."""
        book = self.book
        before = self.before or (book.files[-1] if book.files else None)
        opening = Opening(
            domain=book.domain,
            lane=book.lane,
            number=len(book.files) + 1,
            epoch=self.receipts[0].epoch,
            first_call=before.opening.first_call + before.opening.calls if before else 0,
            prev=before.header.hash if before else ZERO_DIGEST,
            book_root=self.book_root,
            ranges=(Range(book.signer.address, self.first, len(self.receipts)),),
        )
        sink = io.BytesIO()
        write_head(sink, opening)
        signatures = [book.signer.sign(receipt_digest(book.domain, receipt)) for receipt in self.receipts]
        rows = (pack(receipt) + signature for receipt, signature in zip(self.receipts, signatures, strict=True))
        write_receipts(sink, SignedRecords.read(np.frombuffer(b"".join(rows), np.uint8), len(signatures)))
        bodies = {terms_id(encode(one)): encode(one) for one in book.terms}
        used = {receipt.terms for receipt in self.receipts}
        payouts, debits = _cumulatives(self.paid), _cumulatives(self.owed)
        roots = self.bend_roots(self.roots()) if self.bend_roots else self.roots()
        write_tail(sink, {name: bodies[name] for name in used}, payouts, debits, roots)
        return sink.getvalue()

    def roots(self) -> Roots:
        """Over what the draft says, honest or not."""
        leaves = [receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in self.receipts]
        return Roots(
            Digest(Tree.build(leaves).root),
            Digest(self.account_tree(PAYOUTS).root),
            Digest(self.account_tree(DEBITS).root),
            Digest(self.lines_tree().root),
        )

    def account_tree(self, tree: int) -> Tree:
        """The payouts or debits as drafted."""
        amounts = (self.paid if tree == PAYOUTS else self.owed).items()
        return Tree.build(account_leaves(tree, {index: (index, *row) for index, row in amounts if row[1]}))

    def lines_tree(self) -> Tree:
        """The lines as drafted."""
        return Tree.build([line_leaf(*line) for line in self.lines])

    def post(self) -> BatchFile:
        """Write it, and take it into the books."""
        body = self.write()
        file = read(body)
        self.book.paid, self.book.owed = self.paid, self.owed
        self.book.files.append(file)
        self.book.bodies.append(body)
        return file


def _cumulatives(amounts: Amounts) -> Cumulatives:
    return Cumulatives.of((index, who, amount) for index, (who, amount) in amounts.items())
