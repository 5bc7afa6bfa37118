"""Lanes of one database never meet: every row that grows has its lane in its key and in every unique index."""

import pytest
from sqlalchemy import Engine, Table, UniqueConstraint, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

import ledger.store.tables  # noqa: F401  # declares every table
from ledger.core.accounts import movements
from ledger.core.accounts.accounts import CUSTODY, available, leased
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Lane
from ledger.flows import audits, postings
from ledger.store.money import audited_sums
from ledger.store.money import postings as store
from ledger.store.receipts import receipts, watermarks
from ledger.store.receipts.appender import Appender
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms
from tests import builders as b
from tests.conftest import settings_for

OF_NO_LANE = {
    *("cursor", "blocks", "events", "parties", "stakes", "bids", "model_owners", "models", "session_keys"),  # a chain's
    *("organisations", "organisation_keys", "names"),  # a chain's
    *("documents", "offers", "credentials", "books", "measurements", "tunnels", "realms"),  # the network's
    "terms",  # named by their content
}
TABLES = SQLModel.metadata.tables


def unique_keys(table: Table) -> list[set[str]]:
    """The columns of the primary key and of each unique constraint or index."""
    unique = [one.columns for one in table.constraints if isinstance(one, UniqueConstraint)]
    unique += [index.columns for index in table.indexes if index.unique]
    return [{column.name for column in columns} for columns in (table.primary_key.columns, *unique)]


@pytest.mark.parametrize("name", sorted(TABLES.keys() - OF_NO_LANE))
def test_a_lane_is_in_every_unique_key(name: str) -> None:
    assert all("lane" in key for key in unique_keys(TABLES[name])), unique_keys(TABLES[name])


def test_only_these_tables_belong_to_no_lane() -> None:
    assert {name for name, table in TABLES.items() if "lane" not in table.columns} == OF_NO_LANE


def test_the_same_names_calls_and_causes_in_two_lanes_are_apart(engine: Engine) -> None:
    calls = [b.a_receipt(n) for n in range(3)]
    with unit_of_work(engine) as session:
        for lane, amount in ((b.LANE, 10**6), (b.OTHER_LANE, 2 * 10**6)):
            b.fund(session, b.ALICE, amount, lane=lane)
            b.write(session, [call._replace(lane=lane) for call in calls])
        assert postings.post_chunk(session, b.LANE, b.GATEWAY.address, 100, 1) == 3
    with unit_of_work(engine) as session:
        assert [store.balance(session, lane, CUSTODY) for lane in (b.LANE, b.OTHER_LANE)] == [10**6, 2 * 10**6]
        assert store.balance(session, b.OTHER_LANE, leased(b.ALICE, b.GATEWAY.address)) == 2 * 10**6
        for lane in (b.LANE, b.OTHER_LANE):
            found = receipts.by_call(session, lane, calls[0].call_id)
            assert found is not None
            assert found.receipt.lane == lane
        marks = {lane: watermarks.of_lane(session, lane)[0].posted_seq for lane in (b.LANE, b.OTHER_LANE)}
        assert marks == {b.LANE: 3, b.OTHER_LANE: 0}


def test_an_alarm_of_one_lane_does_not_stop_another(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        alarms.sound(session, b.LANE, alarms.Alarm("L1", "short"), 1)
        assert len(alarms.active(session, b.LANE)) == 1
        assert alarms.active(session, b.OTHER_LANE) == []


def test_booked_in_is_a_dense_number_per_lane(engine: Engine) -> None:
    def numbers(lane: Lane) -> list[int | None]:
        query = text("SELECT booked_in FROM transactions WHERE lane = :lane ORDER BY booked_in")
        with unit_of_work(engine) as session:
            return list(session.execute(query, {"lane": lane}).scalars())

    def deposit(lane: Lane, number: int) -> None:
        with unit_of_work(engine) as session:
            store.book(session, movements.deposit(lane, b"log %d" % number, b.ALICE, 5, at=number))

    for number in range(3):
        deposit(b.LANE, number)
        deposit(b.OTHER_LANE, number)
    assert numbers(b.LANE) == [None] * 3, "no audit has seen them"
    for lane in (b.LANE, b.OTHER_LANE):
        with unit_of_work(engine) as session:
            assert audits.accounts_are_their_postings(session, audits.Scope(lane)) == []
    assert numbers(b.LANE) == numbers(b.OTHER_LANE) == [1, 2, 3]
    deposit(b.LANE, 3)
    with unit_of_work(engine) as late:  # books before the audit, and commits after it
        store.book(late, movements.deposit(b.LANE, b"late", b.BOB, 5, at=0))
        with unit_of_work(engine) as session:
            assert audits.accounts_are_their_postings(session, audits.Scope(b.OTHER_LANE)) == []
    with unit_of_work(engine) as session:
        assert audits.accounts_are_their_postings(session, audits.Scope(b.LANE)) == []
        assert audited_sums.since(session, b.LANE) == 5
        assert store.balances(session, b.LANE, [available(b.ALICE), available(b.BOB)]) == {
            available(b.ALICE): 20,
            available(b.BOB): 5,
        }
    assert numbers(b.LANE) == [1, 2, 3, 4, 5]
    assert numbers(b.OTHER_LANE) == [1, 2, 3]


def test_a_transaction_that_an_audit_does_not_see_yet_is_numbered_by_the_next(engine: Engine) -> None:
    scope = audits.Scope(b.LANE)
    with unit_of_work(engine) as late:
        store.book(late, movements.deposit(b.LANE, b"late", b.BOB, 5, at=0))
        with unit_of_work(engine) as session:
            assert audits.accounts_are_their_postings(session, scope) == []
    with unit_of_work(engine) as session:
        assert audited_sums.since(session, b.LANE) == 0
        assert audits.accounts_are_their_postings(session, scope) == []
        assert audited_sums.since(session, b.LANE) == 1


def test_a_gateway_key_writes_for_one_lane_only(postgres_url: str, engine: Engine) -> None:
    url = settings_for(postgres_url).libpq_url
    Appender(url, b.GATEWAY.address, b.LANE).close()
    with pytest.raises(Conflict, match=r"writes for lane 0x0+1, not 0x0+2"):
        Appender(url, b.GATEWAY.address, b.OTHER_LANE)


def test_audits_of_a_lane_take_turns_from_the_number_they_begin_at(engine: Engine) -> None:
    """One that came in between added to the sums behind that number, and all of it seemed to be booked twice."""
    with unit_of_work(engine) as one, unit_of_work(engine) as other:
        audited_sums.since(one, b.LANE)
        other.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            audited_sums.since(other, b.LANE)
        other.rollback()
