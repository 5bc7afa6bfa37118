"""A model is its owner's by epoch: who buys or is given one is paid from a later epoch on."""

from sqlalchemy import Engine

from ledger.core.catalog.lineage import Registration
from ledger.core.settlement.events import ModelRegistered
from ledger.core.values.ids import Digest
from ledger.store.chain import parties
from ledger.store.session import unit_of_work
from tests import builders as b

MODEL, NONE, SOME = (Digest(bytes((n,)) * 32) for n in (1, 2, 3))


def test_an_owner_counts_from_its_epoch_until_the_next_ones_however_many_follow(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        assert parties.model_owners(session, 9) == {}, "an unknown model has no owner"
        for _ in range(2):  # what is read twice says the same
            parties.put_model(session, ModelRegistered(MODEL, b.MAKER, (), MODEL, 7), 1)
            for owner, epoch in ((b.ALICE, 9), (b.BOB, 9), (b.ALICE, 10), (b.MAKER, 12), (b.COMPUTE, 12)):
                parties.change_owner(session, MODEL, owner, epoch)
        found = [parties.model_owners(session, epoch).get(MODEL) for epoch in range(6, 14)]
    assert found == [None, b.MAKER, b.MAKER, b.BOB, b.ALICE, b.ALICE, b.COMPUTE, b.COMPUTE]


def test_an_earlier_commitment_takes_a_model_over_from_its_epoch(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        parties.put_model(session, ModelRegistered(MODEL, b.MAKER, (), MODEL, 7, NONE), 1)
        assert parties.registrations(session) == {MODEL: Registration(b.MAKER, NONE, 7)}
        parties.put_model(session, ModelRegistered(MODEL, b.BOB, (), MODEL, 8, SOME), 2)
        assert [parties.model_owners(session, epoch)[MODEL] for epoch in (7, 8)] == [b.MAKER, b.BOB]
        assert parties.registrations(session) == {MODEL: Registration(b.BOB, SOME, 8)}


def test_a_new_owner_is_not_who_registered_it(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        parties.put_model(session, ModelRegistered(MODEL, b.MAKER, (), MODEL, 7, SOME), 1)
        parties.change_owner(session, MODEL, b.BOB, 9)
        assert parties.registrations(session) == {MODEL: Registration(b.MAKER, SOME, 7)}
