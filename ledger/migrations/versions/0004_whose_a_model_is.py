"""whose a model is, by epoch

The table of models had its owner and the one before. Registry keeps one for each epoch, and so does this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

GONE = "owner", "from_epoch", "previous_owner"


def upgrade() -> None:
    """Add a row for each owner that is known. When the one before came is not known: it counts from epoch 0 on.

    That is as it was. A model that changed hands twice shortly before may so have a wrong owner until the next epoch.
    """
    op.create_table(
        "model_owners",
        sa.Column("model", sa.LargeBinary(), primary_key=True),
        sa.Column("from_epoch", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("owner", sa.LargeBinary(), nullable=False),
    )
    op.execute("INSERT INTO model_owners (model, from_epoch, owner) SELECT id, from_epoch, owner FROM models")
    op.execute(
        "INSERT INTO model_owners (model, from_epoch, owner) SELECT id, 0, previous_owner FROM models "
        "WHERE previous_owner IS NOT NULL ON CONFLICT DO NOTHING"
    )
    for name in GONE:
        op.drop_column("models", name)


def downgrade() -> None:
    """Keep the last owner of each model, and the one before it."""
    op.add_column("models", sa.Column("owner", sa.LargeBinary(), nullable=True, index=True))
    op.add_column("models", sa.Column("from_epoch", sa.BigInteger(), nullable=True))
    op.add_column("models", sa.Column("previous_owner", sa.LargeBinary(), nullable=True))
    ranked = (
        "(SELECT model, from_epoch, owner, row_number() OVER (PARTITION BY model ORDER BY from_epoch DESC) AS rank "
        "FROM model_owners) o WHERE o.model = m.id AND o.rank = "
    )
    op.execute(f"UPDATE models m SET owner = o.owner, from_epoch = o.from_epoch FROM {ranked} 1")
    op.execute(f"UPDATE models m SET previous_owner = o.owner FROM {ranked} 2")
    for name in ("owner", "from_epoch"):
        op.alter_column("models", name, nullable=False)
    op.drop_table("model_owners")
