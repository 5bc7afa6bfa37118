"""Vouchers: the most a lane may ever debit an account. The highest one signed counts."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Lane
from ledger.core.values.typed_data import Voucher
from ledger.store.access.tables import DepositRow, VoucherRow
from ledger.store.session import change


def raise_to(session: Session, voucher: Voucher, signature: bytes) -> None:
    """Store a voucher if it allows more than the one on record. A lower one changes nothing: it was signed earlier."""
    statement = insert(VoucherRow).values(
        lane=voucher.lane, account=voucher.account, cum_max=voucher.cum_max, signature=signature
    )
    higher = {"cum_max": statement.excluded.cum_max, "signature": statement.excluded.signature}
    rising = col(VoucherRow.cum_max) < statement.excluded.cum_max
    change(session, statement.on_conflict_do_update(index_elements=["lane", "account"], set_=higher, where=rising))


def highest(session: Session, lane: Lane, account: Address) -> tuple[int, bytes]:
    """The highest voucher on record, locked: its amount and signature; 0 and no bytes when there is none."""
    row = session.get(VoucherRow, (lane, account), populate_existing=True, with_for_update=True)
    return (row.cum_max, row.signature) if row else (0, b"")


def mandate(session: Session, lane: Lane, account: Address) -> int:
    """The most the lane may ever debit the account, in atoms.

    It is the account's highest voucher or, if that is more, what it paid by x402 `exact` and was credited: such an
    authorization says that it pays for calls.
    """
    voucher = select(VoucherRow.cum_max).where(col(VoucherRow.lane) == lane, col(VoucherRow.account) == account)
    paid = select(func.sum(DepositRow.amount)).where(
        col(DepositRow.lane) == lane,
        col(DepositRow.account) == account,
        col(DepositRow.kind) == "inbox",
        col(DepositRow.status) == "credited",
    )
    return int(session.exec(select(func.greatest(voucher.scalar_subquery(), paid.scalar_subquery(), 0))).one())
