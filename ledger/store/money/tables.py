"""Double entry: accounts, transactions and their postings. Transactions and postings are never changed or removed."""

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_big, maybe_octets, octets


class AccountRow(SQLModel, table=True):
    """An account of a lane by name, with the running sums of both of its sides; its balance follows from them."""

    __tablename__ = "accounts"
    lane: bytes = octets(key=True)
    name: str = Field(primary_key=True)
    debits: int = big()
    credits: int = big()


class TransactionRow(SQLModel, table=True):
    """Postings that are booked together. `id` is derived from the cause; `digest` covers the content.

    `booked_in` numbers a lane's transactions from 1, without gaps, in the order in which an audit first saw them: it
    is absent until then. `audited_sums` continues from it.
    """

    __tablename__ = "transactions"
    __table_args__ = (UniqueConstraint("lane", "booked_in", name="transactions_booked_in"),)
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    kind: str = Field()
    cause: bytes = octets()
    digest: bytes = octets()
    at: int = big()
    reverses: bytes | None = maybe_octets()
    booked_in: int | None = maybe_big()


class PostingRow(SQLModel, table=True):
    """`amount` atoms from the debit account to the credit account, by name."""

    __tablename__ = "postings"
    lane: bytes = octets(key=True)
    transaction: bytes = octets(key=True)
    ordinal: int = big(key=True)
    debit: str = Field(index=True)
    credit: str = Field(index=True)
    amount: int = big()


class AuditedSumRow(SQLModel, table=True):
    """The sums of an account's postings when they were last audited."""

    __tablename__ = "audited_sums"
    lane: bytes = octets(key=True)
    name: str = Field(primary_key=True)
    debits: int = big()
    credits: int = big()


class AuditedUntilRow(SQLModel, table=True):
    """The audited sums of a lane hold the postings of its transactions up to this number."""

    __tablename__ = "audited_until"
    lane: bytes = octets(key=True)
    booked_in: int = big()
