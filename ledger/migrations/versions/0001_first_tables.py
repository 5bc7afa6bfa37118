"""first tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("debits", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credits", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "alarms",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("law", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=True),
        sa.Column("receipt", sa.String(), nullable=True),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "api_keys",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("consumer", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("budget", sa.BigInteger(), nullable=True),
        sa.Column("spent", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rate", sa.BigInteger(), nullable=True),
        sa.Column("models", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_api_keys_consumer"), "api_keys", ["consumer"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("transmission", sa.LargeBinary(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("fee", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("signed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("transmission", "ordinal"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "batch_files",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "part"),
    )
    op.create_table(
        "batch_ranges",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane", "number", "gateway"),
    )
    op.create_table(
        "batches",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("onchain_id", sa.BigInteger(), nullable=True),
        sa.Column("header_hash", sa.LargeBinary(), nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("receipts_root", sa.LargeBinary(), nullable=False),
        sa.Column("payout_root", sa.LargeBinary(), nullable=False),
        sa.Column("debit_root", sa.LargeBinary(), nullable=False),
        sa.Column("lines_root", sa.LargeBinary(), nullable=False),
        sa.Column("book_root", sa.LargeBinary(), nullable=False),
        sa.Column("receipt_logs", sa.LargeBinary(), nullable=False),
        sa.Column("data_ref", sa.LargeBinary(), nullable=False),
        sa.Column("first_call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cumulative", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payees", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("consumers", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("built_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=True),
        sa.Column("final_at", sa.BigInteger(), nullable=True),
        sa.Column("transmission", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("lane", "number"),
    )
    op.create_index(op.f("ix_batches_status"), "batches", ["status"], unique=False)
    op.create_table(
        "bids",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("party", sa.LargeBinary(), nullable=False),
        sa.Column("from_epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until_epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ratio_ppm", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_token", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_token", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("byte", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fuel", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "role", "party", "from_epoch", "block", "log_index"),
    )
    op.create_table(
        "blocks",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "books",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("frozen_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_table(
        "claims",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payee_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("claimed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane", "payee_index"),
    )
    op.create_table(
        "consumers",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("account_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("deposited", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("lane", "account"),
    )
    op.create_table(
        "cursor",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "deposits_requested",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_after", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_before", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("transaction", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_deposits_requested_account"), "deposits_requested", ["account"], unique=False)
    op.create_index(op.f("ix_deposits_requested_status"), "deposits_requested", ["status"], unique=False)
    op.create_table(
        "documents",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("party", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_documents_kind"), "documents", ["kind"], unique=False)
    op.create_index(op.f("ix_documents_name"), "documents", ["name"], unique=False)
    op.create_index(op.f("ix_documents_party"), "documents", ["party"], unique=False)
    op.create_table(
        "lanes",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("operator", sa.LargeBinary(), nullable=False),
        sa.Column("window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("answer_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bond", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lane"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("consumer", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("spent", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_leases_consumer"), "leases", ["consumer"], unique=False)
    op.create_index(op.f("ix_leases_expires_at"), "leases", ["expires_at"], unique=False)
    op.create_table(
        "measurements",
        sa.Column("provider", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("calls", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("errors", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("latency_p50_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("quality_ppm", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("provider", "subject"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.LargeBinary(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("parents", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_models_owner"), "models", ["owner"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tree", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("level", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("word", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "tree", "level", "place", "number"),
    )
    op.create_table(
        "offers",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("capacity", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "party"),
    )
    op.create_table(
        "parties",
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("payee_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_index(op.f("ix_parties_payee_index"), "parties", ["payee_index"], unique=False)
    op.create_table(
        "postings",
        sa.Column("transaction", sa.LargeBinary(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("debit", sa.String(), nullable=False),
        sa.Column("credit", sa.String(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("transaction", "ordinal"),
    )
    op.create_index(op.f("ix_postings_credit"), "postings", ["credit"], unique=False)
    op.create_index(op.f("ix_postings_debit"), "postings", ["debit"], unique=False)
    op.create_table(
        "quarantine",
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("gateway", "first"),
    )
    op.create_table(
        "receipts",
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call_id", sa.LargeBinary(), nullable=False),
        sa.Column("parent", sa.LargeBinary(), nullable=False),
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("consumer", sa.LargeBinary(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("byte_count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fuel", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("passed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("price", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("charge", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_reason", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("response_digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("extra", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "seq"),
        sa.UniqueConstraint("call_id"),
    )
    op.create_table(
        "segments",
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "first"),
    )
    op.create_table(
        "session_keys",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account", "key"),
    )
    op.create_table(
        "stakes",
        sa.Column("party", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("unbonding", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("release_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("party"),
    )
    op.create_table(
        "terms",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cause", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reverses", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "transmissions",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("gas", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("mined_hash", sa.LargeBinary(), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_transmissions_status"), "transmissions", ["status"], unique=False)
    op.create_table(
        "vouchers",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("cum_max", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "account"),
    )
    op.create_table(
        "watermarks",
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("posted_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batched_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("gateway"),
    )
    op.create_index(op.f("ix_watermarks_lane"), "watermarks", ["lane"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index(op.f("ix_watermarks_lane"), table_name="watermarks")
    op.drop_table("watermarks")
    op.drop_table("vouchers")
    op.drop_index(op.f("ix_transmissions_status"), table_name="transmissions")
    op.drop_table("transmissions")
    op.drop_table("transactions")
    op.drop_table("terms")
    op.drop_table("stakes")
    op.drop_table("session_keys")
    op.drop_table("segments")
    op.drop_table("receipts")
    op.drop_table("quarantine")
    op.drop_index(op.f("ix_postings_debit"), table_name="postings")
    op.drop_index(op.f("ix_postings_credit"), table_name="postings")
    op.drop_table("postings")
    op.drop_index(op.f("ix_parties_payee_index"), table_name="parties")
    op.drop_table("parties")
    op.drop_table("offers")
    op.drop_table("nodes")
    op.drop_index(op.f("ix_models_owner"), table_name="models")
    op.drop_table("models")
    op.drop_table("measurements")
    op.drop_index(op.f("ix_leases_expires_at"), table_name="leases")
    op.drop_index(op.f("ix_leases_consumer"), table_name="leases")
    op.drop_table("leases")
    op.drop_table("lanes")
    op.drop_index(op.f("ix_documents_party"), table_name="documents")
    op.drop_index(op.f("ix_documents_name"), table_name="documents")
    op.drop_index(op.f("ix_documents_kind"), table_name="documents")
    op.drop_table("documents")
    op.drop_index(op.f("ix_deposits_requested_status"), table_name="deposits_requested")
    op.drop_index(op.f("ix_deposits_requested_account"), table_name="deposits_requested")
    op.drop_table("deposits_requested")
    op.drop_table("cursor")
    op.drop_table("consumers")
    op.drop_table("claims")
    op.drop_table("books")
    op.drop_table("blocks")
    op.drop_table("bids")
    op.drop_index(op.f("ix_batches_status"), table_name="batches")
    op.drop_table("batches")
    op.drop_table("batch_ranges")
    op.drop_table("batch_files")
    op.drop_table("attempts")
    op.drop_index(op.f("ix_api_keys_consumer"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("alarms")
    op.drop_table("accounts")
