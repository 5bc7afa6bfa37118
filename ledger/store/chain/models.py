"""Registered models, as the chain has them. Alone, because a model is neither a bid, a party nor a lane."""

from sqlmodel import Session, select

from ledger.core.settlement.events import ModelRegistered
from ledger.core.values.ids import Address, Digest
from ledger.store.chain.tables import ModelRow
from ledger.store.session import upsert


def put(session: Session, model: ModelRegistered, block: int) -> None:
    """Mirror a registration, or a transfer to another owner."""
    row: dict[str, object] = {"id": model.id, "owner": model.owner, "terms": model.terms, "block": block}
    row |= {"parents": b"".join(model.parents)}
    upsert(session, ModelRow, row)


def owners(session: Session) -> dict[Digest, Address]:
    """The owner of every registered id."""
    rows = session.exec(select(ModelRow.id, ModelRow.owner))
    return {Digest(model): Address(owner) for model, owner in rows}


def get(session: Session, model: Digest) -> ModelRegistered | None:
    """A model's registration."""
    row = session.get(ModelRow, model, populate_existing=True)
    if row is None:
        return None
    parents = tuple(Digest(row.parents[at : at + 32]) for at in range(0, len(row.parents), 32))
    return ModelRegistered(Digest(row.id), Address(row.owner), parents, Digest(row.terms))
