"""Double entry: book a transaction once, and read balances back.

The statement that adds to accounts locks them in the order of their names, so two transactions never deadlock. The two
statements that write are text: a column is sent as one value, which costs the driver a fraction of a list of rows.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from ledger.core.accounts import postings as core_postings
from ledger.core.accounts.postings import Balance, Kind, Posting, Transaction
from ledger.core.values.ids import Digest, Lane
from ledger.store.money.tables import AccountRow, PostingRow, TransactionRow
from ledger.store.session import column, insert_once

_ADD = text(
    "INSERT INTO accounts AS a (lane, name, debits, credits) "
    "SELECT :lane, * FROM unnest(string_to_array(:names, ','), cast(string_to_array(:debits, ',') AS bigint[]), "
    "cast(string_to_array(:credits, ',') AS bigint[])) ORDER BY 2 "
    "ON CONFLICT (lane, name) DO UPDATE SET debits = a.debits + excluded.debits, "
    "credits = a.credits + excluded.credits RETURNING name, debits, credits"
)
_POSTINGS = text(
    "INSERT INTO postings (lane, transaction, ordinal, debit, credit, amount) SELECT :lane, :id, t.ordinal - 1, "
    "t.debit, t.credit, t.amount FROM unnest(string_to_array(:debit, ','), string_to_array(:credit, ','), "
    "cast(string_to_array(:amount, ',') AS bigint[])) WITH ORDINALITY AS t(debit, credit, amount, ordinal)"
)


def book(session: Session, transaction: Transaction) -> bool:
    """Book a transaction. False if it was booked before with the same content; with other content, a Conflict (L6).

    Raises Rejected when an account would be overdrawn (L1); the caller's unit of work must then be rolled back.
    """
    lane = transaction.lane
    row = {name: getattr(transaction, name) for name in ("lane", "id", "cause", "digest", "at", "reverses")}
    if not insert_once(session, TransactionRow, row | {"kind": transaction.kind.value}):
        core_postings.repeated(_digest_of(session, transaction), transaction)
        return False
    added = core_postings.effect(transaction.postings)
    entries = {"debits": column(b.debits for b in added.values()), "credits": column(b.credits for b in added.values())}
    for name, debits, credits in session.execute(_ADD, {"lane": lane, "names": column(added), **entries}):
        core_postings.check_balance(name, Balance(debits, credits), transaction)
    columns = {name: column(getattr(p, name) for p in transaction.postings) for name in ("debit", "credit", "amount")}
    session.execute(_POSTINGS, {"lane": lane, "id": transaction.id, **columns})
    return True


def balance(session: Session, lane: Lane, name: str) -> int:
    """An account's balance on its own side, in atoms; 0 for one never used."""
    return balances(session, lane, [name])[name]


def balances(session: Session, lane: Lane, names: Iterable[str]) -> dict[str, int]:
    return _balances(session, lane, names, locked=False)


def is_used(session: Session, lane: Lane, name: str) -> bool:
    """Whether anything was ever booked on an account."""
    return session.get(AccountRow, (lane, name)) is not None


def lock(session: Session, lane: Lane, names: Iterable[str]) -> dict[str, int]:
    """Balances of these accounts, locked until the transaction ends. Accounts never used are not locked."""
    return _balances(session, lane, names, locked=True)


def entries(session: Session, lane: Lane, prefix: str = "") -> dict[str, Balance]:
    """All accounts of a lane whose name starts with `prefix`, by name."""
    named = col(AccountRow.name).startswith(prefix, autoescape=True)
    query = select(AccountRow).where(col(AccountRow.lane) == lane, named)
    rows = session.exec(query.order_by(col(AccountRow.name)).execution_options(populate_existing=True))
    return {row.name: Balance(row.debits, row.credits) for row in rows}


def total(session: Session, lane: Lane, prefix: str) -> int:
    """The balances of all accounts of a lane whose name starts with `prefix`, added up, in atoms. Not for custody."""
    named = col(AccountRow.name).startswith(prefix, autoescape=True)
    balances = func.coalesce(func.sum(AccountRow.credits - AccountRow.debits), 0)
    return int(session.exec(select(balances).where(col(AccountRow.lane) == lane, named)).one())


def get(session: Session, lane: Lane, transaction_id: Digest) -> Transaction | None:
    row = session.get(TransactionRow, (lane, transaction_id))
    if row is None:
        return None
    query = select(PostingRow).where(col(PostingRow.lane) == lane, col(PostingRow.transaction) == transaction_id)
    postings = tuple(
        Posting(p.debit, p.credit, p.amount) for p in session.exec(query.order_by(col(PostingRow.ordinal)))
    )
    reverses = Digest(row.reverses) if row.reverses else None
    return Transaction(lane, Kind(row.kind), row.cause, postings, row.at, reverses)


def all_transactions(session: Session, lane: Lane, kind: Kind | None = None) -> Iterator[Transaction]:
    """Every booked transaction of a lane, in the order of its time and id."""
    query = select(TransactionRow).where(col(TransactionRow.lane) == lane)
    if kind is not None:
        query = query.where(col(TransactionRow.kind) == kind.value)
    for row in session.exec(query.order_by(col(TransactionRow.at), col(TransactionRow.id))).all():
        found = get(session, lane, Digest(row.id))
        assert found is not None
        yield found


def is_booked(session: Session, lane: Lane, kind: Kind, cause: bytes) -> bool:
    return session.get(TransactionRow, (lane, core_postings.transaction_id(lane, kind, cause))) is not None


def _balances(session: Session, lane: Lane, names: Iterable[str], *, locked: bool) -> dict[str, int]:
    found = {name: Balance() for name in names}
    query = select(AccountRow).where(col(AccountRow.lane) == lane, col(AccountRow.name).in_(found))
    if locked:
        query = query.order_by(col(AccountRow.name)).with_for_update()
    rows = session.exec(query.execution_options(populate_existing=True))
    found |= {row.name: Balance(row.debits, row.credits) for row in rows}
    return {name: core_postings.balance(name, entries) for name, entries in found.items()}


def _digest_of(session: Session, transaction: Transaction) -> Digest:
    row = session.get(TransactionRow, (transaction.lane, transaction.id), populate_existing=True)
    assert row is not None, "the insert found it"
    return Digest(row.digest)
