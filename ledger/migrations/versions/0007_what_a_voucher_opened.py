"""the request that a voucher opened, beside its call"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. A call that was opened before has none, so its voucher opens it no more: sign a higher one."""
    op.add_column("vouchers", sa.Column("request", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("vouchers", "request")
