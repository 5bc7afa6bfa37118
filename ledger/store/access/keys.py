"""API keys: by the hash of their secret or by their id, with those they descend from; and the parts of their budgets
that gateways hold.

A key's budget also bounds what its sub-keys spend: whoever takes of a budget locks the key's whole line, the first key
first, and sums what all keys below each were given.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import ColumnElement, func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.accounts.budgets import Allowance, Budget, Period, days_of, spent_of
from ledger.core.accounts.permissions import ApiKey, Right
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, Lane
from ledger.store.access.tables import ApiKeyRow, KeyAllowanceRow
from ledger.store.session import change as execute
from ledger.store.session import value_of


def add(session: Session, lane: Lane, key: ApiKey) -> None:
    """Record a new key: its hash only, never its secret."""
    row = asdict(key) | {"lane": lane, **_stored({"models": key.models, "rights": key.rights, "budgets": key.budgets})}
    del row["spent"]  # its gateways' allowances say that
    row["made_by"] = _line(key.made_by)
    execute(session, insert(ApiKeyRow).values(row))


def by_hash(session: Session, lane: Lane, hashed: bytes) -> ApiKey | None:
    """The key with this hash, also when it is revoked or expired."""
    row = session.get(ApiKeyRow, (lane, hashed), populate_existing=True)
    return _stored_value(session, row) if row else None


def of_consumer(
    session: Session, lane: Lane, consumer: Address, below: str | None, day: int
) -> list[tuple[ApiKey, list[Atoms]]]:
    """All keys ever made for a consumer, newest first, each with what was spent of its `budgets` in the period of a
    day; or its key `below` alone, and those that descend of it.
    """
    query = select(ApiKeyRow).filter_by(lane=lane, consumer=consumer).order_by(col(ApiKeyRow.created_at).desc())
    if below is not None:
        query = query.where(*_family(lane, below))
    rows, spent, found = list(session.exec(query)), _spent_by_day(session, lane, consumer, day), []
    for row in rows:
        theirs = spent[row.id]
        key = _value(row, sum(theirs.values()) if row.budget is not None else 0)
        found.append((key, [spent_of(one, day, theirs) for one in key.budgets]))
    return found


def hashes(session: Session, lane: Lane, key_id: str) -> list[bytes]:
    """The hashes of a key and of those that descend of it."""
    return [bytes(hashed) for hashed in session.exec(select(ApiKeyRow.hash).where(*_family(lane, key_id)))]


def by_id(session: Session, lane: Lane, consumer: Address, key_id: str) -> ApiKey | None:
    query = select(ApiKeyRow).filter_by(lane=lane, consumer=consumer, id=key_id)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _stored_value(session, row) if row else None


def ancestors(session: Session, lane: Lane, key: ApiKey) -> tuple[ApiKey, ...]:
    """The keys that a key descends from, its maker first."""
    found = [by_id(session, lane, key.consumer, made_by) for made_by in reversed(key.made_by)]
    assert None not in found, "keys are never deleted"
    return tuple(one for one in found if one is not None)


def count_below(session: Session, lane: Lane, key_id: str) -> int:
    """How many keys that descend of a key are not revoked."""
    below = select(func.count()).select_from(ApiKeyRow).filter_by(revoked_at=None)
    return session.exec(below.where(*_family(lane, key_id), col(ApiKeyRow.id) != key_id)).one()


def revoke(session: Session, lane: Lane, key_id: str, now: int) -> list[bytes]:
    """Refuse a key, and those that descend of it, from now on. Returns the hashes. Revoking again keeps the times."""
    _locked(session, lane, [key_id])  # as whoever takes of a budget below does, and before the keys below
    family = _family(lane, key_id)
    execute(session, update(ApiKeyRow).filter_by(revoked_at=None).where(*family).values(revoked_at=now))
    return hashes(session, lane, key_id)


def rotate(session: Session, lane: Lane, key_id: str, old: bytes, hashed: bytes) -> bool:
    """Give a key another secret, unless it was rotated or revoked meanwhile."""
    this = update(ApiKeyRow).filter_by(lane=lane, id=key_id, hash=old, revoked_at=None)
    return execute(session, this.values(hash=hashed)) == 1


def change(session: Session, lane: Lane, key_id: str, values: dict[str, Any]) -> None:
    """Change a key's label, budget, rate, models, rights, realm or expiry."""
    execute(session, update(ApiKeyRow).filter_by(lane=lane, id=key_id).values(**_stored(values)))


