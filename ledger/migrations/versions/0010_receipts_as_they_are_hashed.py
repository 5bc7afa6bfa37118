"""a receipt is stored as the bytes that are hashed: a chunk is read as it is, a group is written as 7 columns"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_METERS = ("calls", "input_tokens", "output_tokens", "ms", "byte_count", "fuel")
_INTS = (*_METERS, "passed", "price", "charge")
_RECORD = " || ".join(
    (
        "call_id || parent || substring(int8send(lane) FROM 5) || gateway || int8send(seq) || consumer || terms",
        *(f"int8send({name})" for name in ("epoch", *_INTS)),
        "substring(int8send(end_reason) FROM 8) || int8send(ended_at) || request_digest || response_digest",
    )
)
_CUT = {"gateway": (69, 20), "call_id": (1, 32), "parent": (33, 32), "consumer": (97, 20), "terms": (117, 32)}
_INDEXES = (
    "ALTER TABLE receipts ADD CONSTRAINT receipts_pkey PRIMARY KEY (gateway, seq)",
    "ALTER TABLE receipts ADD CONSTRAINT receipts_call_id_key UNIQUE (call_id)",
    "CREATE INDEX receipts_ended_at ON receipts USING brin (ended_at)",
    "CREATE INDEX receipts_consumer ON receipts (consumer, ended_at)",
)


def upgrade() -> None:
    """Go forward."""
    cut = ", ".join(
        f"{name} bytea NOT NULL GENERATED ALWAYS AS (substring(record FROM {start} FOR {size})) STORED"
        for name, (start, size) in _CUT.items()
    )
    op.execute("ALTER TABLE receipts RENAME TO receipts_by_column")
    op.execute(
        f"CREATE TABLE receipts (seq bigint NOT NULL, charge bigint NOT NULL, ended_at bigint NOT NULL, "
        f"record bytea NOT NULL, digest bytea NOT NULL, signature bytea NOT NULL, extra bytea, {cut})"
    )
    op.execute(
        "INSERT INTO receipts (seq, charge, ended_at, record, digest, signature, extra) "
        f"SELECT seq, charge, ended_at, {_RECORD}, digest, signature, extra FROM receipts_by_column"
    )
    op.execute("DROP TABLE receipts_by_column")
    for statement in _INDEXES:
        op.execute(statement)


def downgrade() -> None:
    """Go back."""

    def number(start: int, size: int) -> str:
        return f"('x' || lpad(encode(substring(record FROM {start} FOR {size}), 'hex'), 16, '0'))::bit(64)::bigint"

    columns = {name: name for name in ("gateway", "seq", "call_id", "parent", "consumer", "terms")}
    columns |= {"lane": number(65, 4), "epoch": number(149, 8), "end_reason": number(229, 1)}
    columns |= {name: number(157 + 8 * place, 8) for place, name in enumerate(_INTS)}
    columns |= {"ended_at": "ended_at", "request_digest": "substring(record FROM 238 FOR 32)"}
    columns |= {"response_digest": "substring(record FROM 270 FOR 32)"}
    columns |= {name: name for name in ("digest", "signature", "extra")}
    rows = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    op.execute(f"CREATE TABLE receipts_by_column AS SELECT {rows} FROM receipts")
    op.execute("DROP TABLE receipts")
    op.execute("ALTER TABLE receipts_by_column RENAME TO receipts")
    for name in columns.keys() - {"extra"}:
        op.execute(f"ALTER TABLE receipts ALTER COLUMN {name} SET NOT NULL")
    for statement in _INDEXES:
        op.execute(statement)
