"""what is barred, and what a batch's file shows

A batch has the places that it leaves empty and the vouchers that its debits rest on; the books know what gave its money
back. A model has who registered it, and the hash of its parents.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NO_PARENTS = "\\x569e75fc77c1a856f6daaf9e69d8a9566ca34aa47f9133711ce065a571af0cfd"
"""keccak256(abi.encode of an empty list)."""


def upgrade() -> None:
    """Add the columns and tables. A model with parents is served again once the chain is read anew."""
    op.create_table(
        "barred_receipts",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("gateway", sa.LargeBinary(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True),
        sa.Column("charge", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "batch_mandates",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("account", sa.LargeBinary(), primary_key=True),
        sa.Column("cum_max", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
    )
    op.add_column("consumers", sa.Column("left_at", sa.BigInteger(), nullable=True))
    op.add_column("batches", sa.Column("barred", sa.LargeBinary(), nullable=False, server_default=""))
    op.alter_column("batches", "barred", server_default=None)
    for name, kind in (
        ("registrant", sa.LargeBinary()),
        ("lineage", sa.LargeBinary()),
        ("registered_from", sa.BigInteger()),
    ):
        op.add_column("models", sa.Column(name, kind, nullable=True))
    op.execute(
        "UPDATE models SET registrant = owner, registered_from = from_epoch, "
        f"lineage = CASE WHEN parents = '' THEN '{NO_PARENTS}'::bytea ELSE '' END"
    )
    for name in ("registrant", "lineage", "registered_from"):
        op.alter_column("models", name, nullable=False)
    for name in ("terms", "parents"):
        op.drop_column("models", name)


def downgrade() -> None:
    """Take it away again. What a model was registered with is read from the chain."""
    for name in ("terms", "parents"):
        op.add_column("models", sa.Column(name, sa.LargeBinary(), nullable=False, server_default=""))
        op.alter_column("models", name, server_default=None)
    for name in ("registrant", "lineage", "registered_from"):
        op.drop_column("models", name)
    op.drop_column("batches", "barred")
    op.drop_column("consumers", "left_at")
    op.drop_table("batch_mandates")
    op.drop_table("barred_receipts")
