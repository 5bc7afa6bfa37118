"""A lost database's receipts and permissions, restored from the public batch files and the chain.

What a batch holds is written back as it was logged: receipts and terms byte for byte, one segment a gateway and batch.
What each receipt charged is leased for it, in a lease that is closed and fully spent. Vouchers are those that debits
rest on, so a higher one that nothing rested on yet is not among them.
"""

from collections.abc import Iterable

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import available, withdrawing
from ledger.core.kernels.receipt_hashes import struct_hashes
from ledger.core.pricing import shares
from ledger.core.receipts.segments import link
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.header import Range
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane, to_hex
from ledger.core.values.typed_data import Voucher, recover, signing_digest, voucher_hash
from ledger.store.access import deposits, leases, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.access.leases import CLOSED, Lease
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts import receipts, segments, terms, watermarks
from ledger.store.receipts.appender import lock_number
from ledger.store.receipts.receipts import Chunk


def check_alone(session: Session, lane: Lane) -> None:
    """Rejected while a gateway writes its receipts to this database. None can begin until this transaction ends."""
    for mark in watermarks.of_lane(session, lane):
        if not leases.gateway_is_gone(session, lock_number(mark.gateway)):
            raise Rejected(f"gateway {to_hex(mark.gateway)} is at work on this database: stop gateways and workers")


def log_again(session: Session, file: BatchFile, now: int) -> dict[Address, int]:
    """Write a batch's receipts back to their logs, and lease what they charge. How many are to post, by gateway.

    Receipts that are there already are left as they are: an earlier batch that held them fell, or a backup has them.
    """
    lane, place = file.opening.lane, 0
    waiting: dict[Address, int] = {}
    for body in file.terms.values():
        terms.put(session, body)
    for row in sorted(file.opening.ranges):
        watermarks.ensure(session, lane, row.gateway)
        mark = next(one for one in watermarks.of_lane(session, lane) if one.gateway == row.gateway)
        if row.first > mark.posted_seq + 1:
            raise Conflict(f"receipts {mark.posted_seq + 1} to {row.first - 1} of {to_hex(row.gateway)} are in no file")
        skipped = mark.posted_seq + 1 - row.first
        if skipped < row.count:
            lost = Range(row.number, row.gateway, row.first + skipped, row.count - skipped)
            _log(session, file, lost, place + skipped, now)
            waiting[row.gateway] = lost.count
        place += row.count
    return waiting


def allow_again(session: Session, file: BatchFile) -> None:
    """Store the vouchers that a batch's debits rest on."""
    lane, accounts = file.opening.lane, lanes.by_index(session, file.opening.lane)
    for one in file.mandates:
        voucher = Voucher(lane, accounts[one.consumer], one.cum_max)
        signer = recover(signing_digest(file.opening.domain, voucher_hash(voucher)), one.signature)
        vouchers.raise_to(session, voucher, signer, one.signature)


def _log(session: Session, file: BatchFile, row: Range, place: int, now: int) -> None:
    lane, gateway = file.opening.lane, row.gateway
    signed = file.signed.part(place, place + row.count)
    chunk = Chunk(signed, struct_hashes(signed.records))
    before = segments.before(session, lane, gateway, row.first)
    previous = before.digest if before else ZERO_DIGEST
    segment = link(gateway, row.first, chunk.digests.tobytes(), chunk.charged, previous)
    receipts.restore(session, chunk)
    segments.add(session, lane, segment)
    spent = shares.add_up(signed.records, file.terms).spent
    for (consumer, of), amount in sorted(spent.items()):
        _lease(session, Lease(lane, ZERO_DIGEST, consumer, of, amount, 0, amount, CLOSED), row.first, now)


def _lease(session: Session, spent: Lease, first: int, now: int) -> None:
    """A lease of what receipts from `first` on charge. Who asked to leave meanwhile has it set aside: it comes back."""
    lane, consumer = spent.lane, spent.consumer
    number = first.to_bytes(8, "big")
    cause = keccak256(b"restored", lane, spent.gateway, consumer, number)
    held = postings.balance(session, lane, available(consumer))
    if held < spent.amount:
        back = min(spent.amount - held, postings.balance(session, lane, withdrawing(consumer)))
        if back:
            postings.book(session, movements.withdraw(lane, b"restored" + cause, consumer, 0, back, now))
    leases.add(session, Lease(lane, cause, consumer, spent.gateway, spent.amount, now, spent.amount, CLOSED))
    postings.book(session, movements.lease(lane, cause, consumer, spent.gateway, spent.amount, now))


def paid_in_again(session: Session, lane: Lane, paid: Iterable[tuple[Address, int]], block: int, now: int) -> None:
    """Store what accounts paid by x402 since they last left, and no deposit of theirs says: each as one deposit that is
    credited.
    """
    for account, amount in paid:
        consumer = lanes.get_consumer(session, lane, account)
        lost = amount - deposits.paid_in(session, lane, account, consumer.left_in_block if consumer else None)
        if lost > 0:
            cause = keccak256(b"restored", lane, account, block.to_bytes(8, "big"))
            one = DepositRequest(cause, lane, account, lost, 0, 0, ZERO_DIGEST, b"", "inbox")
            deposits.request(session, one, now)
            deposits.set_credited(session, one, block)
