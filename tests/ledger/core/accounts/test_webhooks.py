"""What an attempt to tell a webhook leads to, and what names a message."""

import pytest

from ledger.core.accounts import webhooks
from ledger.core.accounts.webhooks import Event, Kind, Outcome, Status
from tests import builders as b

HOUR = 3_600_000


def test_a_message_is_tried_by_the_schedule_and_then_has_failed() -> None:
    waits = [webhooks.outcome(0, attempts, 500, 0).next_at for attempts in range(1, 11)]
    seconds = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert waits == [*(1_000 * one for one in seconds), None]
    assert webhooks.outcome(0, 9, None, 0).status is Status.waiting
    assert webhooks.outcome(0, 10, None, 0).status is Status.failed


@pytest.mark.parametrize("answer", [200, 202, 204, 299])
def test_a_success_ends_the_message_and_what_failed_before(answer: int) -> None:
    assert webhooks.outcome(5, 3, answer, 9) == Outcome(Status.delivered, None, None, 9)


@pytest.mark.parametrize("answer", [None, 199, 300, 301, 404, 500])
def test_nothing_else_is_a_success(answer: int | None) -> None:
    assert webhooks.outcome(None, 1, answer, 9) == Outcome(Status.waiting, 5_009, 9, 5_009)


def test_a_webhook_rests_the_longer_the_longer_it_fails_and_ends_after_three_days() -> None:
    rests = [webhooks.outcome(0, 1, None, now).rests_until - now for now in (0, 60_000, HOUR)]
    assert rests == [5_000, 60_000, 300_000]
    assert webhooks.outcome(0, 1, None, 72 * HOUR - 1).disabled_because is None
    assert webhooks.outcome(0, 1, None, 72 * HOUR).disabled_because == "nothing was delivered for 72 hours"


def test_a_receiver_that_is_gone_ends_it_at_once() -> None:
    end = webhooks.outcome(None, 1, 410, 9)
    assert (end.status, end.next_at, end.disabled_because) == (Status.failed, None, "its receiver answered 410, gone")


def test_a_message_is_named_by_its_lane_its_webhook_and_its_cause() -> None:
    ids = {
        webhooks.message_id(lane, hook, cause)
        for lane in (b.LANE, b.OTHER_LANE)
        for hook in ("hook_1", "hook_12")
        for cause in (b"2|x", b"x")
    }
    assert len(ids) == 8


def test_a_message_says_when_its_event_was_seen_in_utc() -> None:
    event = Event(Kind.test, b.ALICE, b"", {"lane": "0x"})
    said = webhooks.body(event, 1_795_855_092_007)
    assert said == '{"type":"test","timestamp":"2026-11-28T08:38:12.007Z","data":{"lane":"0x"}}'