class Left(NamedTuple):
    """What may still be taken of a key's budgets: the least of them, and the key and budget that have it, and whose it
    is; no budget where a key was revoked.
    """

    atoms: int
    key_id: str
    budget: Budget | None
    account: Address


def budget_left(session: Session, lane: Lane, allowance: Allowance) -> Left | None:
    """What may still be taken for a call: not held or spent by a gateway, for its key or for a key below. None without
    budget, 0 for a revoked key. Each budget of the key's line that counts the call bounds it. Locks the line.
    """
    rows = _locked(session, lane, allowance.line)
    revoked = next((row for row in rows if row.revoked_at is not None), None)
    if revoked is not None:
        return Left(0, revoked.id, None, Address(revoked.consumer))
    left = []
    for row in rows:
        for one in _budgets(row):
            if one.model in (None, allowance.model):
                taken = _sum(session, lane, row.id, "amount", (one, allowance.day))
                left.append(Left(max(0, one.amount - taken), row.id, one, Address(row.consumer)))
    return min(left, key=lambda one: one.atoms, default=None)


def spending(session: Session, lane: Lane, key: ApiKey, day: int) -> list[int]:
    """What a key and those below have spent of each of its `budgets`, in the period of a day."""
    return [_sum(session, lane, key.id, "spent", (one, day)) for one in key.budgets]


def allot(session: Session, lane: Lane, allowance: Allowance, gateway: Address, granted: int) -> None:
    """Hand a gateway `granted` more atoms of a key's budgets."""
    row = {**_row_of(allowance), "lane": lane, "gateway": gateway}
    statement = insert(KeyAllowanceRow).values(**row, amount=granted, spent=0)
    raised = {"amount": KeyAllowanceRow.amount + statement.excluded.amount}
    execute(session, statement.on_conflict_do_update(index_elements=list(row), set_=raised))


def give_back(session: Session, lane: Lane, gateway: Address, allowance: Allowance | None = None) -> None:
    """Take back what a gateway has not spent of a key's budgets, or of all keys'. No charge may be under way."""
    rows = update(KeyAllowanceRow).filter_by(lane=lane, gateway=gateway)
    if allowance is not None:
        rows = rows.filter_by(**_row_of(allowance))
    execute(session, rows.values(amount=KeyAllowanceRow.spent))


def note_uses(session: Session, lane: Lane, used: Mapping[str, int]) -> None:
    """Record when keys were used last (ms). One that is locked now waits for its next use: nobody waits in a circle."""
    for key_id, at in used.items():
        mine = (col(ApiKeyRow.lane) == lane, col(ApiKeyRow.id) == key_id)
        older = or_(col(ApiKeyRow.last_used_at).is_(None), col(ApiKeyRow.last_used_at) < at)
        free = select(ApiKeyRow.hash).where(*mine, older).with_for_update(skip_locked=True).scalar_subquery()
        execute(session, update(ApiKeyRow).where(*mine, col(ApiKeyRow.hash) == free).values(last_used_at=at))


def _row_of(allowance: Allowance) -> dict[str, Any]:
    return {"key": allowance.line[-1], "day": allowance.day, "model": allowance.model}


def _line(made_by: Sequence[str]) -> str:
    return "".join(f"{one}/" for one in made_by)


def _family(lane: Lane, key_id: str) -> tuple[ColumnElement[bool], ...]:
    """A key and all that descend of it, found by their account's index."""
    whose = select(ApiKeyRow.consumer).filter_by(lane=lane, id=key_id).scalar_subquery()
    descends = col(ApiKeyRow.made_by).contains(f"{key_id}/", autoescape=True)
    return col(ApiKeyRow.lane) == lane, col(ApiKeyRow.consumer) == whose, or_(col(ApiKeyRow.id) == key_id, descends)


