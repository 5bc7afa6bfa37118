"""The operator's own commands on the ledger's database: one unit of work each, and errors without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from ledger.core.values.errors import TollwayError
from ledger.settings import Settings
from ledger.store.session import connect, unit_of_work


@contextmanager
def ledger_here() -> Iterator[tuple[Settings, Session]]:
    """The ledger the environment names. What is wrong with it is said on stderr, and the command ends with 2."""
    try:
        settings = Settings()  # type: ignore[call-arg]
        with unit_of_work(connect(settings.sqlalchemy_url)) as session:
            yield settings, session
    except ValidationError as error:
        wrong = (f"LEDGER_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        _end("; ".join(wrong))
    except DBAPIError as error:
        _end(f"the database of LEDGER_DATABASE_URL: {str(error.orig).strip().splitlines()[0]}")
    except TollwayError as error:
        _end(error.message)


def _end(why: str) -> None:
    print(f"error: {why}", file=sys.stderr)
    raise SystemExit(2)
