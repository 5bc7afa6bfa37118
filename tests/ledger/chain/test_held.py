"""Receipts that somebody holds, on a real chain: they convict who left one out, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.core.receipts.receipt import Receipt
from tests.builders import a_receipt
from tests.ledger.chain.conftest import BOND, FUNDS
from tests.ledger.chain.liars import Live, playing

DAY = 86_400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with playing(tmp_path_factory.mktemp("held")) as made:
        yield made


@pytest.fixture
def live(place: Live) -> Live:
    place.begin()
    return place


def a_receipt_replaced_by_a_cheaper_one(live: Live) -> str:
    first, given, last = live.receipts(3)
    live.post(live.book.honest([first, cheaper(live, given), last]))
    live.hold(given)
    return "receipt 2 of gateway 1 was left out"


def the_last_receipt_left_out_for_a_day(live: Live) -> str:
    first, given = live.receipts(2)
    live.post(live.book.honest([first]))
    live.stage.wait(DAY + 1)
    live.post(live.book.honest([]))
    live.hold(given)
    return "receipt 2 of gateway 1 was left out"


def a_receipt_of_a_gateway_without_a_row(live: Live) -> str:
    (given,) = live.receipts(1)
    live.stage.wait(DAY + 1)
    draft = live.book.honest([])
    draft.has_row = False
    live.post(draft)
    live.hold(given)
    return "receipt 1 of gateway 1 was left out"


def a_receipt_in_no_batch_of_a_lane_that_is_left(live: Live) -> str:
    first, given = live.receipts(2)
    live.post(live.book.honest([first]))
    pause(live)
    live.stage.wait(DAY + 1)
    live.hold(given)
    return "receipt 2 of gateway 1 is in no batch, and the lane is paused"


def a_lane_that_is_left_without_a_batch(live: Live) -> str:
    live.hold(*live.receipts(1))
    pause(live)
    live.stage.wait(DAY + 1)
    return "receipt 1 of gateway 1 is in no batch, and the lane is paused"


def two_receipts_of_one_number(live: Live) -> str:
    (given,) = live.receipts(1)
    live.hold(given, cheaper(live, given))
    return "gateway 1 signed two receipts of one number, 1 and 1"


def two_receipts_of_one_call(live: Live) -> str:
    given, other = live.receipts(2)
    live.hold(given, other._replace(call_id=given.call_id))
    return "gateway 1 signed two receipts of one call, 1 and 2"


def one_call_charged_in_two_batches(live: Live) -> str:
    """The public files are evidence enough."""
    given, other = live.receipts(2)
    live.post(live.book.honest([given]))
    live.post(live.book.honest([other._replace(call_id=given.call_id)]))
    return "gateway 1 signed two receipts of one call, 1 and 2"


def a_call_that_is_final_charged_again(live: Live) -> str:
    """The receipt that is final proves nothing any more; the one after it does."""
    given, other = live.receipts(2)
    file = live.post(live.book.honest([given]))
    live.stage.wait(DAY + 1)
    live.chain.transact(FUNDS, live.chain.calls.finalize(live.stage.lane, 1, file.header))
    live.hold(given, other._replace(call_id=given.call_id))
    return "gateway 1 signed two receipts of one call, 2 and 1"


LIES: list[Callable[[Live], str]] = [
    a_receipt_replaced_by_a_cheaper_one,
    the_last_receipt_left_out_for_a_day,
    a_receipt_of_a_gateway_without_a_row,
    a_receipt_in_no_batch_of_a_lane_that_is_left,
    a_lane_that_is_left_without_a_batch,
    two_receipts_of_one_number,
    two_receipts_of_one_call,
    one_call_charged_in_two_batches,
    a_call_that_is_final_charged_again,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_who_holds_the_receipt_convicts_the_liar(live: Live, lie: Callable[[Live], str]) -> None:
    why = lie(live)
    assert [one.said for one in live.look()][-1] == why
    assert live.chain.books(live.stage.lane).bond == 0
    assert int(live.chain.settlement("owed", live.stage.auditor.address)) == BOND // 2
    assert all(one.call is None for one in live.look()), "it is punished once"


def test_receipts_that_are_posted_not_due_or_barred_convict_nobody(live: Live) -> None:
    posted, later, old = live.receipts(3)
    live.post(live.book.honest([posted]))
    old = old._replace(ended_at=old.ended_at - 31 * DAY * 1_000)
    live.hold(posted, later, old)
    name = f"of 0x{posted.gateway.hex()}"
    waits = [one.said for one in live.look()]
    assert waits[:2] == ["honest", f"receipt 1 {name} is in batch 1"]
    assert waits[2].startswith(f"receipt 2 {name} is in no batch yet: a batch that is closed in 86")
    assert waits[3] == f"receipt 3 {name} is barred: it is too old, or its account left. Nobody is charged for it"


def test_a_paused_lane_has_a_day_to_post_what_is_left(live: Live) -> None:
    first, given = live.receipts(2)
    live.post(live.book.honest([first]))
    live.hold(given)
    live.stage.wait(DAY)
    pause(live)
    live.stage.wait(DAY - 60)
    assert all(one.call is None for one in live.look())


def cheaper(live: Live, given: Receipt) -> Receipt:
    """The same call with fewer tokens."""
    units = given.units._replace(output_token=1)
    less = a_receipt(given.seq, live.terms, units=units)
    return given._replace(units=units, price=less.price, charge=less.charge)


def pause(live: Live) -> None:
    """The operator stops the lane, on its way out."""
    call = live.chain.calls.to_settlement("setActive", live.stage.lane, False)
    live.chain.transact(live.stage.key(live.stage.operator), call)
