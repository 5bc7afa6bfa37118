"""Budgets of keys: periods are whole days, [start, end) in UTC; a key that is made of another is within its budgets."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.accounts import budgets, permissions
from ledger.core.accounts.budgets import DAY_MS, Budget, Period, day_at, days_of
from ledger.core.accounts.permissions import ApiKey
from ledger.core.values.errors import Rejected
from tests.builders import ALICE

DAYS = st.integers(0, 60_000)


def day(text: str) -> int:
    return day_at(int(datetime.fromisoformat(f"{text}T00:00+00:00").timestamp() * 1000))


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        (Period.day, "2026-11-29", "2026-11-29", "2026-11-30"),
        (Period.week, "2026-11-29", "2026-11-23", "2026-11-30"),  # a Sunday
        (Period.week, "2026-11-30", "2026-11-30", "2026-12-07"),  # a Monday
        (Period.week, "2027-01-01", "2026-12-28", "2027-01-04"),
        (Period.month, "2026-12-31", "2026-12-01", "2027-01-01"),
        (Period.month, "2028-02-29", "2028-02-01", "2028-03-01"),
        (Period.month, "2026-01-01", "2026-01-01", "2026-02-01"),
    ],
)
def test_a_period_begins_and_ends_at_midnight(period: Period, at: str, start: str, end: str) -> None:
    assert days_of(period, day(at)) == (day(start), day(end))


@given(st.sampled_from(Period), DAYS)
def test_periods_follow_one_another_without_gap_or_overlap(period: Period, at: int) -> None:
    start, end = days_of(period, at)
    assert start <= at < end
    assert days_of(period, start) == days_of(period, end - 1) == (start, end)
    assert days_of(period, end)[0] == end


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_is_in_the_day_of_its_date(at: int) -> None:
    midnight = datetime.fromtimestamp(day_at(at) * DAY_MS // 1000, UTC)
    assert (midnight.hour, midnight.minute, midnight.second) == (0, 0, 0)
    assert midnight.date() == datetime.fromtimestamp(at // 1000, UTC).date()


@pytest.mark.parametrize(
    "wrong",
    [
        [Budget(1)],
        [Budget(1, Period.day), Budget(2, Period.day)],
        [Budget(1, model="bafk")],
        [Budget(1, model="@A/b")],
        [Budget(1, model=f"@a/{n}") for n in range(budgets.MAX_BUDGETS + 1)],
    ],
)
def test_budgets_that_do_not_go_together_are_refused(wrong: list[Budget]) -> None:
    with pytest.raises(Rejected):
        budgets.check(wrong)


KINDS = st.tuples(st.sampled_from([None, *Period]), st.sampled_from([None, "@a/b", "@c/d"]))
SOME = st.dictionaries(KINDS, st.integers(0, 9)).map(lambda made: tuple(Budget(n, *kind) for kind, n in made.items()))


@given(SOME, SOME)
def test_a_sub_key_that_is_let_through_is_within_every_budget_of_its_maker(
    outer: tuple[Budget, ...], inner: tuple[Budget, ...]
) -> None:
    maker = ApiKey(b"", "key_1", ALICE, "", 0, budgets=outer)
    made = permissions.sub_key(maker, ApiKey(b"", "key_2", ALICE, "", 0, budgets=inner))
    wider = any(a.kind == b.kind and b.amount > a.amount for a, b in product(outer, inner))
    assert (permissions.loosened(maker, made) == "budgets") == wider
    assert {one.kind for one in made.budgets} == {one.kind for one in (*outer, *inner)}


@given(SOME, st.data())
def test_a_key_that_drops_or_raises_a_budget_is_looser(some: tuple[Budget, ...], data: st.DataObject) -> None:
    key = ApiKey(b"", "key_1", ALICE, "", 0, budgets=some)
    assert permissions.loosened(key, key) is None
    for one in some:
        rest = tuple(other for other in some if other is not one)
        higher = (*rest, Budget(one.amount + 1, *one.kind))
        for changed in (rest, higher):
            assert permissions.loosened(key, ApiKey(b"", "key_1", ALICE, "", 0, budgets=changed)) == "budgets"
