"""API keys by their hash, and the parts of their budgets that gateways hold."""

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, func, update
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
    query = select(ApiKeyRow).where(*_of(lane, consumer)).order_by(col(ApiKeyRow.created_at).desc())
    return [_value(session, row) for row in session.exec(query)]


def by_id(session: Session, lane: Lane, consumer: Address, key_id: str) -> ApiKey | None:
    query = select(ApiKeyRow).where(*_of(lane, consumer), col(ApiKeyRow.id) == key_id)
    row = session.exec(query).first()
    return _value(session, row) if row else None


def revoke(session: Session, lane: Lane, hashed: bytes, now: int) -> None:
    """Refuse this key from now on. Revoking it again keeps the first time."""
    rows = update(ApiKeyRow).where(*_is(lane, hashed), col(ApiKeyRow.revoked_at).is_(None))
    execute(session, rows.values(revoked_at=now))


def change(session: Session, lane: Lane, hashed: bytes, values: dict[str, Any]) -> None:
    """Change a key's label, budget, rate, models or expiry."""
    if "models" in values and values["models"] is not None:
        values = {**values, "models": json.dumps(values["models"])}
    execute(session, update(ApiKeyRow).where(*_is(lane, hashed)).values(**values))


def budget_left(session: Session, lane: Lane, hashed: bytes) -> int | None:
    """The free part of a key's budget: not held or spent by a gateway. None without budget. Locks the key."""
    query = select(ApiKeyRow).where(*_is(lane, hashed)).with_for_update()
    row = session.exec(query.execution_options(populate_existing=True)).one()
    if row.budget is None:
        return None
    handed_out = select(func.sum(KeyAllowanceRow.amount)).where(*_allowed(lane, hashed))
    return max(0, row.budget - int(session.exec(handed_out).one() or 0))


def allot(session: Session, lane: Lane, hashed: bytes, gateway: Address, granted: int) -> None:
    """Hand a gateway `granted` more atoms of a key's budget."""
    statement = insert(KeyAllowanceRow).values(lane=lane, key=hashed, gateway=gateway, amount=granted, spent=0)
    raised = {"amount": KeyAllowanceRow.amount + statement.excluded.amount}
    execute(session, statement.on_conflict_do_update(index_elements=["lane", "key", "gateway"], set_=raised))


def give_back(session: Session, lane: Lane, gateway: Address, hashed: bytes | None = None) -> None:
    """Take back what a gateway has not spent of a key's budget, or of all keys'. No charge may be under way."""
    rows = update(KeyAllowanceRow).where(col(KeyAllowanceRow.lane) == lane, col(KeyAllowanceRow.gateway) == gateway)
    if hashed is not None:
        rows = rows.where(col(KeyAllowanceRow.key) == hashed)
    execute(session, rows.values(amount=KeyAllowanceRow.spent))


def _of(lane: Lane, consumer: Address) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(ApiKeyRow.lane) == lane, col(ApiKeyRow.consumer) == consumer


def _is(lane: Lane, hashed: bytes) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(ApiKeyRow.lane) == lane, col(ApiKeyRow.hash) == hashed


def _allowed(lane: Lane, hashed: bytes) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(KeyAllowanceRow.lane) == lane, col(KeyAllowanceRow.key) == hashed


def _value(session: Session, row: ApiKeyRow) -> ApiKey:
    spent = 0
    if row.budget is not None:
        query = select(func.sum(KeyAllowanceRow.spent)).where(*_allowed(Lane(row.lane), row.hash))
        spent = int(session.exec(query).one() or 0)
    models = tuple(json.loads(row.models)) if row.models is not None else None
    return value_of(ApiKey, row, models=models, spent=spent)
