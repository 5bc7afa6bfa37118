"""a private grid's payees keep the places it gave them when a chain is switched on, whose Registry gives others"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NO_CHAIN = "NOT EXISTS (SELECT FROM lanes)"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "private_places",
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("payee_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
    op.execute(f"INSERT INTO private_places SELECT address, payee_index FROM parties WHERE {_NO_CHAIN}")
    op.execute(f"DELETE FROM parties WHERE {_NO_CHAIN}")


def downgrade() -> None:
    """Go back."""
    op.execute(f"INSERT INTO parties SELECT address, payee_index FROM private_places WHERE {_NO_CHAIN}")
    op.drop_table("private_places")
