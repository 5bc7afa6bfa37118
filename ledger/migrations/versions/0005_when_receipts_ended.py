"""when receipts ended: a block-range index, for statements of a period; it costs an appended row next to nothing"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_index("receipts_ended_at", "receipts", ["ended_at"], postgresql_using="brin")


def downgrade() -> None:
    """Go back."""
    op.drop_index("receipts_ended_at", table_name="receipts")
