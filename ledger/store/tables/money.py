"""The double-entry journal: accounts, transactions and their postings. Rows are added, never updated or removed."""

from sqlmodel import Field, SQLModel

from ledger.store.tables.columns import big, maybe_octets, octets


class AccountRow(SQLModel, table=True):
    """An account by name, with the running sums of both of its sides; the balance is derived from them."""

    __tablename__ = "accounts"
    name: str = Field(primary_key=True)
    debits: int = big()
    credits: int = big()


class TransactionRow(SQLModel, table=True):
    """Postings that stand or fall together. `id` is derived from the cause; `digest` covers the content."""

    __tablename__ = "transactions"
    id: bytes = octets(key=True)
    kind: str = Field()
    cause: bytes = octets()
    digest: bytes = octets()
    at: int = big()
    reverses: bytes | None = maybe_octets()


class PostingRow(SQLModel, table=True):
    """`amount` atoms from the debit account to the credit account, by name."""

    __tablename__ = "postings"
    transaction: bytes = octets(key=True)
    ordinal: int = big(key=True)
    debit: str = Field(index=True)
    credit: str = Field(index=True)
    amount: int = big()
