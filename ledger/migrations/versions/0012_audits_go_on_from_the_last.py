"""a routine audit adds up what was booked since the last one: transactions know when, sums up to then are kept"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    now = sa.text("(pg_current_xact_id())::text::bigint")
    op.add_column("transactions", sa.Column("booked_in", sa.BigInteger(), nullable=False, server_default=now))
    op.create_index("ix_transactions_booked_in", "transactions", ["booked_in"])
    op.create_table(
        "audited_sums",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("debits", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credits", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "audited_until",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("booked_in", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("audited_until")
    op.drop_table("audited_sums")
    op.drop_index("ix_transactions_booked_in", table_name="transactions")
    op.drop_column("transactions", "booked_in")
