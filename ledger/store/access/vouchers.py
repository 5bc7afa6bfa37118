"""Vouchers: the most a lane may ever debit an account. The highest one signed counts."""

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session

from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Voucher
from ledger.store.access.tables import VoucherRow
from ledger.store.chain.tables import SessionKeyRow


def raise_to(session: Session, voucher: Voucher, signature: bytes) -> None:
    """Keep a voucher if it allows more than the one on record. A lower one changes nothing: it was signed earlier."""
    statement = insert(VoucherRow).values(
        lane=voucher.lane, account=voucher.account, cum_max=voucher.cum_max, signature=signature
    )
    kept = {"cum_max": statement.excluded.cum_max, "signature": statement.excluded.signature}
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["lane", "account"], set_=kept, where=VoucherRow.cum_max < statement.excluded.cum_max
        )
    )


def highest(session: Session, lane: int, account: Address) -> int:
    """The highest voucher on record: 0 when there is none."""
    row = session.get(VoucherRow, (lane, account), populate_existing=True, with_for_update=True)
    return row.cum_max if row else 0


def mandate(session: Session, lane: int, account: Address) -> int:
    """The most the lane may ever debit the account, in atoms.

    It is the account's highest voucher, or what it signed over by x402 `exact` and was credited: each such
    authorization pays for calls and says so.
    """
    found = session.execute(
        text(
            "SELECT greatest((SELECT cum_max FROM vouchers WHERE lane = :lane AND account = :account),"
            " (SELECT sum(amount) FROM deposits_requested WHERE lane = :lane AND account = :account"
            "  AND kind = 'inbox' AND status = 'credited'), 0)::bigint"
        ),
        {"lane": lane, "account": account},
    )
    return int(found.scalar_one())


def is_session_key(session: Session, account: Address, key: Address) -> bool:
    """True when the account lets this key sign for it."""
    row = session.get(SessionKeyRow, (account, key))
    return row is not None and row.active
