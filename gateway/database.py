"""The event loop's way to the database: in a thread, a transaction each; only the receipt log has its own way.

Alone, because the rooms that the context is made of import it.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlmodel import Session

from ledger.store.session import unit_of_work

T = TypeVar("T")


async def transact(engine: Engine, work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction, and commit."""

    def run() -> T:
        with unit_of_work(engine) as session:
            return work(session)

    return await asyncio.to_thread(run)
