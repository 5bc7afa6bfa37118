"""Budgets of API keys that begin anew with each day, week or month, or count the calls of one model alone.

A period is [start, end) in UTC by the network's clock: a day from 00:00, a week from Monday 00:00, a month from its
first day. Each is whole days, so what a key's gateways were given and spent is kept by day, and a period's sum is that
of its days. A call counts in the day that it was held in, whenever it ends.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected

DAY_MS = 86_400_000
MAX_BUDGETS = 16
"""Budgets that a key may have beside its whole one: each is summed whenever a gateway asks for more."""
MODEL = re.compile(r"@[a-z0-9-]+/[a-z0-9._-]+")
_EPOCH = date(1970, 1, 1)


class Period(StrEnum):
    """How long a budget lasts before it begins anew."""

    day = "day"
    week = "week"
    month = "month"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that calls may cost in each `period`, or ever; of every model, or of the one with this name."""

    amount: Atoms
    period: Period | None = None
    model: str | None = None

    @property
    def kind(self) -> tuple[Period | None, str | None]:
        """What it bounds: a key has at most one of each kind."""
        return self.period, self.model

    def __str__(self) -> str:
        every = f" a {self.period}" if self.period is not None else ""
        return f"{self.amount} atoms{every}{f' of {self.model}' if self.model is not None else ''}"


class Allowance(NamedTuple):
    """What a call's money is taken of: the keys that its key descends from, the first one first, and its own; the day,
    if a budget among them has a period; and the model, if one is the model's. One of the keys has a budget.
    """

    line: tuple[str, ...]
    day: int = 0
    model: str = ""


def day_at(now_ms: int) -> int:
    """The day of a time, counted from 1970-01-01."""
    return now_ms // DAY_MS


def days_of(period: Period | None, day: int) -> tuple[int, int]:
    """The days [start, end) of the period that a day is in; without a period all days there are."""
    if period is None:
        return 0, 2**62
    that = _EPOCH + timedelta(day)
    if period is Period.day:
        return day, day + 1
    if period is Period.week:
        return day - that.weekday(), day - that.weekday() + 7
    after = date(that.year + that.month // 12, that.month % 12 + 1, 1)
    return day - that.day + 1, (after - _EPOCH).days


def spent_of(budget: Budget, day: int, by_day: Mapping[tuple[int, str], Atoms]) -> Atoms:
    """What was spent of a budget in the period of a day, of what was spent by day and model."""
    start, end = days_of(budget.period, day)
    return sum(
        atoms
        for (spent_on, model), atoms in by_day.items()
        if start <= spent_on < end and budget.model in (None, model)
    )


def check(budgets: Sequence[Budget]) -> None:
    """Rejected unless a key may have these budgets together."""
    kinds = [one.kind for one in budgets]
    if len(kinds) > MAX_BUDGETS:
        raise Rejected(f"a key has at most {MAX_BUDGETS} budgets, not {len(kinds)}", field="budgets")
    if len(set(kinds)) < len(kinds):
        raise Rejected("two budgets of a key are for the same period and model", field="budgets")
    for one in budgets:
        if one.kind == (None, None):
            raise Rejected("a budget without period and model is the key's `budget`", field="budgets")
        if one.model is not None and not MODEL.fullmatch(one.model):
            raise Rejected(f"a budget is for a model's name, @org/name, not {one.model!r}", field="budgets")


def is_within(outer: Sequence[Budget], inner: Sequence[Budget]) -> bool:
    """Whether each of `outer` stands among `inner`, as large or smaller."""
    amounts = {one.kind: one.amount for one in inner}
    return all(one.kind in amounts and amounts[one.kind] <= one.amount for one in outer)


def merged(outer: Sequence[Budget], inner: Sequence[Budget]) -> tuple[Budget, ...]:
    """`inner`, and those of `outer` of which it names none of the kind."""
    named = {one.kind for one in inner}
    return (*inner, *(one for one in outer if one.kind not in named))


def models(budgets: Iterable[Budget]) -> frozenset[str]:
    """The names of models that have budgets of their own."""
    return frozenset(one.model for one in budgets if one.model is not None)
