"""API keys by their hash, and the parts of their budgets that gateways hold."""

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.accounts.permissions import ApiKey
from ledger.core.values.ids import Address, Lane
from ledger.store.access.tables import ApiKeyRow, KeyAllowanceRow
from ledger.store.session import change as execute
from ledger.store.session import value_of


def add(session: Session, lane: Lane, key: ApiKey) -> None:
    """Record a new key: its hash only, never its secret."""
    row = asdict(key) | {"lane": lane, "models": json.dumps(key.models) if key.models is not None else None}
    del row["spent"]  # its gateways' allowances say that
    execute(session, insert(ApiKeyRow).values(row))


def by_hash(session: Session, lane: Lane, hashed: bytes) -> ApiKey | None:
    """The key with this hash, also when it is revoked or expired."""
    row = session.get(ApiKeyRow, (lane, hashed))
    return _value(session, row) if row else None


def of_consumer(session: Session, lane: Lane, consumer: Address) -> list[ApiKey]:
    """All keys ever made for a consumer, newest first."""
    query = select(ApiKeyRow).filter_by(lane=lane, consumer=consumer).order_by(col(ApiKeyRow.created_at).desc())
    return [_value(session, row) for row in session.exec(query)]


def by_id(session: Session, lane: Lane, consumer: Address, key_id: str) -> ApiKey | None:
    row = session.exec(select(ApiKeyRow).filter_by(lane=lane, consumer=consumer, id=key_id)).first()
    return _value(session, row) if row else None


def revoke(session: Session, lane: Lane, hashed: bytes, now: int) -> None:
    """Refuse this key from now on. Revoking it again keeps the first time."""
    rows = update(ApiKeyRow).filter_by(lane=lane, hash=hashed, revoked_at=None)
    execute(session, rows.values(revoked_at=now))


def change(session: Session, lane: Lane, hashed: bytes, values: dict[str, Any]) -> None:
    """Change a key's label, budget, rate, models or expiry."""
    if "models" in values and values["models"] is not None:
        values = {**values, "models": json.dumps(values["models"])}
    execute(session, update(ApiKeyRow).filter_by(lane=lane, hash=hashed).values(**values))


def budget_left(session: Session, lane: Lane, hashed: bytes) -> int | None:
    """The free part of a key's budget: not held or spent by a gateway. None without budget. Locks the key."""
    query = select(ApiKeyRow).filter_by(lane=lane, hash=hashed).with_for_update()
    row = session.exec(query.execution_options(populate_existing=True)).one()
    if row.budget is None:
        return None
    return max(0, row.budget - _total(session, KeyAllowanceRow.amount, lane, hashed))


def allot(session: Session, lane: Lane, hashed: bytes, gateway: Address, granted: int) -> None:
    """Hand a gateway `granted` more atoms of a key's budget."""
    statement = insert(KeyAllowanceRow).values(lane=lane, key=hashed, gateway=gateway, amount=granted, spent=0)
    raised = {"amount": KeyAllowanceRow.amount + statement.excluded.amount}
    execute(session, statement.on_conflict_do_update(index_elements=["lane", "key", "gateway"], set_=raised))


def give_back(session: Session, lane: Lane, gateway: Address, hashed: bytes | None = None) -> None:
    """Take back what a gateway has not spent of a key's budget, or of all keys'. No charge may be under way."""
    rows = update(KeyAllowanceRow).filter_by(lane=lane, gateway=gateway)
    if hashed is not None:
        rows = rows.filter_by(key=hashed)
    execute(session, rows.values(amount=KeyAllowanceRow.spent))


def _total(session: Session, amounts: int, lane: Lane, hashed: bytes) -> int:
    """The sum of one column of a key's allowances."""
    ours = (col(KeyAllowanceRow.lane) == lane, col(KeyAllowanceRow.key) == hashed)
    return int(session.exec(select(func.sum(amounts)).where(*ours)).one() or 0)


def _value(session: Session, row: ApiKeyRow) -> ApiKey:
    spent = _total(session, KeyAllowanceRow.spent, Lane(row.lane), row.hash) if row.budget is not None else 0
    models = tuple(json.loads(row.models)) if row.models is not None else None
    return value_of(ApiKey, row, models=models, spent=spent)
