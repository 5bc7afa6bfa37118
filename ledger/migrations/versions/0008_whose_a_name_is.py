"""organisations, their keys, and the names they published"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables. What the chain said before is read again: to the indexer, its last block is one that is gone."""
    op.create_table(
        "organisations",
        sa.Column("name", sa.LargeBinary(), primary_key=True),
        sa.Column("owner", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "organisation_keys",
        sa.Column("organisation", sa.LargeBinary(), primary_key=True),
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "names",
        sa.Column("organisation", sa.LargeBinary(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("model", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
    )
    op.execute("UPDATE cursor SET hash = ''")


def downgrade() -> None:
    """Drop them."""
    for table in ("names", "organisation_keys", "organisations"):
        op.drop_table(table)
