"""A model is its owner's by epoch: who buys or is given one is paid from a later epoch on."""

from sqlalchemy import Engine

from ledger.core.catalog.lineage import Registration
from ledger.core.settlement.events import ModelRegistered
from ledger.core.values.ids import Digest
from ledger.store.chain import parties
from ledger.store.session import unit_of_work
from tests import builders as b

MODEL, NONE, SOME = (Digest(bytes((n,)) * 32) for n in (1, 2, 3))


def test_an_owner_counts_from_its_epoch_and_the_one_before_until_then(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        parties.change_owner(session, MODEL, b.BOB, 5)
        assert parties.model_owners(session, 9) == {}, "an unknown model has no owner"
        parties.put_model(session, ModelRegistered(MODEL, b.MAKER, (), MODEL, 7), 1)
        assert [parties.model_owners(session, epoch).get(MODEL) for epoch in (6, 7, 8)] == [None, b.MAKER, b.MAKER]
        parties.change_owner(session, MODEL, b.ALICE, 9)
        parties.change_owner(session, MODEL, b.BOB, 9)
        assert [parties.model_owners(session, epoch)[MODEL] for epoch in (8, 9)] == [b.MAKER, b.BOB]


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
