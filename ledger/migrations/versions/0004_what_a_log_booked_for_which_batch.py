"""what a log booked for which batch"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("batches", sa.Column("settled", sa.LargeBinary(), nullable=True))
    op.add_column("events", sa.Column("batch", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("events", "batch")
    op.drop_column("batches", "settled")
