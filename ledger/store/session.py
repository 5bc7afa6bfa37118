"""Begin and end of a transaction, and the statements that every table needs.

Only an edge (a request, a task, a command) opens a unit of work; nothing else commits.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from sqlalchemy import CursorResult, Engine, UpdateBase, create_engine, func, inspect
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, SQLModel, select

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def connect(url: str, *, pool_size: int = 5) -> Engine:
    """An engine over psycopg 3 with a small pool; `url` is Settings.sqlalchemy_url. Its errors, which are logged, name
    statements and not the values in them.
    """
    return create_engine(url, pool_size=pool_size, pool_pre_ping=True, hide_parameters=True)


def connect_unsynced(url: str) -> Engine:
    """An engine of one connection for rows that a crash of the database may lose: each statement is a transaction of
    its own, which does not wait for the disk, and for a lock at most a second.
    """
    options = {"options": "-c synchronous_commit=off -c lock_timeout=1s", "connect_timeout": 5}
    return create_engine(
        url, pool_size=1, pool_pre_ping=True, hide_parameters=True, isolation_level="AUTOCOMMIT", connect_args=options
    )


@contextmanager
def unit_of_work(engine: Engine, *, snapshot: bool = False) -> Iterator[Session]:
    """One database transaction: committed when the block ends, rolled back when it raises.

    With `snapshot` all its statements see what was committed before the first one: for whoever compares what several of
    them read. A row that another transaction changes meanwhile cannot be changed then (OperationalError).
    """
    bind = engine.execution_options(isolation_level="REPEATABLE READ") if snapshot else engine
    with Session(bind, expire_on_commit=False) as session:
        try:
            yield session
        except BaseException:
            session.rollback()
            raise
        session.commit()


def connection_of(session: Session) -> psycopg.Connection[tuple[object, ...]]:
    """The session's own psycopg connection, for COPY. What runs on it commits and rolls back with the session."""
    return cast("psycopg.Connection[tuple[object, ...]]", session.connection().connection.driver_connection)


def insert_once(session: Session, table: type[SQLModel], row: Mapping[str, Any]) -> bool:
    """Insert a row unless one with the same key exists. True when it was inserted."""
    return change(session, insert(table).values(row).on_conflict_do_nothing()) == 1


def upsert(session: Session, table: type[SQLModel], row: Mapping[str, Any]) -> None:
    """Insert a row, or update the columns given in the row with the same primary key."""
    keys = inspect(table).primary_key
    change(session, insert(table).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def change(session: Session, statement: UpdateBase) -> int:
    """Execute an INSERT, UPDATE or DELETE; how many rows it changed. Rows read before keep their old values."""
    options = {"synchronize_session": False, "preserve_rowcount": True}
    return cast("CursorResult[Any]", session.execute(statement, execution_options=options)).rowcount


def value_of(kind: type[Value], row: object, **given: Any) -> Value:
    """A dataclass made of the row's columns of the same names, except for the fields that are given."""
    names = {field.name for field in fields(kind)} - given.keys()
    return kind(**{name: getattr(row, name) for name in names}, **given)


def lock(session: Session, name: str) -> None:
    """Wait for a named advisory lock, and hold it until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 7))))


def try_lock(session: Session, name: str) -> bool:
    """Take a named advisory lock until the transaction ends. False when another transaction holds it."""
    return bool(session.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 7)))).scalar_one())


def column(values: Iterable[int | str]) -> str:
    """A column as one value, for `string_to_array(:column, ',')`: the driver looks at every element of a list.

    Whole numbers and account names hold no comma; a comma would make columns of different length, with a NULL.
    """
    return ",".join(map(str, values))
