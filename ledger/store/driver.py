"""The psycopg connection under a session, for what SQLAlchemy does not carry: binary COPY, in the same transaction."""

from typing import cast

import psycopg
from sqlmodel import Session


def connection_of(session: Session) -> psycopg.Connection[tuple[object, ...]]:
    """The session's own psycopg connection. What runs on it commits and rolls back with the session."""
    return cast("psycopg.Connection[tuple[object, ...]]", session.connection().connection.driver_connection)
