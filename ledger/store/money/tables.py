"""Double entry: accounts, transactions and their postings. Transactions and postings are never changed or removed."""

from sqlalchemy import BigInteger, Column, text
from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_octets, octets


class AccountRow(SQLModel, table=True):
    """An account by name, with the running sums of both of its sides; the balance is derived from them."""

    __tablename__ = "accounts"
    name: str = Field(primary_key=True)
    debits: int = big()
    credits: int = big()


class TransactionRow(SQLModel, table=True):
    """Postings that stand or fall together. `id` is derived from the cause; `digest` covers the content.

    `booked_in` is PostgreSQL's number of the transaction that booked it: `audited_sums` continues from it.
    """

    __tablename__ = "transactions"
    id: bytes = octets(key=True)
    kind: str = Field()
    cause: bytes = octets()
    digest: bytes = octets()
    at: int = big()
    reverses: bytes | None = maybe_octets()
    booked_in: int = Field(
        sa_column=Column(
            BigInteger, nullable=False, index=True, server_default=text("pg_current_xact_id()::text::bigint")
        )
    )


class PostingRow(SQLModel, table=True):
    """`amount` atoms from the debit account to the credit account, by name."""

    __tablename__ = "postings"
    transaction: bytes = octets(key=True)
    ordinal: int = big(key=True)
    debit: str = Field(index=True)
    credit: str = Field(index=True)
    amount: int = big()


class AuditedSumRow(SQLModel, table=True):
    """The sums of an account's postings when they were last audited."""

    __tablename__ = "audited_sums"
    name: str = Field(primary_key=True)
    debits: int = big()
    credits: int = big()


class AuditedUntilRow(SQLModel, table=True):
    """One row: the audited sums hold the postings of all transactions booked before this number."""

    __tablename__ = "audited_until"
    id: int = big(key=True)
    booked_in: int = big()
