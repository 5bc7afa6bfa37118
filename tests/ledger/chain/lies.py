"""Batches that lie: an honest batch in plain Python, with a hook wherever an operator could bend it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ledger.core.catalog.bids import Terms, encode, terms_id
from ledger.core.disputes.challenge_game import OpenTree
from ledger.core.disputes.questions import DEBITS, GATEWAYS, LINES, PAYOUTS, RECEIPTS
from ledger.core.kernels.records import SignedRecords
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt, pack, receipt_digest, struct_hash
from ledger.core.settlement.batch_file import (
    BatchFile,
    Opening,
    Roots,
    heights_of,
    read,
    write_head,
    write_receipts,
    write_tail,
)
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.settlement.header import NO_HEADER, RUN, Heights, Range
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane
from ledger.core.values.sum_tree import (
    DEBIT_TAG,
    PAYOUT_TAG,
    SumTree,
    Word,
    gateway_leaf,
    leaf,
    line_leaf,
    receipt_leaf,
)
from ledger.core.values.typed_data import Domain, Mandate, Signer, Voucher, signing_digest, voucher_hash

Amounts = dict[int, tuple[Address, int]]
Lines = dict[tuple[int, int], int]
"""What each run pays each payee, by (payee's index, run)."""


@dataclass
class Book:
    """An operator's books: who is at which index, what is cumulative so far. Its signer is gateway 1."""

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
    vouchers: dict[int, Signer] = field(default_factory=dict)
    """Who signs the voucher of the consumer at an index, which allows to debit `allowed` in all."""
    allowed: int = 10**12
    closed_at: int = 0
    era: int = 1

    def mandate(self, index: int) -> Mandate:
        """The voucher of a consumer."""
        account = next(account for account, at in self.consumers.items() if at == index)
        hashed = voucher_hash(Voucher(self.lane, account, self.allowed))
        return Mandate(index, self.allowed, self.vouchers[index].sign(signing_digest(self.domain, hashed)))

    def honest(self, receipts: Sequence[Receipt]) -> Draft:
        """The batch these receipts make."""
        bodies = {terms_id(encode(one)): one for one in self.terms}
        paid, owed, lines = dict(self.paid), dict(self.owed), Lines()
        for place, receipt in enumerate(receipts):
            terms, run = bodies[receipt.terms], place // RUN
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
        first = self.files[-1].opening.ranges[0].last + 1 if self.files else 1
        return Draft(self, list(receipts), paid, owed, lines, first)


@dataclass
class Draft:
    """A batch not yet written: bend it, then `write` it. Its file shows it, but for what is `hidden`."""

    book: Book
    receipts: list[Receipt]
    paid: Amounts
    owed: Amounts
    lines: Lines
    first: int
    number: int = 1
    has_row: bool = True
    barred: tuple[int, ...] = ()
    hidden: dict[int, dict[int, Word]] = field(default_factory=dict)
    """Leaves by tree and index that are posted in place of those that the file shows."""
    bend_roots: Callable[[Roots], Roots] | None = None
    book_root: Digest = ZERO_DIGEST
    before: BatchFile | None = None
    """The batch this one goes on from; by default the last one posted."""

    @property
    def opening(self) -> Opening:
        book = self.book
        before = self.before or (book.files[-1] if book.files else None)
        return Opening(
            domain=book.domain,
            lane=book.lane,
            number=len(book.files) + 1,
            epoch=self.receipts[0].epoch if self.receipts else 0,
            era=book.era,
            closed_at=book.closed_at,
            prev=before.header.id if before else NO_HEADER,
            book_root=self.book_root,
            ranges=(Range(self.number, book.signer.address, self.first, len(self.receipts)),) if self.has_row else (),
            barred=self.barred,
        )

    @property
    def heights(self) -> Heights:
        return heights_of(self.opening, _cumulatives(self.paid), _cumulatives(self.owed))

    def write(self) -> bytes:
        """The public file."""
        book, sink = self.book, io.BytesIO()
        write_head(sink, self.opening)
        signatures = [book.signer.sign(receipt_digest(book.domain, receipt)) for receipt in self.receipts]
        rows = (pack(receipt) + signature for receipt, signature in zip(self.receipts, signatures, strict=True))
        write_receipts(sink, SignedRecords.read(np.frombuffer(b"".join(rows), np.uint8), len(signatures)))
        bodies = {terms_id(encode(one)): encode(one) for one in book.terms}
        used = {receipt.terms for receipt in self.receipts}
        roots = self.bend_roots(self.roots()) if self.bend_roots else self.roots()
        agreed, debits, before = {name: bodies[name] for name in used}, _cumulatives(self.owed), self.book.owed
        grown = [index for index, _, total in debits.rows() if total != before.get(index, (b"", 0))[1]]
        mandates = [book.mandate(index) for index in grown if index in book.vouchers]
        write_tail(sink, agreed, _cumulatives(self.paid), debits, mandates, roots)
        return sink.getvalue()

    def roots(self) -> Roots:
        """Over what the draft posts, honest or not."""
        return Roots(*(Digest(self.tree(tree).root) for tree in (RECEIPTS, PAYOUTS, DEBITS, LINES)))

    def tree(self, tree: int) -> SumTree:
        """One of its trees, as it is posted."""
        h = self.heights
        heights = (h.receipts, h.payouts, h.debits, h.lines, h.gateways)
        return OpenTree({**self._leaves(tree), **self.hidden.get(tree, {})}, heights[tree])

    def _leaves(self, tree: int) -> dict[int, Word]:
        lane, runs = self.book.lane, self.heights.runs
        if tree == RECEIPTS:
            return {at: receipt_leaf(lane, struct_hash(one), one.charge) for at, one in enumerate(self.receipts)}
        if tree == LINES:
            return {index << runs | run: line_leaf(lane, index, run, n) for (index, run), n in self.lines.items()}
        if tree == GATEWAYS:
            ranges = self.opening.ranges
            return {one.number: gateway_leaf(lane, one.number, one.gateway, one.first, one.count) for one in ranges}
        tag, amounts = (PAYOUT_TAG, self.paid) if tree == PAYOUTS else (DEBIT_TAG, self.owed)
        return {index: leaf(tag, lane, index, who, total) for index, (who, total) in amounts.items()}

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
