"""Alembic's entry: runs the migrations on the given connection or URL. Alone because Alembic wants it."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import create_engine
from sqlmodel import AutoString

from ledger.store.tables import metadata


def render(kind: str, item: object, _: Any) -> str | Literal[False]:
    """SQLModel's text type is a plain String on PostgreSQL; migrations should not depend on SQLModel."""
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


def run() -> None:
    """Migrate over `config.attributes['connection']`, or over the configured URL."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        context.configure(connection=connection, target_metadata=metadata, render_item=render)
        with context.begin_transaction():
            context.run_migrations()
        return
    with create_engine(context.config.get_main_option("sqlalchemy.url") or "").connect() as opened:
        context.configure(connection=opened, target_metadata=metadata, render_item=render)
        with context.begin_transaction():
            context.run_migrations()


run()
