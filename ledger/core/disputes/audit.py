"""The audit: recompute a batch from its public file and the file before it, and name the first difference.

Prices follow from terms, shares from prices, sums from shares, trees from sums, the header from all of them. The files
are enough: an audit needs no database, no gateway and no operator.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TypeVar

import numpy as np

from ledger.core.catalog.bids import BOOKED, Bid, Role, decode
from ledger.core.pricing.epochs import Book
from ledger.core.receipts import subcalls
from ledger.core.receipts.receipt import MAX_SUBCALLS, Receipt, receipt_digest
from ledger.core.receipts.record import Records, receipt_of
from ledger.core.receipts.subcalls import Wrong
from ledger.core.settlement.bars import RECEIPT_LIFE
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import ReceiptOrder, Trees
from ledger.core.settlement.cumulatives import NOTHING, Cumulatives
from ledger.core.settlement.header import NO_HEADER, RUN, Header, Range, gaps
from ledger.core.values.atoms import Atoms, ceil_div
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, lane_subject, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, PAYOUT_TAG, amount
from ledger.core.values.typed_data import signed_by

CHUNK = 1024 * RUN

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of an audit. If not `ok`, the first `difference`: its subject, `where`, `expected` and `found`."""

    ok: bool
    receipts: int
    payees: int
    consumers: int
    charged: Atoms
    difference: str = ""
    where: str = ""
    expected: str = ""
    found: str = ""
    signatures: int = field(default=0)

    def __str__(self) -> str:
        if self.ok:
            return f"ok: {self.receipts} receipts, {self.payees} payees, {self.charged} atoms"
        return f"{self.difference} at {self.where}: expected {self.expected}, found {self.found}"


@dataclass
class _Difference(Exception):
    what: str
    where: str
    expected: object
    found: object


def verify(
    file: BatchFile,
    previous: BatchFile | None = None,
    header: Header | None = None,
    *,
    signature_step: int = 1,
    books: Sequence[Book] = (),
    epoch_seconds: int | None = None,
) -> Verdict:
    """Recompute a batch. `previous` is the active batch before it (None for the first), `header` the committed one.

    `books` are the bids in force in the epochs of the batch and of its receipts, rebuilt from BidBook's events. The
    header's book root must be its epoch's or zero. Lines whose roles bid on chain must be the bids of their epoch.
    `epoch_seconds`: also check the times and epochs of receipts (None on a private grid).

    Checks every `signature_step`-th signature; 0 checks none. Order: header, chain of batches, order of receipts,
    times, signatures, sub-calls, books, prices, receipts root, payouts, debits, lines root, totals. One linear pass.
    The gateways root and the heights follow from the file's rows: only `header` can contradict them.
    """
    charged = amount(file.roots.receipts)
    counts = (len(file.signed), len(file.payouts), len(file.debits), charged)
    try:
        _check_header(file, header)
        _check_chain(file, previous)
        _check_receipts(file, signature_step, epoch_seconds)
        for book in books:
            _check_book(file, book)
        _check_sums(file, previous)
    except _Difference as difference:
        expected, found = _text(difference.expected), _text(difference.found)
        return Verdict(False, *counts, difference.what, difference.where, expected, found)
    return Verdict(True, *counts, signatures=ceil_div(len(file.signed), signature_step) if signature_step else 0)


def _check_header(file: BatchFile, header: Header | None) -> None:
    for one in fields(Header) if header else ():
        committed, computed = getattr(header, one.name), getattr(file.header, one.name)
        _same("header", one.name, committed, computed)


def _check_chain(file: BatchFile, previous: BatchFile | None) -> None:
    now = file.opening
    if previous is None:
        _same("first batch", "prev", NO_HEADER, now.prev)
        _check_receipt_logs((), now.ranges)
        return
    before = previous.opening
    _same("chain", "lane", before.lane, now.lane)
    _same("chain", "domain", before.domain, now.domain)
    if now.number <= before.number:  # a missing number is a voided batch; its receipts are in this one
        raise _Difference("chain", "number", f"above {before.number}", now.number)
    _same("chain", "prev", previous.header.id, now.prev)
    for what, last, this in (("era", before.era, now.era), ("closed_at", before.closed_at, now.closed_at)):
        if this < last:
            raise _Difference("chain", what, f"at least {last}", this)
    _check_receipt_logs(before.ranges, now.ranges)


def _check_receipt_logs(before: Sequence[Range], now: Sequence[Range]) -> None:
    known = {row.gateway: row.number for row in before}
    for row in now:
        _same("chain", f"number of gateway {to_hex(row.gateway)}", known.get(row.gateway, row.number), row.number)
    for gateway, expected, found in gaps(before, now):
        raise _Difference("chain", f"first receipt of {to_hex(gateway)}", expected, found or "no row")


def _check_receipts(file: BatchFile, step: int, epoch_seconds: int | None) -> None:
    order = ReceiptOrder(file.opening)
    for number, part in enumerate(_parts(file)):
        _attempt("place", partial(order.check, part))
        if epoch_seconds is not None:
            _check_times(file, part, number * CHUNK, epoch_seconds)
    _attempt("place", order.check_end)
    for place in range(0, len(file.signed), step) if step else ():
        _check_signature(file, place)
    _check_subcalls(file)


