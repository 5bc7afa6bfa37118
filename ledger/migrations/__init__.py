"""Schema migrations. `migrate(engine)` brings a database to the newest revision and is safe to repeat."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

ADVISORY_LOCK = 0x70_11_A7


def configuration() -> Config:
    """Alembic's configuration: this folder, whatever the working directory."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrade to `revision`. Processes that start together take turns by an advisory lock."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
