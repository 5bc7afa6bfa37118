"""budgets of keys by period and by model, and when a key was used last"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. What keys were given and have spent before is of no day and no model: it counts as ever."""
    op.add_column("api_keys", sa.Column("budgets", sa.String(), nullable=False, server_default="[]"))
    op.alter_column("api_keys", "budgets", server_default=None)
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    op.add_column("key_allowances", sa.Column("day", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("key_allowances", sa.Column("model", sa.String(), nullable=False, server_default=""))
    for name in ("day", "model"):
        op.alter_column("key_allowances", name, server_default=None)
    _keyed_by("lane", "key", "gateway", "day", "model")


def downgrade() -> None:
    """Drop them: days and models are added up."""
    op.execute(
        "WITH gone AS (DELETE FROM key_allowances RETURNING lane, key, gateway, amount, spent) "
        "INSERT INTO key_allowances (lane, key, gateway, day, model, amount, spent) "
        "SELECT lane, key, gateway, -1, '', sum(amount), sum(spent) FROM gone GROUP BY lane, key, gateway"
    )
    _keyed_by("lane", "key", "gateway")
    for table, name in (("key_allowances", "model"), ("key_allowances", "day")):
        op.drop_column(table, name)
    for name in ("last_used_at", "budgets"):
        op.drop_column("api_keys", name)


def _keyed_by(*columns: str) -> None:
    op.drop_constraint("key_allowances_pkey", "key_allowances")
    op.create_primary_key("key_allowances_pkey", "key_allowances", list(columns))
