"""A private grid to measure on: PostgreSQL of its own, migrated, and the world the gateway's tests live in."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ledger.core.values.ids import PRIVATE_LANE, Address
from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.receipts import receipts
from ledger.store.receipts.receipts import Signed
from ledger.store.session import connect, unit_of_work
from roles.local import postgres
from tests.gateway.world import World


def receipts_of(world: World, consumer: Address) -> list[Signed]:
    """All of a consumer's receipts, newest first, however many."""
    with unit_of_work(world.engine) as session:
        return receipts.of_consumer(session, PRIVATE_LANE, consumer, limit=10**6)


@contextlib.contextmanager
def a_grid() -> Iterator[World]:
    """A world over a fresh database with durable commits, as in earnest; everything is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tollway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    server = postgres.start(folder / "data", "stop")
    try:
        url = str(server.get_uri())
        engine = connect(Settings.model_validate({"database_url": url}).sqlalchemy_url)
        migrate(engine)
        world = World(engine, url)
        try:
            yield world
        finally:
            world.stop()
            engine.dispose()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
