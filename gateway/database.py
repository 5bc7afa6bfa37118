"""The event loop's way to the database: in a thread, a transaction each; only the receipt log has its own way.

Alone, because the rooms that the context is made of import it.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from ledger.core.values.errors import Unavailable
from ledger.store.session import unit_of_work

T = TypeVar("T")


async def transact(engine: Engine, work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction, and commit."""
    return await asyncio.to_thread(in_transaction, engine, work)


def in_transaction(engine: Engine, work: Callable[[Session], T]) -> T:
    """The same in a thread, which waits. Raises Unavailable when the database is gone or cannot write."""
    try:
        with unit_of_work(engine) as session:
            return work(session)
    except (OperationalError, InterfaceError) as error:
        raise Unavailable("the database cannot be used now; try again") from error
