"""When a posted batch can be made final."""

from ledger.core.settlement.active_batches import is_window_over


def test_a_window_is_open_from_its_posting_to_just_before_its_end() -> None:
    assert [is_window_over(1_000, 60, now) for now in (1_000, 1_059, 1_060, 1_061)] == [False, False, True, True]
    assert is_window_over(1_000, 0, 1_000)
