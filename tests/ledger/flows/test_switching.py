"""A private grid that moves to a chain: what it owed is deposited there, what it proved stays proven."""

import pytest
from sqlalchemy import Engine

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import CUSTODY
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import Lane
from ledger.core.values.typed_data import Domain
from ledger.flows import audits, credits
from ledger.flows import batches as settling
from ledger.flows import postings as posting
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts.appender import Appender
from ledger.store.session import unit_of_work
from ledger.store.settlement import batch_files, batches
from tests import builders as b
from tests.conftest import settings_for
from tests.room import PAYEES, Room

PRIVATE = settling.Lane(Lane(b"\x99" * 20), Domain(), None, 1_000, 0)
GATEWAY = b.OTHER_GATEWAY
CREDIT = 10**6


def a_private_grid(engine: Engine) -> int:
    """Alice was credited and called ten times, all of it is final. Returns what she was charged."""
    with unit_of_work(engine) as session:
        lanes.deposit(session, PRIVATE.lane, b.ALICE, 1, CREDIT)
        b.fund(session, b.ALICE, CREDIT, GATEWAY.address, lane=PRIVATE.lane)
        b.write(
            session,
            [b.a_receipt(1_000 + n, gateway=GATEWAY.address, lane=PRIVATE.lane) for n in range(10)],
            signer=GATEWAY,
        )
        posting.post_chunk(session, PRIVATE.lane, GATEWAY.address, 100, 5)
        parties.assign(session, PRIVATE.lane, settling.missing_payees(session, PRIVATE.lane))
        batch = settling.close(session, PRIVATE, 1, 6)
        credits.publish(session, PRIVATE.lane, 0, 7)
    assert batch is not None
    return batch.total


def release(engine: Engine, amount: int) -> None:
    with unit_of_work(engine) as session:
        cause = b.ALICE + GATEWAY.address + (1).to_bytes(4, "big")
        postings.book(session, movements.release(PRIVATE.lane, cause, b.ALICE, GATEWAY.address, amount, at=8))


def test_a_grid_that_is_not_at_rest_is_not_left(engine: Engine) -> None:
    a_private_grid(engine)
    with pytest.raises(Rejected, match="is leased"), unit_of_work(engine) as session:
        credits.retire(session, PRIVATE.lane, 9)


def test_what_a_grid_owed_is_owed_on_the_chain_and_the_ledger_goes_on(engine: Engine) -> None:
    charged = a_private_grid(engine)
    release(engine, CREDIT - charged)
    with unit_of_work(engine) as session:
        owed = credits.retire(session, PRIVATE.lane, 9)
        assert owed.deposits == {b.ALICE: CREDIT - charged}
        assert set(owed.payments) == set(PAYEES)
        assert sum(owed.payments.values()) == charged
        assert postings.balance(session, PRIVATE.lane, CUSTODY) == 0
        assert credits.retire(session, PRIVATE.lane, 10) == credits.Owed({}, {})

    room = Room(engine)  # a chain: the Registry's places are not the grid's
    room.serve(30)
    assert room.close() is not None
    room.commit()
    room.sweep()
    assert [status for _, status, _ in room.batches()] == ["posted"]
    assert room.laws() == []
    with unit_of_work(engine) as session:
        assert audits.reconcile(session, audits.Scope(PRIVATE.lane, Domain()), 11, thorough=True) == []
        old = batches.latest(session, PRIVATE.lane)
        assert old is not None
        batch_files.write_again(session, batch_files.Discard(), Domain(), old)


def test_a_gateway_key_of_the_grid_does_not_write_for_the_chains_lane(engine: Engine, postgres_url: str) -> None:
    a_private_grid(engine)
    with pytest.raises(Conflict, match="lane 0x9999"):
        Appender(settings_for(postgres_url).libpq_url, GATEWAY.address, b.LANE)
