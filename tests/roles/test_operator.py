"""An operator's lane: terms that the chain would refuse are refused here, with the bounds and the option. And where the
file of what an operator deploys is written.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger import deployments
from ledger.chain.calls import LaneTerms
from ledger.core.settlement.batches import bond_for
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import operator, output
from roles.wallet import home, keystore, transactions
from roles.wallet.context import Context
from tests import builders as b
from tests.gateway.world import a_deployment

RULES = a_deployment(min_window_seconds=86_400, min_answer_seconds=14_400)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (LaneTerms(86_399, 14_400), "--window is 86400 to 2592000 on this chain, not 86399"),
        (LaneTerms(86_400, 14_399), "--answer-time is 14400 to 259200 on this chain, not 14399"),
        (LaneTerms(86_400, 14_400, 5), "--leverage is 1 to 4 on this chain, not 5"),
    ],
)
def test_a_lane_has_terms_that_the_deployment_allows(terms: LaneTerms, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        operator.check_terms(RULES, terms)
    operator.check_terms(RULES, LaneTerms(86_400, 14_400, 4))


def test_a_days_traffic_is_at_stake_for_the_window_and_up_to_a_day_more() -> None:
    assert bond_for(1_000, 86_400, 1, 86_400) == 2_000
    assert bond_for(1_000, 86_400, 2, 86_400) == 1_000
    assert bond_for(1, 86_400, 4, 86_400) == 1, "rounded up"


class Lane:
    """A chain with one lane, as the commands ask it; what they send is in `sent`."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.key = SimpleNamespace(since=0, revoked_at=0)
        self.head = SimpleNamespace(next=3, finalized=2)
        self.active, self.bond = True, 10**12
        self.chain = SimpleNamespace(
            calls=SimpleNamespace(
                settlement=b.OPERATOR,
                add_gateway=lambda lane, key: "addGateway",
                to=lambda contract, function, *arguments: function,
                to_settlement=lambda function, *arguments: function,
            ),
            lane_of=lambda account: b.LANE,
            lane=lambda lane: SimpleNamespace(active=self.active),
            books=lambda lane: SimpleNamespace(bond=self.bond),
            head=lambda lane: self.head,
            life=lambda lane: SimpleNamespace(stopped_at=1_000),
            gateway_key=lambda lane, key: self.key,
            settlement=lambda name: 604_800,
        )


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> Lane:
    found = Lane()

    def send(context: object, call: str) -> dict[str, object]:
        found.sent.append(call)
        return {"transaction": "0x01"}

    monkeypatch.setattr(operator, "here", lambda: SimpleNamespace(account=b.OPERATOR, wallet="olga", url="http://x"))
    monkeypatch.setattr(output, "confirm", lambda question: None)
    monkeypatch.setattr(keystore, "party", lambda text: b.GATEWAY.address)
    monkeypatch.setattr(transactions, "chain", lambda context: found.chain)
    monkeypatch.setattr(transactions, "now", lambda context: 1_000 + 604_800)
    monkeypatch.setattr(transactions, "send", send)
    return found


def test_a_gateway_key_is_added_once_and_never_again_once_revoked(lane: Lane) -> None:
    with pytest.raises(Rejected, match="is no gateway key of lane"):
        operator.revoke_gateway("gate")
    operator.add_gateway("gate")
    lane.key.since = 5
    operator.add_gateway("gate")
    operator.revoke_gateway("gate")
    assert lane.sent == ["addGateway", "revokeGateway"]
    lane.key.revoked_at = 6
    operator.revoke_gateway("gate")
    with pytest.raises(Rejected, match="for good: give the gateway a new key"):
        operator.add_gateway("gate")
    assert lane.sent == ["addGateway", "revokeGateway"]


def test_a_lane_is_drained_step_by_step(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = {"lane": to_hex(b.LANE), "at_stake": {"charged": "7", "leased": "0"}}
    monkeypatch.setattr(operator, "GatewayClient", lambda url: SimpleNamespace(get=lambda path: waiting))
    lane.head.finalized = 1
    operator.drain()
    lane.head.finalized = 2
    operator.drain()
    assert lane.sent == [], "a batch and a receipt wait"
    waiting["at_stake"] = {"charged": "0", "leased": "0"}
    operator.drain()
    assert lane.sent == ["setActive"]
    lane.active = False
    operator.drain()
    assert lane.sent == ["setActive", "unbond"]
    lane.bond = 0
    operator.drain()
    assert lane.sent == ["setActive", "unbond"], "nothing is left to do"


def test_a_bond_does_not_leave_early(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejected, match="tollway operator drain"):
        operator.unbond_lane()
    lane.active, lane.head.finalized = False, 1
    with pytest.raises(Rejected, match="1 batches are not final yet"):
        operator.unbond_lane()
    lane.head.finalized = 2
    monkeypatch.setattr(transactions, "now", lambda context: 1_000 + 604_799)
    with pytest.raises(Rejected, match="the bond is free from"):
        operator.unbond_lane()
    assert lane.sent == []


@pytest.mark.parametrize("name", ["1", "lane 1", "0x01"])
def test_a_lane_is_named_by_its_address_and_not_by_a_number(name: str) -> None:
    with pytest.raises(Rejected, match=f"0x address of 40 hex digits, not '{name}'; `tollway operator status`"):
        operator.parse_lane(name)
    assert operator.parse_lane(to_hex(b.LANE)) == b.LANE


def test_a_deployment_is_written_where_one_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout, own = tmp_path / "checkout" / "deploy" / "deployments", tmp_path / "home"
    monkeypatch.setenv("TOLLWAY_HOME", str(own))
    monkeypatch.setattr(deployments, "FOLDER", checkout)
    context = Context(rpc="http://127.0.0.1:9")
    assert transactions.deployments_folder(context) == own / "deployments", "there is no checkout, or none of ours"
    checkout.parent.mkdir(parents=True)
    assert transactions.deployments_folder(context) == checkout
    network = {"gateway": "http://127.0.0.1:8", "rpc": "http://127.0.0.1:9", "deployment": str(own / "its" / "1.json")}
    home.write_private(own / "network.json", json.dumps(network))
    assert transactions.deployments_folder(context) == own / "its", "a network has its own"
