"""permits of x402's `upto`, which are settled after their calls, and what finds the transactions that settle them"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and two indexes of what each sweep asks for."""
    octets = ("payer", "payee", "facilitator", "token", "nonce", "signature", "account", "call", "request")
    numbers = ("amount", "valid_after", "deadline", "least", "requested_at", "checked_at")
    op.create_table(
        "permits",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("id", sa.LargeBinary(), primary_key=True),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in octets),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.UniqueConstraint("lane", "call", name="permits_call"),
    )
    op.create_index("ix_permits_payer", "permits", ["payer"])
    op.create_index("ix_permits_status", "permits", ["status"])
    live = sa.column("status", sa.String).not_in(("settled", "failed"))
    op.create_index("ix_permits_live", "permits", ["lane"], postgresql_where=live)
    by_bytes = {"purpose": "varchar_pattern_ops"}
    op.create_index("ix_chain_transactions_purpose", "chain_transactions", ["lane", "purpose"], postgresql_ops=by_bytes)


def downgrade() -> None:
    """Drop it. Settle what is owed before: `python -m ledger.operate permits` lists it."""
    op.drop_index("ix_chain_transactions_purpose", "chain_transactions")
    op.drop_table("permits")
