"""locks of calls, which gateways share, and the gateways' heartbeats"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "call_locks",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("call", sa.LargeBinary(), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.LargeBinary(), nullable=False),
        sa.Column("boot", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "gateway_heartbeats",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("gateway", sa.LargeBinary(), primary_key=True),
        sa.Column("boot", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them: no call is under way."""
    op.drop_table("gateway_heartbeats")
    op.drop_table("call_locks")
