"""the round trip through a tunnel, for the lane's other gateways, and since when an offer stands"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both. Rows of tunnels are of those that are open now: each gateway writes its own again within seconds."""
    op.execute("delete from tunnels")
    op.add_column("tunnels", sa.Column("round_trip_ms", sa.BigInteger(), nullable=False))
    op.add_column("offers", sa.Column("since", sa.BigInteger(), nullable=True))
    op.execute("update offers set since = at")
    op.alter_column("offers", "since", nullable=False)


def downgrade() -> None:
    """Drop both."""
    op.drop_column("offers", "since")
    op.drop_column("tunnels", "round_trip_ms")
