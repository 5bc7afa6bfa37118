"""who may do what

Keys have rights and sub-keys, and an id that stays when they are rotated: what they spent is kept by it. A voucher
knows the call that it opened. Documents carry their owner's signature, offers their nonce.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


ROLES = "ARRAY['maker', 'oem', 'compute', 'delivery', 'curator', 'weaver', 'gateway', 'protocol']"


def upgrade() -> None:
    """Add what says who may do what."""
    op.create_table(
        "signed_requests",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
        sa.Column("until", sa.BigInteger(), nullable=False, index=True),
    )
    op.add_column("vouchers", sa.Column("call", sa.LargeBinary(), nullable=True))
    op.add_column("documents", sa.Column("signature", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("rights", sa.String(), nullable=False, server_default="[]"))
    op.add_column("api_keys", sa.Column("made_by", sa.String(), nullable=False, server_default=""))
    op.add_column("offers", sa.Column("nonce", sa.BigInteger(), nullable=True))
    op.add_column("offers", sa.Column("role", sa.BigInteger(), nullable=True))
    op.execute("UPDATE offers SET nonce = (convert_from(body, 'UTF8')::jsonb ->> 'nonce')::bigint")
    op.execute(f"UPDATE offers SET role = array_position({ROLES}, convert_from(body, 'UTF8')::jsonb ->> 'role')")
    op.alter_column("offers", "nonce", nullable=False)
    _offers_by("subject", "party", "role")
    _keyed_by("id", sa.String())
    for column in ("rights", "made_by"):
        op.alter_column("api_keys", column, server_default=None)


def downgrade() -> None:
    """Take it away again. A key that was rotated keeps its last secret."""
    _keyed_by("hash", sa.LargeBinary())
    op.execute(
        "DELETE FROM offers a USING offers b WHERE a.subject = b.subject AND a.party = b.party AND a.role < b.role"
    )
    _offers_by("subject", "party")
    op.drop_column("offers", "role")
    op.drop_column("offers", "nonce")
    op.drop_column("api_keys", "made_by")
    op.drop_column("api_keys", "rights")
    op.drop_column("documents", "signature")
    op.drop_column("vouchers", "call")
    op.drop_table("signed_requests")


def _offers_by(*columns: str) -> None:
    op.drop_constraint("offers_pkey", "offers")
    op.create_primary_key("offers_pkey", "offers", list(columns))


def _keyed_by(column: str, kind: sa.types.TypeEngine[str] | sa.types.TypeEngine[bytes]) -> None:
    """Name keys in `key_allowances` by their id, or by the hash of their secret."""
    before = "hash" if column == "id" else "id"
    op.add_column("key_allowances", sa.Column("named", kind, nullable=True))
    op.execute(
        f"UPDATE key_allowances a SET named = k.{column} FROM api_keys k WHERE k.lane = a.lane AND k.{before} = a.key"
    )
    op.drop_constraint("key_allowances_pkey", "key_allowances")
    op.drop_column("key_allowances", "key")
    op.alter_column("key_allowances", "named", new_column_name="key", nullable=False)
    op.create_primary_key("key_allowances_pkey", "key_allowances", ["lane", "key", "gateway"])
