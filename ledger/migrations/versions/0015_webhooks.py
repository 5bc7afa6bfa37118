"""webhooks of accounts, the messages to them, and what they were told of and still holds"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "webhooks",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("kinds", sa.String(), nullable=False),
        sa.Column("threshold", sa.BigInteger()),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger()),
        sa.Column("disabled_because", sa.String()),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("rests_until", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_webhooks_account", "webhooks", ["account"])
    op.create_table(
        "webhook_messages",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("hook", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("answer", sa.BigInteger()),
        sa.Column("error", sa.String()),
        sa.Column("ended_at", sa.BigInteger()),
    )
    op.create_index("ix_webhook_messages_created_at", "webhook_messages", ["created_at"])
    op.create_index("webhook_messages_due", "webhook_messages", ["lane", "hook", "next_at"])
    op.create_table(
        "webhook_conditions",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("hook", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them, and with them what was not sent yet."""
    op.drop_table("webhook_conditions")
    op.drop_table("webhook_messages")
    op.drop_table("webhooks")
