"""Gas of protocol 2's books in version control: an act that costs over 1 % more than the snapshot says fails here."""

import json

import pytest

from bench import gas, gas_books
from tests.conftest import an_anvil


def test_a_bid_costs_what_was_promised() -> None:
    assert json.loads(gas_books.SNAPSHOT.read_text())["bid"] <= 60_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_act_costs_over_one_percent_more_than_the_snapshot() -> None:
    snapshot = json.loads(gas_books.SNAPSHOT.read_text())
    with an_anvil() as url:
        assert gas.exceeded(gas_books.measure(url), snapshot) == []
