"""first tables

Integers are BIGINT and bytes are BYTEA. A column is NOT NULL unless it says `nullable`.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    for name, items in tables().items():
        op.create_table(name, *items)


def downgrade() -> None:
    """Drop every table."""
    for name in tables():
        op.drop_table(name)


def tables() -> Mapping[str, tuple[SchemaItem, ...]]:
    """Every table by name: its columns, constraints and indexes."""
    return {
        "accounts": (
            *octets("lane", primary_key=True),
            *string("name", primary_key=True),
            *big("debits", "credits"),
        ),
        "alarms": (
            *octets("lane", "id", primary_key=True),
            *string("law", "message"),
            *string("account", "receipt", nullable=True),
            *big("at"),
            *big("cleared_at", nullable=True),
        ),
        "api_keys": (
            *octets("lane", "hash", primary_key=True),
            *string("id"),
            *octets("consumer", index=True),
            *string("label"),
            *big("created_at"),
            *big("expires_at", "revoked_at", "budget", "rate", nullable=True),
            *string("models", nullable=True),
            sa.UniqueConstraint("lane", "id", name="api_keys_id"),
        ),
        "attempts": (
            *octets("lane", "chain_transaction", primary_key=True),
            *big("ordinal", primary_key=True),
            *octets("raw", "hash"),
            *big("fee", "signed_at"),
            sa.UniqueConstraint("lane", "hash", name="attempts_hash"),
        ),
        "audited_sums": (
            *octets("lane", primary_key=True),
            *string("name", primary_key=True),
            *big("debits", "credits"),
        ),
        "audited_until": (*octets("lane", primary_key=True), *big("booked_in")),
        "batch_ranges": (
            *octets("lane", primary_key=True),
            *big("number", primary_key=True),
            *octets("gateway", primary_key=True),
            *big("gateway_number", "first", "count"),
        ),
        "batch_shares": (
            *octets("lane", primary_key=True),
            *big("number", primary_key=True),
            *octets("payee", primary_key=True),
            *big("role", primary_key=True),
            *big("amount"),
        ),
        "batches": (
            *octets("lane", primary_key=True),
            *big("number", primary_key=True),
            *string("status", index=True),
            *big("onchain_id", nullable=True),
            *octets(
                "header_id",
                "prev",
                "receipts_root",
                "payout_root",
                "debit_root",
                "lines_root",
                "gateways_root",
                "data_ref",
                "book_root",
            ),
            *big("era", "closed_at", "heights", "epoch", "total", "cumulative", "built_at"),
            *big("posted_at", "until", "final_at", nullable=True),
            *octets("chain_transaction", "settled", nullable=True),
        ),
        "bids": (
            *octets("subject", primary_key=True),
            *big("role", primary_key=True),
            *octets("party", primary_key=True),
            *big("from_epoch", primary_key=True),
            *big("until_epoch", "ratio_ppm"),
            *octets("asks"),
            *big("block", "log_index", primary_key=True),
        ),
        "blocks": (*big("number", primary_key=True), *octets("hash")),
        "books": (*big("epoch", primary_key=True), *octets("root", "body"), *big("frozen_at")),
        "chain_transactions": (
            *octets("lane", "id", primary_key=True),
            *string("purpose"),
            *octets("sender"),
            *big("nonce", nullable=True),
            *octets("target", "data"),
            *big("gas", nullable=True),
            *string("status", index=True),
            *big("created_at"),
            *big("sent_at", nullable=True),
            *octets("mined_hash", nullable=True),
            *big("block", nullable=True),
            *string("error", nullable=True),
            sa.UniqueConstraint("lane", "sender", "nonce", name="one_use_of_a_nonce"),
        ),
        "challenges": (
            *octets("lane", "question", primary_key=True),
            *big("block", "log_index", primary_key=True),
            *string("kind"),
            *big("batch"),
            *octets("hash"),
            *big("tree", "depth", "position"),
            *octets("account", nullable=True),
            *big("cumulative"),
            *octets("asker"),
            *big("deadline"),
            *flag("answered"),
        ),
        "claims": (
            *octets("lane", primary_key=True),
            *big("payee_index", primary_key=True),
            *octets("payee"),
            *big("claimed"),
        ),
        "consumers": (
            *octets("lane", primary_key=True),
            *octets("account", primary_key=True),
            *big("account_index", "deposited", "withdrawn", "debit_at_exit"),
            *big("requested_at", "left_in_block", nullable=True),
        ),
        "credentials": (*octets("provider", "subject", primary_key=True), *octets("nonce", "encrypted"), *big("at")),
        "cursor": (*string("name", primary_key=True), *big("block"), *octets("hash"), *big("timestamp", "indexed_at")),
        "deposits_requested": (
            *octets("lane", "id", primary_key=True),
            *octets("account", index=True),
            *big("amount", "valid_after", "valid_before"),
            *octets("salt", "signature"),
            *string("kind"),
            *string("status", index=True),
            *big("requested_at"),
            *octets("call", nullable=True),
            *big("block", nullable=True),
            *string("error", nullable=True),
        ),
        "documents": (
            *octets("id", primary_key=True),
            *string("kind", "name", index=True),
            *octets("party", index=True),
            *octets("body"),
            *big("at"),
        ),
        "events": (
            *octets("transaction", primary_key=True),
            *big("ordinal", primary_key=True),
            *big("block", index=True),
            *string("kind"),
            *big("generation"),
            *flag("canonical"),
            *octets("booked", nullable=True),
            *big("batch", nullable=True),
        ),
        "gateways": (
            *octets("lane", "key", primary_key=True),
            *big("number"),
            *big("counts_until", nullable=True),
        ),
        "key_allowances": (*octets("lane", "key", "gateway", primary_key=True), *big("amount", "spent")),
        "lanes": (
            *octets("lane", primary_key=True),
            *octets("operator"),
            *big("window", "answer_time", "leverage", "min_deposit", "bond", "era"),
            *flag("active"),
            *string("url"),
        ),
        "leases": (
            *octets("lane", "id", primary_key=True),
            *octets("consumer", index=True),
            *octets("gateway"),
            *big("amount", "spent"),
            *big("expires_at", index=True),
            *string("state"),
        ),
        "measurements": (
            *octets("provider", "subject", primary_key=True),
            *big("calls", "errors", "latency_p50_ms", "quality_ppm", "at"),
        ),
        "models": (
            *octets("id", primary_key=True),
            *octets("owner", index=True),
            *big("from_epoch"),
            *octets("previous_owner", nullable=True),
            *octets("terms", "parents"),
            *big("block"),
        ),
        "offers": (
            *octets("subject", "party", primary_key=True),
            *octets("body"),
            *string("url", "tier"),
            *big("capacity", "expires_at", "at"),
        ),
        "parties": (*octets("address", primary_key=True), *big("payee_index", index=True)),
        "postings": (
            *octets("lane", "transaction", primary_key=True),
            *big("ordinal", primary_key=True),
            *string("debit", "credit", index=True),
            *big("amount"),
        ),
        "private_payees": (*octets("lane", "address", primary_key=True), *big("payee_index")),
        "quarantine": (
            *octets("lane", "gateway", primary_key=True),
            *big("first", primary_key=True),
            *big("last"),
            *string("reason"),
            *big("at"),
        ),
        "receipts": (
            *big("seq", "charge", "ended_at"),
            *octets("record", "digest", "signature"),
            *octets("extra", nullable=True),
            cut("lane", 65, 20),
            cut("gateway", 85, 20),
            cut("call_id", 1, 32),
            cut("parent", 33, 32),
            cut("consumer", 113, 20),
            cut("terms", 133, 32),
            sa.PrimaryKeyConstraint("lane", "gateway", "seq"),
            sa.UniqueConstraint("lane", "call_id", name="receipts_call_id"),
            sa.Index("receipts_consumer", "lane", "consumer", "ended_at"),
            sa.Index("receipts_ended_at", "ended_at", postgresql_using="brin"),
        ),
        "segments": (
            *octets("lane", "gateway", primary_key=True),
            *big("first", primary_key=True),
            *big("last", "count", "total"),
            *octets("digest", "previous"),
        ),
        "session_keys": (*octets("account", "key", primary_key=True), *big("counts_until", nullable=True)),
        "stakes": (*octets("party", primary_key=True), *big("active", "unbonding", "release_at")),
        "terms": (*octets("id", primary_key=True), *octets("body")),
        "transactions": (
            *octets("lane", "id", primary_key=True),
            *string("kind"),
            *octets("cause", "digest"),
            *big("at"),
            *octets("reverses", nullable=True),
            *big("booked_in", nullable=True),
            sa.UniqueConstraint("lane", "booked_in", name="transactions_booked_in"),
        ),
        "tree_nodes": (
            *octets("lane", primary_key=True),
            *big("tree", "level", "index", "number", primary_key=True),
            *octets("word"),
        ),
        "tunnels": (*octets("party", "gateway", primary_key=True), *string("url"), *octets("key"), *big("until")),
        "vouchers": (
            *octets("lane", primary_key=True),
            *octets("account", primary_key=True),
            *big("cum_max"),
            *octets("signer", "signature"),
        ),
        "watermarks": (
            *octets("lane", "gateway", primary_key=True),
            *big("posted_seq", "batched_seq"),
        ),
    }


def big(*names: str, **options: Any) -> list[SchemaItem]:
    """BIGINT columns."""
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, **{"nullable": False} | options) for name in names]


def octets(*names: str, **options: Any) -> list[SchemaItem]:
    """BYTEA columns."""
    return [sa.Column(name, sa.LargeBinary(), **{"nullable": False} | options) for name in names]


def string(*names: str, **options: Any) -> list[SchemaItem]:
    """Text columns."""
    return [sa.Column(name, sa.String(), **{"nullable": False} | options) for name in names]


def flag(name: str) -> list[SchemaItem]:
    """A BOOLEAN column."""
    return [sa.Column(name, sa.Boolean(), nullable=False)]


def cut(name: str, start: int, size: int) -> SchemaItem:
    """`size` bytes of `record` from `start` (counted from 1), which the database cuts out when the row is written."""
    piece = sa.Computed(f"substring(record FROM {start} FOR {size})", persisted=True)
    return sa.Column(name, sa.LargeBinary(), piece, nullable=False)
