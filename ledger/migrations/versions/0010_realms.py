"""lists of the members of realms, and the realm that a key's calls are made in"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both. Offers that name a realm by a word are in no realm now: their parties offer anew."""
    op.create_table(
        "realms",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.add_column("api_keys", sa.Column("realm", sa.String(), nullable=True))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("api_keys", "realm")
    op.drop_table("realms")
