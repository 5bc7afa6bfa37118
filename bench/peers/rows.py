"""The same work by what a shop would pick: a SQLModel row for each share, or django-hordak's transactions and legs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine
from sqlmodel import Field, Session, SQLModel, select

from bench import receipt_logs
from bench.gateway.peers import environment
from ledger.core.catalog.bids import Terms, decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import Digest
from ledger.store.columns import big
from ledger.store.receipts import receipts, terms


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


def sqlmodel(engine: Engine, count: int = 1_000) -> float:
    """Receipts a second: a row a share, balances updated by the ORM, one commit a receipt."""
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name in ("peer_shares", "peer_balances")]
    SQLModel.metadata.create_all(engine, tables)
    some, known = _receipts(engine, count)
    start = time.perf_counter()
    for receipt in some:
        named = known[receipt.terms]
        due = price(named, receipt.units, receipt.subcall_total)
        with Session(engine) as session:
            for (payee, role), amount in zip(payees(named), due.amounts, strict=True):
                session.add(ShareRow(seq=receipt.seq, payee=payee, role=int(role), amount=amount))
                found = session.exec(select(BalanceRow).where(BalanceRow.payee == payee).with_for_update()).first()
                balance = found or BalanceRow(payee=payee, amount=0)
                balance.amount += amount
                session.add(balance)
            session.commit()
    return count / (time.perf_counter() - start)


def hordak(engine: Engine, url: str, count: int = 3_000) -> float | None:
    """Receipts a second of django-hordak, its shares already known; None where it cannot be installed."""
    try:
        python = environment("hordak", "django-hordak==2.0.0", "psycopg[binary]") / "python"
    except (subprocess.SubprocessError, OSError) as error:
        print(f"  django-hordak cannot be had here: {error}")
        return None
    some, known = _receipts(engine, count)
    shares = [price(known[receipt.terms], receipt.units, receipt.subcall_total).amounts for receipt in some]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS hordak")
        connection.execute("CREATE DATABASE hordak")
    asked = {"database": {**conninfo_to_dict(url), "dbname": "hordak"}, "shares": shares}
    command = [str(python), str(Path(__file__).with_name("django_hordak.py"))]
    ran = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=300)
    if ran.returncode:
        print(f"  django-hordak does not run here: {ran.stderr.strip()[-200:]}")
        return None
    return float(json.loads(ran.stdout.splitlines()[-1])["receipts_per_s"])


def _receipts(engine: Engine, count: int) -> tuple[list[Receipt], dict[Digest, Terms]]:
    with Session(engine) as session:
        lane = receipt_logs.lane_of(2)
        chunk = receipts.chunk(session, lane, receipt_logs.gateway_of(lane), 1, count)
        known = {name: decode(body) for name, body in terms.get(session, chunk.terms_ids()).items()}
    return chunk.signed.receipts, known
