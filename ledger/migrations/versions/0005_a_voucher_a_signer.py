"""a voucher a signer

The table had the highest voucher of an account, whoever signed it. Now a key that is revoked takes its own along only.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name vouchers by their signer too."""
    _keyed_by("lane", "account", "signer")


def downgrade() -> None:
    """Keep the highest voucher of each account."""
    op.execute(
        "DELETE FROM vouchers a USING vouchers b WHERE a.lane = b.lane AND a.account = b.account "
        "AND (a.cum_max, a.signer) < (b.cum_max, b.signer)"
    )
    _keyed_by("lane", "account")


def _keyed_by(*columns: str) -> None:
    op.drop_constraint("vouchers_pkey", "vouchers")
    op.create_primary_key("vouchers_pkey", "vouchers", list(columns))
