"""From posted receipts to the chain: batches, what proves them, and the transactions that carry them."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_big, maybe_octets, octets


class BatchRow(SQLModel, table=True):
    """A batch of a lane: its header, what it adds, the places that it leaves empty (u32 each), how far it has come.

    `number` counts batches built; `onchain_id` is the id Settlement gave it (they differ once a batch was voided).
    """

    __tablename__ = "batches"
    lane: bytes = octets(key=True)
    number: int = big(key=True)
    status: str = Field(index=True, description="built, signed, posted, final, void")
    onchain_id: int | None = maybe_big()
    header_id: bytes = octets()
    prev: bytes = octets()
    era: int = big()
    closed_at: int = big()
    heights: int = big()
    receipts_root: bytes = octets()
    payout_root: bytes = octets()
    debit_root: bytes = octets()
    lines_root: bytes = octets()
    gateways_root: bytes = octets()
    data_ref: bytes = octets()
    epoch: int = big()
    book_root: bytes = octets()
    barred: bytes = octets()
    total: int = big()
    cumulative: int = big()
    built_at: int = big()
    posted_at: int | None = maybe_big()
    until: int | None = maybe_big()
    final_at: int | None = maybe_big()
    chain_transaction: bytes | None = maybe_octets()
    settled: bytes | None = maybe_octets()


class BatchRangeRow(SQLModel, table=True):
    """Receipts first..first+count-1 of a gateway, which a batch covers."""

    __tablename__ = "batch_ranges"
    lane: bytes = octets(key=True)
    number: int = big(key=True)
    gateway: bytes = octets(key=True)
    gateway_number: int = big()
    first: int = big()
    count: int = big()


class BatchShareRow(SQLModel, table=True):
    """The amount a batch pays a payee in a role."""

    __tablename__ = "batch_shares"
    lane: bytes = octets(key=True)
    number: int = big(key=True)
    payee: bytes = octets(key=True)
    role: int = big(key=True)
    amount: int = big()


class BatchMandateRow(SQLModel, table=True):
    """A voucher that a batch's debit of an account rests on, as its public file shows it."""

    __tablename__ = "batch_mandates"
    lane: bytes = octets(key=True)
    number: int = big(key=True)
    account: bytes = octets(key=True)
    cum_max: int = big()
    signature: bytes = octets()


class TreeNodeRow(SQLModel, table=True):
    """A node of a cumulative tree as of a batch; only nodes that a batch changed are written.

    The node at (tree, level, index) of batch n is the row with the greatest number up to n. Level 0 are the leaves.
    Tree 1 is payouts (a leaf's index is its payee's), tree 2 debits (a leaf's index is its consumer's in the lane).
    Tree 3 is each batch's own tree of receipts, from level 10 up to the one below the root.
    """

    __tablename__ = "tree_nodes"
    lane: bytes = octets(key=True)
    tree: int = big(key=True)
    level: int = big(key=True)
    index: int = big(key=True)
    number: int = big(key=True)
    word: bytes = octets()


class ChainTransactionRow(SQLModel, table=True):
    """A chain transaction the ledger intends: one nonce, one purpose, whatever happens to its broadcasts."""

    __tablename__ = "chain_transactions"
    __table_args__ = (
        UniqueConstraint("lane", "sender", "nonce", name="one_use_of_a_nonce"),
        Index("ix_chain_transactions_purpose", "lane", "purpose", postgresql_ops={"purpose": "varchar_pattern_ops"}),
    )
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    purpose: str = Field()
    sender: bytes = octets()
    nonce: int | None = maybe_big()
    target: bytes = octets()
    data: bytes = octets()
    gas: int | None = maybe_big()
    status: str = Field(index=True, description="core.settlement.transactions.Status")
    created_at: int = big()
    sent_at: int | None = maybe_big()
    mined_hash: bytes | None = maybe_octets()
    block: int | None = maybe_big()
    error: str | None = Field(default=None)


class AttemptRow(SQLModel, table=True):
    """Signed bytes of a chain transaction at one fee, stored before they are first sent; any attempt may be mined."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("lane", "hash", name="attempts_hash"),)
    lane: bytes = octets(key=True)
    chain_transaction: bytes = octets(key=True)
    ordinal: int = big(key=True)
    raw: bytes = octets()
    hash: bytes = octets()
    fee: int = big()
    signed_at: int = big()


class AlarmRow(SQLModel, table=True):
    """A law found broken. Until it is cleared no batch is built or committed; withdrawals go on."""

    __tablename__ = "alarms"
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    law: str = Field()
    message: str = Field()
    account: str | None = Field(default=None)
    receipt: str | None = Field(default=None)
    at: int = big()
    cleared_at: int | None = maybe_big()


class ChallengeRow(SQLModel, table=True):
    """A question on chain, which the operator must answer by its deadline (seconds).

    It is named by its key on chain, whose cause is lane, batch, header and subject, and by its log, because the same
    question may be asked again once it is answered. `batch` is 0 for a word of a final tree. `position` is a tree
    node's, a receipt's place, or an index; what a kind does not use is 0.
    """

    __tablename__ = "challenges"
    lane: bytes = octets(key=True)
    question: bytes = octets(key=True)
    block: int = big(key=True)
    log_index: int = big(key=True)
    kind: str = Field(description="the name of the event")
    batch: int = big()
    hash: bytes = octets()
    tree: int = big()
    depth: int = big()
    position: int = big()
    account: bytes | None = maybe_octets()
    cumulative: int = big()
    asker: bytes = octets()
    deadline: int = big()
    answered: bool = Field(default=False)
