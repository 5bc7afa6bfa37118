"""Before a deposit the lane is read from the chain, and one that is not to be trusted is refused unless told."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from ledger.core.values.errors import Rejected
from roles.wallet import transactions, trust
from roles.wallet.trust import LaneFacts, doubts
from tests import builders as b

GOOD = LaneFacts(True, 86_400, 14_400, 1, 10**12, 10**9, 500, False)


@pytest.mark.parametrize(
    ("facts", "atoms", "said"),
    [
        (replace(GOOD, window=86_399), 1, "can be challenged for 86399 s only"),
        (replace(GOOD, answer_time=86_401), 1, "may take 86401 s to answer"),
        (replace(GOOD, leverage=2), 1, "2000000000000 atoms can be at stake on a bond of 1000000000000"),
        (replace(GOOD, fell=True), 1, "proven wrong before"),
        (GOOD, 10**12 + 1, "more than the lane's bond"),
    ],
)
def test_each_doubt_is_named(facts: LaneFacts, atoms: int, said: str) -> None:
    (doubt,) = doubts(facts, atoms, development=False)
    assert said in doubt
    assert doubts(GOOD, 10**12, development=False) == []


def test_a_development_chain_may_have_short_windows() -> None:
    short = replace(GOOD, window=60, answer_time=600)
    assert len(doubts(short, 1, development=False)) == 2
    assert doubts(short, 1, development=True) == []


def test_a_doubtful_lane_is_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    index = 0
    chain = SimpleNamespace(chain_id=1, account=lambda lane, account: SimpleNamespace(index=index))
    context = SimpleNamespace(lane_id=b.LANE, account=b.ALICE)
    facts = replace(GOOD, fell=True)
    monkeypatch.setattr(transactions, "chain", lambda context: chain)
    monkeypatch.setattr(trust, "read", lambda context: facts)
    with pytest.raises(Rejected, match=r"proven wrong before.*--anyway"):
        trust.check(context, 1_000, anyway=False)  # type: ignore[arg-type]
    assert trust.check(context, 1_000, anyway=True) == ["a batch of this lane was proven wrong before"]  # type: ignore[arg-type]
    with pytest.raises(Rejected, match="at least 500 atoms"):
        trust.check(context, 499, anyway=True)  # type: ignore[arg-type]
    index = 1
    assert trust.check(context, 499, anyway=True), "a known account tops up as it likes"  # type: ignore[arg-type]
    facts = replace(GOOD, active=False)
    with pytest.raises(Rejected, match="takes no deposits"):
        trust.check(context, 1_000, anyway=True)  # type: ignore[arg-type]