def _locked(session: Session, lane: Lane, line: Sequence[str]) -> list[ApiKeyRow]:
    """The keys of a line, locked one after the other from the first one on, so that nobody waits in a circle."""
    rows = []
    for key_id in line:
        query = select(ApiKeyRow).filter_by(lane=lane, id=key_id).with_for_update()
        rows.append(session.exec(query.execution_options(populate_existing=True)).one())
    return rows


def _sum(session: Session, lane: Lane, key_id: str, column: str, of: tuple[Budget, int] | None = None) -> int:
    """What gateways were given (`amount`) or have `spent` for a key and all keys that descend of it: ever, or of one
    budget in the period of a day.
    """
    theirs = [col(KeyAllowanceRow.lane) == lane, col(KeyAllowanceRow.key) == col(ApiKeyRow.id)]
    if of is not None and of[0].period is not None:
        start, end = days_of(of[0].period, of[1])
        theirs += [col(KeyAllowanceRow.day) >= start, col(KeyAllowanceRow.day) < end]
    if of is not None and of[0].model is not None:
        theirs.append(col(KeyAllowanceRow.model) == of[0].model)
    query = select(func.sum(getattr(KeyAllowanceRow, column))).where(*theirs, *_family(lane, key_id))
    return int(session.exec(query).one() or 0)


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    """Values of columns: lists as JSON."""
    lists = {name: json.dumps(values[name]) for name in ("models", "rights") if values.get(name) is not None}
    if "budgets" in values:
        lists["budgets"] = json.dumps([[one.amount, one.period, one.model] for one in values["budgets"]])
    return values | lists


def _budgets(row: ApiKeyRow) -> Iterator[Budget]:
    """All budgets of a key: its whole one, and those of a period or a model."""
    if row.budget is not None:
        yield Budget(row.budget)
    for amount, period, model in json.loads(row.budgets):
        yield Budget(amount, Period(period) if period is not None else None, model)


def _spent_by_day(
    session: Session, lane: Lane, consumer: Address, day: int
) -> defaultdict[str, Counter[tuple[int, str]]]:
    """What each key of a consumer and those below it have spent by day and model, in one read: a list of keys reads as
    many sums as they have budgets else. All days before a month and a week of now are one.
    """
    since = min(days_of(period, day)[0] for period in Period) - 1
    bucket, model = func.greatest(col(KeyAllowanceRow.day), since), col(KeyAllowanceRow.model)
    query = (
        sqlalchemy.select(col(ApiKeyRow.id), col(ApiKeyRow.made_by), bucket, model, func.sum(KeyAllowanceRow.spent))
        .where(col(KeyAllowanceRow.lane) == lane, col(KeyAllowanceRow.key) == col(ApiKeyRow.id))
        .where(col(ApiKeyRow.lane) == lane, col(ApiKeyRow.consumer) == consumer)
        .group_by(col(ApiKeyRow.id), col(ApiKeyRow.made_by), bucket, model)
    )
    found = defaultdict[str, Counter[tuple[int, str]]](Counter)
    for key_id, made_by, spent_on, of_model, spent in session.execute(query):
        for one in (key_id, *made_by.split("/")[:-1]):
            found[one][spent_on, of_model] += int(spent)
    return found


def _stored_value(session: Session, row: ApiKeyRow) -> ApiKey:
    return _value(row, _sum(session, Lane(row.lane), row.id, "spent") if row.budget is not None else 0)


def _value(row: ApiKeyRow, spent: Atoms) -> ApiKey:
    return value_of(
        ApiKey,
        row,
        models=tuple(json.loads(row.models)) if row.models is not None else None,
        rights=tuple(Right(name) for name in json.loads(row.rights)),
        made_by=tuple(row.made_by.split("/")[:-1]),
        budgets=tuple(one for one in _budgets(row) if one.kind != (None, None)),
        spent=spent,
    )
