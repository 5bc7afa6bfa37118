"""When a posted batch can be made final, and when one lets a consumer leave."""

import pytest

from ledger.core.settlement.batches import is_exit_batch_due, is_window_over, settles_exit, window_end


def test_a_window_is_open_until_just_before_its_end() -> None:
    assert [is_window_over(1_060, now) for now in (1_000, 1_059, 1_060, 1_061)] == [False, False, True, True]


def test_a_window_is_long_enough_to_open_the_longest_path() -> None:
    assert window_end(1_000, 60, 10, 2) == 1_060
    assert window_end(1_000, 60, 20, 2) == 1_000 + 5 * 20


def test_a_batch_settles_an_exit_when_it_is_posted_after_the_notice() -> None:
    assert [settles_exit(posted_at, 1_000, 60) for posted_at in (1_000, 1_060, 1_061)] == [False, False, True]


@pytest.mark.parametrize(
    ("posted_at", "now", "due"),
    [(900, 1_000, False), (900, 1_001, True), (1_001, 1_060, False), (1_060, 1_061, True), (1_061, 2_000, False)],
)
def test_a_leaving_consumer_needs_a_batch_after_its_request_and_one_after_its_notice(
    posted_at: int, now: int, due: bool
) -> None:
    assert is_exit_batch_due(posted_at, 1_000, 60, now) is due
