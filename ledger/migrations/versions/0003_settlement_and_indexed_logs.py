"""settlement and indexed logs"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "batch_shares",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane", "number", "payee", "role"),
    )
    op.create_table(
        "events",
        sa.Column("transaction", sa.LargeBinary(), nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.Column("booked", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("transaction", "place"),
    )
    op.create_index(op.f("ix_events_block"), "events", ["block"], unique=False)
    op.drop_column("batches", "payees")
    op.drop_column("batches", "consumers")
    op.alter_column("transmissions", "nonce", existing_type=sa.BIGINT(), nullable=True)
    op.alter_column("transmissions", "gas", existing_type=sa.BIGINT(), nullable=True)
    op.create_unique_constraint("one_use_of_a_nonce", "transmissions", ["sender", "nonce"])


def downgrade() -> None:
    """Go back."""
    op.drop_constraint("one_use_of_a_nonce", "transmissions", type_="unique")
    op.alter_column("transmissions", "gas", existing_type=sa.BIGINT(), nullable=False)
    op.alter_column("transmissions", "nonce", existing_type=sa.BIGINT(), nullable=False)
    op.add_column("batches", sa.Column("consumers", sa.BIGINT(), autoincrement=False, nullable=False))
    op.add_column("batches", sa.Column("payees", sa.BIGINT(), autoincrement=False, nullable=False))
    op.drop_index(op.f("ix_events_block"), table_name="events")
    op.drop_table("events")
    op.drop_table("batch_shares")
