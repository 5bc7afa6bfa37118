"""The schema: migrations and tables say the same."""

import json
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from ledger.core.accounts.budgets import Allowance
from ledger.core.catalog.bids import Role
from ledger.core.catalog.lineage import Registration, parents_hash
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Voucher
from ledger.migrations import configuration, migrate
from ledger.store.access import keys, vouchers
from ledger.store.chain import parties
from ledger.store.network import offers
from ledger.store.session import unit_of_work
from ledger.store.tables import metadata
from tests.builders import ALICE, BOB, LANE, MAKER


def test_migrations_lead_to_exactly_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_keys_and_offers_of_before_are_found_by_what_names_them_now(engine: Engine) -> None:
    offer = json.dumps({"nonce": 7, "role": "weaver"}).encode()
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        key = {
            "lane": LANE,
            "hash": b"hash",
            "id": "key_1",
            "consumer": ALICE,
            "label": "",
            "created_at": 1,
            "budget": 9,
        }
        spent = {"lane": LANE, "key": b"hash", "gateway": ALICE, "amount": 5, "spent": 3}
        served: dict[str, Any] = {"subject": b"s", "party": ALICE, "body": offer, "url": "", "tier": ""}
        served |= {"capacity": 0, "expires_at": 1, "at": 1}
        rows: dict[str, dict[str, Any]] = {"api_keys": key, "key_allowances": spent, "offers": served}
        for table, values in rows.items():
            names = ", ".join(values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{names.replace(', ', ', :')})"), values)
        command.upgrade(config, "head")
    with unit_of_work(engine) as session:
        found_key = keys.by_hash(session, LANE, b"hash")
        assert found_key is not None
        assert (found_key.spent, found_key.rights, found_key.made_by) == (3, (), ())
        left = keys.budget_left(session, LANE, Allowance((found_key.id,)))
        assert left is not None
        assert left.atoms == 4
        found = offers.get(session, Digest(b"s"), ALICE, Role.weaver)
        assert found is not None
        assert found.nonce == 7


def test_models_of_before_are_as_their_owners_registered_them(engine: Engine) -> None:
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        model = (
            "INSERT INTO models (id, owner, from_epoch, terms, parents, block) VALUES (:id, :owner, 5, '', :named, 1)"
        )
        for id, parents in ((b"a" * 32, b""), (b"b" * 32, b"a" * 32)):
            connection.execute(text(model), {"id": id, "owner": ALICE, "named": parents})
        command.upgrade(config, "head")
    with unit_of_work(engine) as session:
        found = parties.registrations(session)
    alone, derived = Digest(b"a" * 32), Digest(b"b" * 32)
    assert found[alone] == Registration(ALICE, parents_hash(alone, {alone: ()}), 5)
    assert found[derived].lineage == b"", "the chain knows it"


def test_the_owners_of_before_are_known_by_epoch_and_the_last_two_again_when_going_back(engine: Engine) -> None:
    sold, kept = Digest(b"a" * 32), Digest(b"b" * 32)
    columns = "id, owner, from_epoch, previous_owner"
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        model = (
            f"INSERT INTO models ({columns}, registrant, registered_from, lineage, block) "
            "VALUES (:id, :owner, 5, :previous, :owner, 3, '', 1)"
        )
        before: list[tuple[bytes, bytes, int, bytes | None]] = [(sold, ALICE, 5, BOB), (kept, BOB, 5, None)]
        for id, owner, _, previous in before:
            connection.execute(text(model), {"id": id, "owner": owner, "previous": previous})
        command.upgrade(config, "head")
    with unit_of_work(engine) as session:
        assert parties.model_owners(session, 4) == {sold: BOB}
        assert parties.model_owners(session, 5) == {sold: ALICE, kept: BOB}
        parties.change_owner(session, sold, MAKER, 6)
        parties.change_owner(session, sold, BOB, 8)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        found = connection.execute(text(f"SELECT {columns} FROM models ORDER BY id"))
        assert [tuple(row) for row in found] == [(sold, BOB, 8, MAKER), (kept, BOB, 5, None)]
        command.upgrade(config, "head")


def test_going_back_keeps_the_highest_voucher_of_each_account(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        for account, signer, cum_max in ((ALICE, ALICE, 5), (ALICE, MAKER, 7), (BOB, BOB, 3)):
            vouchers.raise_to(session, Voucher(LANE, account, cum_max), signer, b"")
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
        found = connection.execute(text("SELECT account, signer, cum_max FROM vouchers ORDER BY cum_max"))
        assert [tuple(row) for row in found] == [(BOB, BOB, 3), (ALICE, MAKER, 7)]
        command.upgrade(config, "head")
    with unit_of_work(engine) as session:
        assert vouchers.highest(session, LANE, BOB) == (3, None)


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)


def test_going_back_leaves_nothing_and_going_forward_again_leads_to_the_same_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
