"""a consumer's receipts in order of time: for its list of them, and for windows counted from the journal"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_index("receipts_consumer", "receipts", ["consumer", "ended_at"])


def downgrade() -> None:
    """Go back."""
    op.drop_index("receipts_consumer", table_name="receipts")
