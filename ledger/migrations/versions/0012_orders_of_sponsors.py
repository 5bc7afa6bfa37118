"""a sponsor's order beside its offer to serve: a provider has both for one model"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COMPUTE = 3
SPONSORS = "UPDATE offers SET sponsors = true WHERE convert_from(body, 'UTF8')::jsonb ?| array['curation', 'promotion']"


def upgrade() -> None:
    """Offers of owners that say `curation` or `promotion` are orders. One that also serves goes on serving."""
    op.add_column("offers", sa.Column("sponsors", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(f"{SPONSORS} AND role <> {COMPUTE}")
    op.alter_column("offers", "sponsors", server_default=None)
    _key_by("subject", "party", "role", "sponsors")


def downgrade() -> None:
    """Of a party's offer and its order in one role the offer stays."""
    op.execute(
        "DELETE FROM offers a USING offers b WHERE a.sponsors AND NOT b.sponsors"
        " AND a.subject = b.subject AND a.party = b.party AND a.role = b.role"
    )
    op.drop_constraint("offers_pkey", "offers")
    op.drop_column("offers", "sponsors")
    op.create_primary_key("offers_pkey", "offers", ["subject", "party", "role"])


def _key_by(*columns: str) -> None:
    op.drop_constraint("offers_pkey", "offers")
    op.create_primary_key("offers_pkey", "offers", list(columns))
