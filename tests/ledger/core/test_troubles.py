"""What an operator is told to be wrong: each fact has its limit and its remedy, and a lane in order has none."""

from dataclasses import replace

import pytest

from ledger.core.settlement import troubles
from ledger.core.settlement.batches import AtStake
from ledger.core.settlement.troubles import Facts, find, remedy_of
from tests import builders as b

WELL = Facts(
    60_000,
    unposted=troubles.POSTED_MS,
    unbatched=60_000 + troubles.CLOSED_MS,
    uncommitted=troubles.COMMITTED_MS,
    undeposited=troubles.RELAYED_MS,
    stake=AtStake(700, 99, 1_000),
    behind=7,
    indexed=troubles.INDEXED_MS,
    silent=((b.GATEWAY.address, troubles.SILENT_MS),),
)


def test_at_its_limits_nothing_is_wrong() -> None:
    assert find(WELL) == []
    assert find(replace(WELL, behind=0, indexed=10**9)) == [], "a chain without blocks is not late"
    assert find(replace(WELL, behind=None, indexed=10**9)) == [], "a private grid has none"


@pytest.mark.parametrize(
    ("name", "facts", "said", "remedy"),
    [
        ("posting_late", {"unposted": 60_001}, "since 60 s", "start a worker"),
        ("closing_late", {"unbatched": 360_001}, "since 6 min", "start a worker"),
        ("commit_late", {"uncommitted": 3 * 3_600_000}, "since 3 h", "tollway operator status"),
        ("deposit_late", {"undeposited": 300_001}, "not on chain", "tollway operator status"),
        ("bond_near", {"stake": AtStake(701, 99, 1_000)}, "800 of 1000 atoms", "tollway operator add-bond"),
        ("bond_reached", {"stake": AtStake(901, 99, 1_000)}, "calls are refused", "tollway operator add-bond"),
        ("chain_lag", {"indexed": 120_001}, "7 blocks are not indexed", "worker's log"),
        ("chain_away", {"chain_error": "no chain answers at http://x"}, "no chain answers", "LEDGER_RPC_URL"),
        ("challenged", {"questions": 2}, "2 questions", "keep a worker running"),
        ("upto_debt", {"unsettled": 115}, "115 atoms that were advanced", "python -m ledger.operate permits"),
        ("gateway_silent", {"silent": ((b.GATEWAY.address, 60_001),)}, "was last seen 60 s ago", "start it again"),
        ("quarantined", {"quarantined": ((b.GATEWAY.address, 5, "a gap"),)}, "from 5 of gateway", "runbook"),
    ],
)
def test_beyond_a_limit_it_is_said_with_what_helps(name: str, facts: dict[str, object], said: str, remedy: str) -> None:
    (found,) = find(replace(WELL, **facts))  # type: ignore[arg-type]
    assert found.name == name
    assert said in found.message
    assert remedy in found.remedy


def test_an_alarm_of_the_ledger_has_its_page() -> None:
    assert "tollway operator rebuild" in remedy_of("ledger.index")
    assert "tollway operator alarms --clear" in remedy_of("L3")
