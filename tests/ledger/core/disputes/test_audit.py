"""An audit across a void batch, and against the book of an epoch."""

from __future__ import annotations

from ledger.core.catalog.bids import Bid, Line, Role
from ledger.core.disputes import audit
from ledger.core.pricing import epochs
from ledger.core.pricing.epochs import BidInForce
from ledger.core.settlement.batch_file import BatchFile, read
from ledger.core.values.ids import Address, Digest
from tests.builders import ALICE, BOB, COMPUTE, DOMAIN, GATEWAY, MAKER, TREASURY, a_receipt, some_terms
from tests.ledger.chain.lies import Book
from tests.rates import asks

LANE = Address(bytes(19) + b"\1")

EPOCH = 500_000
ASKS = asks(input_token=100_000_000, output_token=400_000_000)
NODE = Line(COMPUTE, Role.compute, 0, ASKS)
TERMS = some_terms(lines=[Line(MAKER, Role.maker, 100_000), NODE, Line(TREASURY, Role.protocol, 20_000)])


def a_book() -> Book:
    return Book(DOMAIN, LANE, GATEWAY, {MAKER: 1, COMPUTE: 2, TREASURY: 3}, {ALICE: 1, BOB: 2}, [TERMS])


def a_batch(book: Book, first: int, root: Digest | None = None) -> bytes:
    receipts = [a_receipt(first + n, TERMS)._replace(epoch=EPOCH) for n in range(3)]
    draft = book.honest(receipts)
    draft.book_root = root or draft.book_root
    return draft.write()


def the_bids(output: int = 400_000_000) -> epochs.Book:
    bid = Bid(0, asks(input_token=100_000_000, output_token=output))
    placed = BidInForce(TERMS.subject, Role.compute, COMPUTE, bid, EPOCH - 1, EPOCH + 23)
    return epochs.freeze([placed], EPOCH)


def test_the_batch_after_a_void_one_goes_on_from_the_last_good_one() -> None:
    book = a_book()
    first = book.honest([a_receipt(n, TERMS)._replace(epoch=EPOCH) for n in (1, 2, 3)]).post()
    fallen = read(a_batch(book, 4))
    book.files += [fallen, fallen]  # numbers 2 and 3 were void: the next is number 4
    draft = book.honest([a_receipt(n, TERMS)._replace(epoch=EPOCH) for n in (4, 5, 6)])
    draft.first, draft.before = 4, first
    third = read(draft.write())
    assert third.opening.number == 4
    assert audit.verify(third, first).ok
    assert not audit.verify(third, fallen).ok
    assert not audit.verify(first, third).ok, "numbers only rise"


def test_a_root_that_is_not_the_books_is_told_and_none_is_no_lie() -> None:
    told = read(a_batch(a_book(), 1, the_bids().root))
    assert audit.verify(told, books=[the_bids()]).ok
    assert audit.verify(told, books=[the_bids(1)]).difference == "book"
    assert audit.verify(read(a_batch(a_book(), 1)), books=[the_bids()]).ok


def test_a_line_that_is_not_the_bid_in_force_is_told() -> None:
    file: BatchFile = read(a_batch(a_book(), 1))
    verdict = audit.verify(file, books=[the_bids(399_999_999)])
    assert verdict.difference == "bid"
    assert "line" in verdict.where
    assert audit.verify(file, books=[epochs.freeze([], EPOCH)]).difference == "bid"
    assert audit.verify(file, books=[epochs.freeze([], EPOCH + 1)]).ok, "another epoch's book judges nothing here"
