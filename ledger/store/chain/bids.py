"""Bids as the chain placed them, and the books frozen from them."""

import struct

from sqlalchemy import func
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import Bid, Role, decode_asks, encode_asks
from ledger.core.pricing import epochs
from ledger.core.pricing.epochs import BidInForce
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest
from ledger.store.chain.tables import BidRow
from ledger.store.network.tables import BookRow
from ledger.store.session import insert_once

_ROW = struct.Struct(">32sB20sIQQ")
"""A bid in a book's body: subject, role, party, ratio in ppm, first epoch, until epoch. Its asks follow."""


def place(session: Session, bid: BidInForce, block: int, log_index: int) -> None:
    """Mirror a bid, and the log that placed it; the same log again changes nothing."""
    row = {"subject": bid.subject, "role": int(bid.role), "party": bid.party, "from_epoch": bid.first}
    row |= {"until_epoch": bid.until, "ratio_ppm": bid.bid.ratio_ppm, "asks": encode_asks(bid.bid.asks)}
    row |= {"block": block, "log_index": log_index}
    insert_once(session, BidRow, row)


def placed_until(session: Session, epoch: int) -> list[BidInForce]:
    """All bids that may count in an epoch, in the order they were placed."""
    query = select(BidRow).where(col(BidRow.from_epoch) <= epoch, col(BidRow.until_epoch) > epoch)
    return [_bid_in_force(row) for row in session.exec(query.order_by(col(BidRow.block), col(BidRow.log_index)))]


def of_subject(session: Session, subject: Digest, epoch: int) -> list[BidInForce]:
    """The bids for a subject that are in force in an epoch, or enter later."""
    query = select(BidRow).where(col(BidRow.subject) == subject, col(BidRow.until_epoch) > epoch)
    return [_bid_in_force(row) for row in session.exec(query.order_by(col(BidRow.block), col(BidRow.log_index)))]


def of_party(session: Session, party: Address) -> list[BidInForce]:
    """Every bid a party placed, oldest first."""
    query = select(BidRow).where(col(BidRow.party) == party)
    return [_bid_in_force(row) for row in session.exec(query.order_by(col(BidRow.block), col(BidRow.log_index)))]


def freeze(session: Session, book: epochs.Book, now: int) -> None:
    """Store an epoch's book. Another root for the same epoch is a Conflict."""
    insert_once(session, BookRow, {"epoch": book.epoch, "root": book.root, "body": encode(book), "frozen_at": now})
    known = root(session, book.epoch)
    if known != book.root:
        raise Conflict(f"the book of epoch {book.epoch} was frozen with another root", epoch=book.epoch)


def root(session: Session, epoch: int) -> Digest | None:
    """The root of an epoch's book, if it was frozen."""
    row = session.get(BookRow, epoch, populate_existing=True)
    return Digest(row.root) if row else None


def book(session: Session, epoch: int) -> epochs.Book | None:
    """The book of an epoch, if it was frozen."""
    row = session.get(BookRow, epoch, populate_existing=True)
    return decode(row.epoch, row.body) if row else None


def latest_epoch(session: Session) -> int | None:
    """The newest epoch with a frozen book."""
    return session.exec(select(func.max(BookRow.epoch))).one()


def encode(frozen: epochs.Book) -> bytes:
    """A book's rows end to end, in the order of its leaves."""
    return b"".join(
        _ROW.pack(row.subject, row.role, row.party, row.bid.ratio_ppm, row.first, row.until) + encode_asks(row.bid.asks)
        for row in frozen.rows
    )


def decode(epoch: int, body: bytes) -> epochs.Book:
    """The inverse of `encode`."""
    rows, at = [], 0
    while at < len(body):
        subject, role, party, ratio, first, until = _ROW.unpack_from(body, at)
        asks, at = decode_asks(body, at + _ROW.size)
        rows.append(BidInForce(Digest(subject), Role(role), Address(party), Bid(ratio, asks), first, until))
    return epochs.freeze(rows, epoch)


def _bid_in_force(row: BidRow) -> BidInForce:
    bid = Bid(row.ratio_ppm, decode_asks(row.asks, 0)[0])
    return BidInForce(Digest(row.subject), Role(row.role), Address(row.party), bid, row.from_epoch, row.until_epoch)
