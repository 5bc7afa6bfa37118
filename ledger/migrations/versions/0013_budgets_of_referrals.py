"""budgets of referrals and slots, which gateways share, and what open calls take of them"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables. What was used before is counted from the receipts when a budget is first looked at."""
    op.create_table(
        "referral_budgets",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("budget", sa.LargeBinary(), primary_key=True),
        sa.Column("used", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "referral_claims",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("budget", sa.LargeBinary(), primary_key=True),
        sa.Column("call", sa.LargeBinary(), primary_key=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them: gateways count for themselves again."""
    op.drop_table("referral_claims")
    op.drop_table("referral_budgets")
