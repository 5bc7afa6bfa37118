"""What a shop would write first: a SQLModel row for each share, balances updated by the ORM, one commit a receipt."""

from __future__ import annotations

import time

from sqlalchemy import Engine
from sqlmodel import Field, Session, SQLModel, select

from bench import journals
from ledger.core.bids import decode
from ledger.core.pricing import payees, price
from ledger.core.receipts import unpack_all
from ledger.store import receipts, terms
from ledger.store.tables.columns import big


class ShareRow(SQLModel, table=True):
    """One payee's share of one receipt."""

    __tablename__ = "peer_shares"
    id: int | None = Field(default=None, primary_key=True)
    seq: int = big(index=True)
    payee: bytes = Field(index=True)
    role: int = big()
    amount: int = big()


class BalanceRow(SQLModel, table=True):
    """A payee's balance."""

    __tablename__ = "peer_balances"
    payee: bytes = Field(primary_key=True)
    amount: int = big()


def measure(engine: Engine, count: int = 1_000) -> float:
    """Receipts a second."""
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name in ("peer_shares", "peer_balances")]
    SQLModel.metadata.create_all(engine, tables)
    with Session(engine) as session:
        chunk = receipts.chunk(session, journals.gateway_of(2), 1, count)
        known = {name: decode(body) for name, body in terms.get(session, chunk.terms_ids()).items()}
    start = time.perf_counter()
    for receipt in unpack_all(chunk.records):
        named = known[receipt.terms]
        due = price(named, receipt.units, receipt.passed)
        with Session(engine) as session:
            for (payee, role), amount in zip(payees(named), due.amounts, strict=True):
                session.add(ShareRow(seq=receipt.seq, payee=payee, role=int(role), amount=amount))
                found = session.exec(select(BalanceRow).where(BalanceRow.payee == payee).with_for_update()).first()
                balance = found or BalanceRow(payee=payee, amount=0)
                balance.amount += amount
                session.add(balance)
            session.commit()
    return count / (time.perf_counter() - start)
