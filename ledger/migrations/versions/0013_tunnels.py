"""at which gateway a node behind NAT has knocked, so that it is reached through all of them"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "tunnels",
        sa.Column("party", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("party", "gateway"),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("tunnels")
