"""`python -m ledger.migrations`: bring the database of `LEDGER_DATABASE_URL` to the newest revision."""

from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.session import connect

if __name__ == "__main__":
    migrate(connect(Settings().sqlalchemy_url))  # type: ignore[call-arg]  # from the environment
