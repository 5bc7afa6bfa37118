"""Gas in version control: an act that costs over 1 % more than the snapshot says fails here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import gas
from tests.conftest import an_anvil

NAMES = [
    "commit",
    "commit_finalize",
    "claim_1000",
    "claim_100000",
    "claim_range_20_per_payee",
    "claim_range_100_per_payee",
    "deposit_authorization_first",
    "deposit_authorization_top_up",
    "request_withdraw",
    "withdraw",
    "challenge_debit",
    "answer_debit",
    "prove_overdraft",
    "prove_bad_sum",
    "demand_node",
    "answer_node",
    "register_model",
    "place_bid",
    "stake_more",
    "unbond",
    "per_call_10k_calls_100_consumers_20_payees",
    "per_call_1m_calls_1000_consumers_20_payees",
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_act_costs_over_one_percent_more_than_the_snapshot(tmp_path: Path) -> None:
    snapshot = json.loads(gas.SNAPSHOT.read_text())
    assert set(NAMES) == snapshot.keys()
    with an_anvil() as url:
        assert gas.exceeded(gas.measure(url, tmp_path), snapshot) == []


def test_a_rise_above_one_percent_is_told_and_one_below_is_not() -> None:
    assert gas.exceeded({"claim": 1_011}, {"claim": 1_000}) == ["claim: 1000 -> 1011"]
    assert gas.exceeded({"claim": 1_010}, {"claim": 1_000}) == []
    assert gas.exceeded({}, {"claim": 1_000}) == ["claim is not measured any more"]
    assert gas.exceeded({"claim": 1}, {}) == ["claim: None -> 1"]
