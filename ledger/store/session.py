"""Where a transaction begins and ends. Only an edge (a request, a task, a command) opens a unit of work."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlmodel import Session


def connect(url: str, *, pool_size: int = 5) -> Engine:
    """An engine over psycopg 3 with a small pool; `url` is Settings.sqlalchemy_url."""
    return create_engine(url, pool_size=pool_size, pool_pre_ping=True)


@contextmanager
def unit_of_work(engine: Engine) -> Iterator[Session]:
    """One database transaction: committed when the block ends, rolled back when it raises. Nothing else commits."""
    with Session(engine, expire_on_commit=False) as session:
        try:
            yield session
        except BaseException:
            session.rollback()
            raise
        session.commit()
