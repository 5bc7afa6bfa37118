"""Gas in version control: an act that costs over 1 % more than the snapshot says fails here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import gas
from tests.conftest import an_anvil

README = Path(gas.__file__).parents[1] / "contracts" / "README.md"
TABLE = {
    "commit / with finality of an older batch": ("commit", "commit_finalize"),
    "claim at 1,000 / 100,000 leaves": ("claim_1000", "claim_100000"),
    "claimRange per payee, 20 / 100": ("claim_range_20_per_payee", "claim_range_100_per_payee"),
    "deposit by ERC-3009, first / top-up": ("deposit_authorization_first", "deposit_authorization_top_up"),
    "deposit by allowance, top-up": ("deposit_top_up",),
    "requestWithdraw / withdraw": ("request_withdraw", "withdraw"),
    "register a model, no / one / four parents": ("register_no_parents", "register", "register_4_parents"),
    "change terms / transfer": ("change_terms", "transfer"),
    "bid, first / next / 15 asks / lower": ("bid_first", "bid", "bid_15_asks", "lower_bid"),
    "offer / buy / collect": ("offer", "buy", "collect"),
    "register an organisation / publish a name": ("register_organisation", "publish_name"),
    "stake more / unbond": ("stake_more", "unbond"),
    "per call, 10,000 calls, 100 consumers, 20 payees": ("per_call_10k_calls_100_consumers_20_payees",),
    "per call, 1,000,000 calls, 1,000 consumers, 20 payees": ("per_call_1m_calls_1000_consumers_20_payees",),
}
"""What each row of the README's table shows of the snapshot."""


def shown() -> dict[str, list[str]]:
    """The README's table: an act, and the figures of its gas as they are printed."""
    table = README.read_text().split("| act | gas |")[1].split("\n\n")[0]
    rows = [line.replace("**", "").split("|")[1:3] for line in table.splitlines()[2:]]
    return {act.strip(): re.findall(r"[\d,.]+", gas_) for act, gas_ in rows}


def test_the_readme_shows_the_snapshots_figures() -> None:
    snapshot, table = json.loads(gas.SNAPSHOT.read_text()), shown()
    assert table.pop("consumer side per batch") == ["0"]
    assert {name for names in TABLE.values() for name in names} == snapshot.keys()
    printed = {act: [printed_as(snapshot[name]) for name in names] for act, names in TABLE.items()}
    assert table == printed


def printed_as(figure: float) -> str:
    """Whole gas with commas; gas per call to three figures."""
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.3g}"


def test_a_batch_a_call_and_a_bid_cost_what_was_promised() -> None:
    snapshot = json.loads(gas.SNAPSHOT.read_text())
    assert snapshot["commit"] <= 57_000
    assert snapshot["commit_finalize"] <= 75_000
    assert snapshot["bid"] <= 60_000
    assert snapshot["per_call_10k_calls_100_consumers_20_payees"] <= 36


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_act_costs_over_one_percent_more_than_the_snapshot() -> None:
    snapshot = json.loads(gas.SNAPSHOT.read_text())
    with an_anvil() as one, an_anvil() as other:
        assert gas.exceeded(gas.measure(one, other), snapshot) == []


def test_a_rise_above_one_percent_is_told_and_one_below_is_not() -> None:
    assert gas.exceeded({"claim": 1_011}, {"claim": 1_000}) == ["claim: 1000 -> 1011"]
    assert gas.exceeded({"claim": 1_010}, {"claim": 1_000}) == []
    assert gas.exceeded({}, {"claim": 1_000}) == ["claim is not measured any more"]
    assert gas.exceeded({"claim": 1}, {}) == ["claim: None -> 1"]
