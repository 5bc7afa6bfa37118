"""channels of x402's `batch-settlement`, and the calls that each pays for"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables, with an index of what each sweep, and each call, asks for."""
    octets = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token", "salt", "signature")
    numbers = ("withdraw_delay", "balance", "claimed", "leaving", "charged", "voucher", "published", "least")
    deposit = ("deposit", "deposit_after", "deposit_before")
    times = ("requested_at", "checked_at", "used_at", "claimed_at")
    op.create_table(
        "channels",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("id", sa.LargeBinary(), primary_key=True),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in (*octets, "deposit_salt", "deposit_signature")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*numbers, *deposit, *times)),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("claiming", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
    )
    op.create_index("ix_channels_payer", "channels", ["payer"])
    op.create_index("ix_channels_status", "channels", ["status"])
    op.create_table(
        "channel_calls",
        sa.Column("lane", sa.LargeBinary(), primary_key=True),
        sa.Column("call", sa.LargeBinary(), primary_key=True),
        sa.Column("channel", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_channel_calls_channel", "channel_calls", ["lane", "channel"])
    is_open = sa.column("status", sa.String).in_(("held", "released"))
    op.create_index("ix_channel_calls_open", "channel_calls", ["lane"], postgresql_where=is_open)


def downgrade() -> None:
    """Drop them. Claim what is owed before: `python -m ledger.operate permits` lists it."""
    op.drop_table("channel_calls")
    op.drop_table("channels")
