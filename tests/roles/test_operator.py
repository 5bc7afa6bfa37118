"""A lane whose window is too short to challenge is refused, except on a development chain."""

from types import SimpleNamespace

import pytest

from ledger.core.disputes.challenge_game import too_short_to_challenge
from ledger.core.values.errors import Rejected
from ledger.deployments import DEVELOPMENT_CHAINS
from roles.cli import operator, output
from roles.wallet import transactions
from tests import builders as b


def test_a_window_must_fit_a_question_for_each_level_and_one_for_the_leaf() -> None:
    assert too_short_to_challenge(23 * 600, 600) == ""
    assert (
        too_short_to_challenge(23 * 600 - 1, 600)
        == "23 answers of 600 s take 13800 s, and a batch can be challenged for 13799 s"
    )


@pytest.mark.parametrize("chain", [1, *DEVELOPMENT_CHAINS])
def test_a_lane_with_too_short_a_window_is_for_development_only(
    chain: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sent(*arguments: object) -> dict[str, object]:
        return {"sent": arguments}

    monkeypatch.setattr(operator, "here", lambda: SimpleNamespace(account=b.OPERATOR, wallet="wallet"))
    monkeypatch.setattr(operator, "lane_of", lambda account: 0)
    monkeypatch.setattr(output, "confirm", lambda question: None)
    contracts = SimpleNamespace(calls=SimpleNamespace(settlement=b.OPERATOR, open_lane=sent))
    stubs = {"chain": lambda context: contracts, "chain_id": lambda context: chain, "allow": sent, "send": sent}
    for name, stub in stubs.items():
        monkeypatch.setattr(transactions, name, stub)
    if chain == 1:
        with pytest.raises(Rejected, match="23 answers of 600 s take 13800 s"):
            operator.open_lane(window=60, answer_time=600)
    else:
        operator.open_lane(window=60, answer_time=600)
        assert "for a development chain" in capsys.readouterr().err
    operator.open_lane()
    assert "for a development chain" not in capsys.readouterr().err
