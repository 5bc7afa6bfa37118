"""The event loop's way to the database: in a thread, a transaction each; only the receipt log has its own way.

What a paid call waits for has threads of its own, and what everybody may ask for has few: eight lists of keys held all
threads, and no call was served for a minute.

Alone, because the rooms that the context is made of import it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from ledger.core.values.errors import Unavailable
from ledger.store.session import unit_of_work

T = TypeVar("T")

_CALLS, _OTHERS = ThreadPoolExecutor(8, "calls"), ThreadPoolExecutor(4, "others")
"""Together fewer than the connections that the engine opens."""


async def transact(engine: Engine, work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction, and commit: what calls and the gateway's own jobs wait for."""
    return await asyncio.get_running_loop().run_in_executor(_CALLS, in_transaction, engine, work)


async def transact_aside(engine: Engine, work: Callable[[Session], T]) -> T:
    """The same for all else, however long it takes: no call waits for it."""
    return await asyncio.get_running_loop().run_in_executor(_OTHERS, in_transaction, engine, work)


def in_transaction(engine: Engine, work: Callable[[Session], T]) -> T:
    """The same in a thread, which waits. Raises Unavailable when the database is gone or cannot write."""
    try:
        with unit_of_work(engine) as session:
            return work(session)
    except (OperationalError, InterfaceError) as error:
        raise Unavailable("the database cannot be used now; try again") from error
