"""Vouchers: the most a lane may ever debit an account. Alone: one table, one file.

The highest counts of those whose signer does: the account itself always, a session key until it is revoked, and in
batches closed within its notice still. So what a stolen key signed ends with the key.
"""

from typing import NamedTuple

from sqlalchemy import and_, or_
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.accounts import permissions
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.typed_data import Voucher
from ledger.store.access import deposits
from ledger.store.access.tables import VoucherRow
from ledger.store.chain import lanes, parties
from ledger.store.chain.tables import SessionKeyRow
from ledger.store.session import change


class Opened(NamedTuple):
    """The call that a voucher opened, and the fingerprint of its request: a call that was released is made again, but
    for the same request only.
    """

    call: Digest
    request: Digest


def raise_to(
    session: Session, voucher: Voucher, signer: Address, signature: bytes, opens: Opened | None = None
) -> bool:
    """Store a voucher if it allows more than those that count, and what it opens. False if it does not: it was signed
    earlier, or stored by another request.
    """
    if voucher.cum_max <= highest(session, voucher.lane, voucher.account)[0]:
        return False
    row = {"lane": voucher.lane, "account": voucher.account, "signer": signer, "cum_max": voucher.cum_max}
    call, request = opens if opens is not None else (None, None)
    new = {"signature": signature, "call": call, "request": request}
    statement = insert(VoucherRow).values(**row, **new)
    rising = col(VoucherRow.cum_max) < statement.excluded.cum_max
    higher = {"cum_max": voucher.cum_max, **new}
    keys = ["lane", "account", "signer"]
    return change(session, statement.on_conflict_do_update(index_elements=keys, set_=higher, where=rising)) == 1


def highest(session: Session, lane: Lane, account: Address) -> tuple[int, Opened | None]:
    """The amount of the highest voucher that counts, and what it opened if it opened a call; 0 without one."""
    query = select(VoucherRow).where(col(VoucherRow.lane) == lane, col(VoucherRow.account) == account)
    query = query.where(col(VoucherRow.signer).in_(parties.signers_of(session, account)))
    row = session.exec(query.order_by(col(VoucherRow.cum_max).desc()).execution_options(populate_existing=True)).first()
    if row is None:
        return 0, None
    return row.cum_max, Opened(Digest(row.call), Digest(row.request or b"")) if row.call is not None else None


def at_closing(
    session: Session, lane: Lane, closed_at: int, account: Address | None = None
) -> dict[Address, tuple[int, bytes]]:
    """What counts in a batch closed at a time (s): the highest voucher of every account, or of one; its signature."""
    key = and_(col(SessionKeyRow.account) == col(VoucherRow.account), col(SessionKeyRow.key) == col(VoucherRow.signer))
    until = col(SessionKeyRow.counts_until)
    query = select(VoucherRow.account, VoucherRow.cum_max, VoucherRow.signature).outerjoin(SessionKeyRow, key)
    own, is_key = col(VoucherRow.signer) == col(VoucherRow.account), col(SessionKeyRow.key).is_not(None)
    query = query.where(col(VoucherRow.lane) == lane, or_(own, and_(is_key, or_(until.is_(None), until > closed_at))))
    if account is not None:
        query = query.where(col(VoucherRow.account) == account)
    rows = session.exec(query.order_by(col(VoucherRow.cum_max)))
    return {Address(owner): (cum_max, signature) for owner, cum_max, signature in rows}


def mandate(session: Session, lane: Lane, account: Address) -> int:
    """The most the lane may ever debit the account, in atoms, by what counts now."""
    return mandate_with(session, lane, account, highest(session, lane, account)[0])


def mandate_with(session: Session, lane: Lane, account: Address, cum_max: int) -> int:
    """The most the lane may ever debit the account, in atoms, if its highest voucher that counts is of `cum_max`."""
    consumer = lanes.get_consumer(session, lane, account)
    debit_at_exit, left_in_block = (consumer.debit_at_exit, consumer.left_in_block) if consumer else (0, None)
    return permissions.mandate(cum_max, debit_at_exit, deposits.paid_in(session, lane, account, left_in_block))
