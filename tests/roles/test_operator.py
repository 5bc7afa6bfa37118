"""A lane whose window is too short to challenge is refused, except on a development chain."""

from types import SimpleNamespace

import pytest

from ledger.core.disputes.challenge_game import too_short_to_challenge
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Lane, to_hex
from ledger.deployments import DEVELOPMENT_CHAINS
from roles.cli import operator, output
from roles.wallet import transactions
from tests import builders as b


def test_a_window_must_fit_a_question_for_each_eight_levels_and_three_answers_more() -> None:
    assert too_short_to_challenge(9 * 600, 600) == ""
    assert (
        too_short_to_challenge(9 * 600 - 1, 600)
        == "9 answers of 600 s take 5400 s, and a batch can be challenged for 5399 s"
    )


@pytest.mark.parametrize("chain", [1, *DEVELOPMENT_CHAINS])
def test_a_lane_with_too_short_a_window_is_for_development_only(
    chain: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Lane] = []

    def sent(*arguments: object) -> dict[str, object]:
        opened.append(b.LANE)
        return {"sent": arguments}

    monkeypatch.setattr(operator, "here", lambda: SimpleNamespace(account=b.OPERATOR, wallet="wallet"))
    monkeypatch.setattr(operator, "lane_of", lambda account: next(iter(opened), None))
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
        opened.clear()
    operator.open_lane()
    assert "for a development chain" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["1", "lane 1", "0x01"])
def test_a_lane_is_named_by_its_address_and_not_by_a_number(name: str) -> None:
    with pytest.raises(Rejected, match=f"0x address of 40 hex digits, not '{name}'; `tollway operator status`"):
        operator.parse_lane(name)
    assert operator.parse_lane(to_hex(b.LANE)) == b.LANE
