"""The schema: migrations and tables say the same."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from ledger.core.receipts.record import unpack_all
from ledger.migrations import configuration, migrate
from ledger.store.receipts import receipts
from ledger.store.session import unit_of_work
from ledger.store.tables import metadata
from tests import builders as b


def test_migrations_lead_to_exactly_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)


def test_receipts_live_through_a_change_of_their_columns_and_back(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        b.write(session, [b.a_receipt(number) for number in range(1, 4)])
        before = receipts.chunk(session, b.GATEWAY.address, 1, 3)
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0009")
        assert connection.execute(text("SELECT max(lane), max(seq), max(price) FROM receipts")).one()[:2] == (b.LANE, 3)
        command.upgrade(config, "head")
    with unit_of_work(engine) as session:
        after = receipts.chunk(session, b.GATEWAY.address, 1, 3)
    assert unpack_all(after.records) == unpack_all(before.records)
    assert after.first_altered() is None
    assert after.signed.tobytes() == before.signed.tobytes()
