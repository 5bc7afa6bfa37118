"""Double entry: book a transaction once, and read balances back.

The statement that adds to accounts locks them in the order of their names, so two transactions never deadlock. The two
statements that write are text: a column is sent as one value, which costs the driver a fraction of a list of rows.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import text
from sqlmodel import Session, col, select

from ledger.core.accounts import postings as core_postings
from ledger.core.accounts.postings import Balance, Kind, Posting, Transaction
from ledger.core.values.ids import Digest
from ledger.store.money.tables import AccountRow, PostingRow, TransactionRow
from ledger.store.session import column, insert_once

_ADD = text(
    "INSERT INTO accounts AS a (name, debits, credits) "
    "SELECT * FROM unnest(string_to_array(:names, ','), cast(string_to_array(:debits, ',') AS bigint[]), "
    "cast(string_to_array(:credits, ',') AS bigint[])) ORDER BY 1 "
    "ON CONFLICT (name) DO UPDATE SET debits = a.debits + excluded.debits, credits = a.credits + excluded.credits "
    "RETURNING name, debits, credits"
)
_POSTINGS = text(
    "INSERT INTO postings (transaction, ordinal, debit, credit, amount) SELECT :id, t.ordinal - 1, t.debit, t.credit, "
    "t.amount FROM unnest(string_to_array(:debit, ','), string_to_array(:credit, ','), "
    "cast(string_to_array(:amount, ',') AS bigint[])) WITH ORDINALITY AS t(debit, credit, amount, ordinal)"
)


def book(session: Session, transaction: Transaction) -> bool:
    """Book a transaction. False if it was booked before with the same content; with other content, a Conflict (L6).

    Raises Rejected when an account would be overdrawn (L1); the caller's unit of work must then be rolled back.
    """
    row: dict[str, object] = {"id": transaction.id, "kind": transaction.kind.value, "cause": transaction.cause}
    row |= {"digest": transaction.digest, "at": transaction.at, "reverses": transaction.reverses}
    if not insert_once(session, TransactionRow, row):
        core_postings.repeated(_digest_of(session, transaction.id), transaction)
        return False
    added = core_postings.effect(transaction.postings)
    entries = {"debits": column(b.debits for b in added.values()), "credits": column(b.credits for b in added.values())}
    for name, debits, credits in session.execute(_ADD, {"names": column(added), **entries}):
        core_postings.check_balance(name, Balance(debits, credits), transaction)
    columns = {name: column(getattr(p, name) for p in transaction.postings) for name in ("debit", "credit", "amount")}
    session.execute(_POSTINGS, {"id": transaction.id, **columns})
    return True


def balance(session: Session, name: str) -> int:
    """An account's balance on its own side, in atoms; 0 for one never used."""
    return balances(session, [name])[name]


def balances(session: Session, names: Iterable[str]) -> dict[str, int]:
    found = {name: Balance() for name in names}
    query = select(AccountRow).where(col(AccountRow.name).in_(found)).execution_options(populate_existing=True)
    found |= {row.name: Balance(row.debits, row.credits) for row in session.exec(query)}
    return {name: core_postings.balance(name, entries) for name, entries in found.items()}


def lock(session: Session, names: Iterable[str]) -> dict[str, int]:
    """Balances of these accounts, locked until the transaction ends. Accounts never used are not locked."""
    found = {name: Balance() for name in names}
    query = select(AccountRow).where(col(AccountRow.name).in_(found)).order_by(col(AccountRow.name)).with_for_update()
    rows = session.exec(query.execution_options(populate_existing=True))
    found |= {row.name: Balance(row.debits, row.credits) for row in rows}
    return {name: core_postings.balance(name, entries) for name, entries in found.items()}


def entries(session: Session, prefix: str = "") -> dict[str, Balance]:
    """All accounts whose name starts with `prefix`, by name."""
    query = select(AccountRow).where(col(AccountRow.name).startswith(prefix, autoescape=True))
    rows = session.exec(query.order_by(col(AccountRow.name)).execution_options(populate_existing=True))
    return {row.name: Balance(row.debits, row.credits) for row in rows}


def get(session: Session, transaction_id: Digest) -> Transaction | None:
    row = session.get(TransactionRow, transaction_id)
    if row is None:
        return None
    query = select(PostingRow).where(col(PostingRow.transaction) == transaction_id).order_by(col(PostingRow.ordinal))
    postings = tuple(Posting(p.debit, p.credit, p.amount) for p in session.exec(query))
    return Transaction(Kind(row.kind), row.cause, postings, row.at, Digest(row.reverses) if row.reverses else None)


def all_transactions(session: Session, kind: Kind | None = None) -> Iterator[Transaction]:
    """Every booked transaction, in the order of its time and id."""
    query = select(TransactionRow).order_by(col(TransactionRow.at), col(TransactionRow.id))
    if kind is not None:
        query = query.where(col(TransactionRow.kind) == kind.value)
    for row in session.exec(query).all():
        found = get(session, Digest(row.id))
        assert found is not None
        yield found


def is_booked(session: Session, kind: Kind, cause: bytes) -> bool:
    return session.get(TransactionRow, core_postings.transaction_id(kind, cause)) is not None


def _digest_of(session: Session, transaction_id: Digest) -> Digest:
    row = session.get(TransactionRow, transaction_id, populate_existing=True)
    assert row is not None, "the insert found it"
    return Digest(row.digest)