def _check_times(file: BatchFile, records: Records, first: int, epoch_seconds: int) -> None:
    """A receipt ended before the batch was closed, not too long before, in the epoch that it names or the next."""
    closed = file.opening.closed_at
    ended = records["ended_at"].astype(np.int64) // 1_000
    late = (records["epoch"].astype(np.int64) - ended // epoch_seconds) + 1
    here = [place - first for place in file.opening.barred if first <= place < first + len(records)]
    for what, wrong in (("ended_at", (ended > closed) | (ended + RECEIPT_LIFE < closed)), ("epoch", (late >> 1) != 0)):
        wrong[here] = False
        if wrong.any():
            at = int(np.argmax(wrong))
            rule = (
                f"in the {RECEIPT_LIFE} s before {closed}" if what == "ended_at" else "the epoch of its end, or before"
            )
            receipt = receipt_of(records[at])
            raise _Difference(what, _receipt(receipt, first + at), rule, int(records[what][at]))


def _check_book(file: BatchFile, book: Book) -> None:
    if file.opening.epoch == book.epoch and file.opening.book_root != ZERO_DIGEST:
        _same("book", f"root of epoch {book.epoch}", book.root, file.opening.book_root)
    lane = lane_subject(file.opening.lane)
    named: set[bytes] = set()
    for records in _parts(file):
        named |= {row["terms"].tobytes() for row in records[records["epoch"] == book.epoch]}
    for name in sorted(named & file.terms.keys()):
        terms = _attempt("terms", partial(decode, file.terms[Digest(name)]))
        for number, line in enumerate(terms.lines):
            if line.role in BOOKED:
                due = book.bid(lane if line.role is Role.gateway else terms.subject, line.role, line.party)
                where = f"line {number} of terms {to_hex(name)} in epoch {book.epoch}"
                _same("bid", where, due, Bid(line.ratio_ppm, line.asks))


def _check_signature(file: BatchFile, place: int) -> None:
    receipt = file.signed.receipt(place)
    if not signed_by(receipt_digest(file.opening.domain, receipt), file.signed.signature(place), receipt.gateway):
        raise _Difference("signature", _receipt(receipt, place), to_hex(receipt.gateway), "another signer")


def _check_subcalls(file: BatchFile) -> None:
    """The receipts of a workflow stand right before its root, and their prices are its `subcall_total`."""
    strays: set[bytes] = set()
    for begin in range(0, len(file.signed), CHUNK):
        first, last = max(0, begin - MAX_SUBCALLS), min(begin + CHUNK, len(file.signed))
        records = file.signed.part(first, last + MAX_SUBCALLS).records
        wrong, found = subcalls.examine(records, begin - first, last - first)
        _right(records, wrong, first)
        strays |= found
    for begin in range(0, len(file.signed), CHUNK) if strays else ():
        records = file.signed.part(begin, begin + CHUNK).records
        _right(records, subcalls.counted_by_none(records, strays), begin)


def _right(records: Records, wrong: Wrong | None, first: int) -> None:
    if wrong is not None:
        where = _receipt(receipt_of(records[wrong.place]), first + wrong.place)
        raise _Difference(wrong.field, where, wrong.expected, wrong.found)


def _check_sums(file: BatchFile, previous: BatchFile | None) -> None:
    payouts, debits = (previous.payouts, previous.debits) if previous else (NOTHING, NOTHING)
    lane = file.opening.lane
    trees = Trees(lane, _indexes(file.payouts), _indexes(file.debits), file.opening.barred)
    for part in _parts(file):
        _attempt("price", partial(trees.add, part, file.terms))
    _same("terms", "those the receipts name", len(trees.terms), len(file.terms))
    _same("receipts root", "roots", trees.receipts_root(), file.roots.receipts)
    earned = _attempt("payouts", trees.payouts)
    debited = _attempt("debits", trees.debited)
    _check_rows("payouts", _attempt("payouts", partial(payouts.plus, earned)), file.payouts)
    _check_rows("debits", _attempt("debits", partial(debits.plus, debited)), file.debits)
    _same("payout root", "roots", file.payouts.tree(PAYOUT_TAG, lane).root, file.roots.payout)
    _same("debit root", "roots", file.debits.tree(DEBIT_TAG, lane).root, file.roots.debit)
    _same("lines root", "roots", trees.lines_root(file.heights), file.roots.lines)
    charged = payouts.total + amount(file.roots.receipts)
    _same("totals", "previous payouts + receipts = payouts", charged, amount(file.roots.payout))
    _same("totals", "payouts = debits", amount(file.roots.payout), amount(file.roots.debit))
    _same("totals", "lines = receipts", amount(file.roots.receipts), amount(file.roots.lines))


def _check_rows(what: str, computed: Cumulatives, found: Cumulatives) -> None:
    due, posted = ({row[0]: row for row in rows.rows()} for rows in (computed, found))
    for index in sorted({*due, *posted}):
        left, right = due.get(index), posted.get(index)
        if left != right:
            account = to_hex((left or right or (0, b"", 0))[1])
            raise _Difference(what, f"index {index}, {account}", left[2] if left else 0, right[2] if right else 0)


def _parts(file: BatchFile) -> Iterator[Records]:
    """The receipts in chunks: bounded memory for a file of any size."""
    for begin in range(0, len(file.signed), CHUNK):
        yield file.signed.part(begin, begin + CHUNK).records


def _indexes(rows: Cumulatives) -> Mapping[Address, int]:
    return {account: index for index, account, _ in rows.rows()}


def _receipt(receipt: Receipt, place: int) -> str:
    return f"place {place}, receipt {receipt.seq} of {to_hex(receipt.gateway)}"


def _same(what: str, where: str, expected: object, found: object) -> None:
    if expected != found:
        raise _Difference(what, where, expected, found)


def _text(value: object) -> str:
    return to_hex(value) if isinstance(value, bytes) else str(value)


def _attempt(what: str, work: Callable[[], Result]) -> Result:
    """Run a check. Its error becomes the reported difference."""
    try:
        return work()
    except TollwayError as error:
        raise _Difference(what, str(error.facts or ""), "what the rule gives", error.message) from error
