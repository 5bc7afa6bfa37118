"""Vouchers: the most a lane may ever debit an account. The highest one signed counts. Alone: one table, one file."""

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col

from ledger.core.accounts import permissions
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.typed_data import Voucher
from ledger.store.access import deposits
from ledger.store.access.tables import VoucherRow
from ledger.store.chain import lanes, parties
from ledger.store.session import change


def raise_to(session: Session, voucher: Voucher, signer: Address, signature: bytes, call: Digest | None = None) -> bool:
    """Store a voucher if it allows more than the one on record, and the call it opens. False if it does not: it was
    signed earlier, or stored by another request.
    """
    row = {"lane": voucher.lane, "account": voucher.account, "cum_max": voucher.cum_max}
    new = {"signer": signer, "signature": signature, "call": call}
    statement = insert(VoucherRow).values(**row, **new)
    rising = col(VoucherRow.cum_max) < statement.excluded.cum_max
    higher = {"cum_max": voucher.cum_max, **new}
    statement = statement.on_conflict_do_update(index_elements=["lane", "account"], set_=higher, where=rising)
    return change(session, statement) == 1


def opened(session: Session, lane: Lane, account: Address) -> tuple[int, Digest | None]:
    """The highest voucher's amount, and the call it opened if it opened one."""
    row = session.get(VoucherRow, (lane, account), populate_existing=True)
    return (row.cum_max, Digest(row.call) if row.call is not None else None) if row else (0, None)


def highest(session: Session, lane: Lane, account: Address) -> tuple[int, bytes]:
    """The highest voucher on record, locked: its amount and signature; 0 and no bytes when there is none."""
    row = session.get(VoucherRow, (lane, account), populate_existing=True, with_for_update=True)
    return (row.cum_max, row.signature) if row else (0, b"")


def mandate(session: Session, lane: Lane, account: Address) -> int:
    """The most the lane may ever debit the account, in atoms. A voucher counts until its key is revoked."""
    voucher = session.get(VoucherRow, (lane, account), populate_existing=True)
    counts = voucher is not None and Address(voucher.signer) in parties.signers_of(session, account)
    return mandate_with(session, lane, account, voucher.cum_max if voucher is not None and counts else 0)


def mandate_with(session: Session, lane: Lane, account: Address, cum_max: int) -> int:
    """The most the lane may ever debit the account, in atoms, if its highest voucher that counts is of `cum_max`."""
    consumer = lanes.get_consumer(session, lane, account)
    debit_at_exit, left_in_block = (consumer.debit_at_exit, consumer.left_in_block) if consumer else (0, None)
    return permissions.mandate(cum_max, debit_at_exit, deposits.paid_in(session, lane, account, left_in_block))
