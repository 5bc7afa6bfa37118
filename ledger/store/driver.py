"""The driver under a session, where SQLAlchemy costs too much: COPY in its transaction, and columns as one value."""

from collections.abc import Iterable
from typing import cast

import psycopg
from sqlmodel import Session


def connection_of(session: Session) -> psycopg.Connection[tuple[object, ...]]:
    """The session's own psycopg connection. What runs on it commits and rolls back with the session."""
    return cast("psycopg.Connection[tuple[object, ...]]", session.connection().connection.driver_connection)


def column(values: Iterable[int | str]) -> str:
    """A column as one value, for `string_to_array(:column, ',')`: of a list, the driver looks at every element.

    Whole numbers and account names hold no comma; one that did would make columns of different length, with a NULL.
    """
    return ",".join(map(str, values))
