"""A node that is a consumer itself: a model calls another team's model as itself, and both calls are paid.

Team A's node sells `@a/adviser`, whose server is `@b/numbers` of team B, behind the same gateway: A pays for it with a
key of its own account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ledger.core.catalog.bids import Role
from ledger.core.values import call_heads
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, did, to_hex
from ledger.core.values.typed_data import Signer
from roles.cli.output import wait_until
from tests.gateway.nodes import Node, streaming
from tests.gateway.test_workflows import earned
from tests.gateway.world import MAKER, Running, World, a_model, a_signer
from tests.roles.node.conftest import RunningNode

TEAM_A, TEAM_B, CONSUMER, STRANGER = (a_signer(f"nested {name}") for name in ("a", "b", "consumer", "stranger"))
OUTER, INNER = "@a/adviser", "@b/numbers"
DEPOSIT = 10**6


@pytest.fixture
def numbers() -> Iterator[Node]:
    """Team B's server."""
    made = Node().start()
    yield made
    made.stop()


@pytest.fixture
def gateway(world: World, numbers: Node) -> Running:
    """A gateway with team B's model, and money of everybody who pays."""
    inner = world.publish(a_model(INNER))
    world.serve(inner, numbers.url, {"call": "700"}, TEAM_B)
    for who in (TEAM_A, CONSUMER, STRANGER):
        world.deposit(who.address, DEPOSIT)
    return world.gateway()


Adviser = Callable[[Signer], RunningNode]


@pytest.fixture
def adviser(world: World, gateway: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adviser]:
    """Starts team A's node, which pays with a key of the given account."""
    running: list[RunningNode] = []

    def start(payer: Signer) -> RunningNode:
        monkeypatch.setenv("TOLLWAY_UPSTREAM_KEY", gateway.key(payer))
        running.append(RunningNode("--upstream", f"{OUTER}={gateway.url}/v1#{INNER}"))
        outer = world.publish(a_model(OUTER, owner=did(0, MAKER.address)))
        world.serve(outer, running[-1].url, {"call": "2000"}, TEAM_A)
        assert wait_until(lambda: bool(gateway.http.get(f"/v1/models/{OUTER}").json().get("ready")), 20, 0.1)
        return running[-1]

    yield start
    for one in running:
        assert one.stop() == 0


def receipts_of(gateway: Running, who: Signer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = gateway.of(who).get("/v1/receipts").json()["data"]
    return rows


def earned_of(world: World, who: Signer) -> dict[tuple[Address, Role], int]:
    """Who earned what of a consumer's calls, by the signed receipts and their terms."""
    return earned(world, world.receipts_of(who.address))


@pytest.mark.parametrize("stream", [False, True])
def test_a_models_own_call_is_paid_by_its_team_and_names_the_call_it_serves(
    world: World, gateway: Running, numbers: Node, adviser: Adviser, stream: bool
) -> None:
    numbers.behaviour = streaming()
    adviser(TEAM_A)
    answer = gateway.chat(gateway.key(CONSUMER), OUTER, stream=stream)
    assert answer.status_code == 200, answer.text
    (outer,), (inner,) = receipts_of(gateway, CONSUMER), receipts_of(gateway, TEAM_A)
    assert (outer["noted"]["model"], inner["noted"]["model"]) == (OUTER, INNER)
    assert inner["noted"]["parent"] == outer["call_id"]
    assert "parent" not in {key for key, said in outer["noted"].items() if said}, "the consumer serves nothing"
    assert {outer["parent"], inner["parent"]} == {to_hex(ZERO_DIGEST)}, "signed: two root calls, each pays its fee"
    by_consumer, by_team = earned_of(world, CONSUMER), earned_of(world, TEAM_A)
    assert by_consumer[TEAM_A.address, Role.compute] == 2_000
    assert by_team[TEAM_B.address, Role.compute] == 700
    assert sum(by_consumer.values()) == int(outer["charge"])
    assert sum(by_team.values()) == int(inner["charge"])
    for who, charge in ((CONSUMER, outer["charge"]), (TEAM_A, inner["charge"])):
        assert gateway.of(who).get("/v1/balance").json()["spent"] == charge


def test_a_key_of_another_account_pays_and_names_no_parent(gateway: Running, adviser: Adviser) -> None:
    adviser(STRANGER)
    assert gateway.chat(gateway.key(CONSUMER), OUTER).status_code == 200
    (inner,) = receipts_of(gateway, STRANGER)
    assert not inner["noted"].get("parent")


def test_a_parent_that_its_payer_was_not_asked_in_is_refused_and_nothing_is_charged(
    world: World, gateway: Running, numbers: Node
) -> None:
    """Made up, of another team's call, of another call, and of one that is over."""
    key, parent = gateway.gateway.parent_keys[0], call_heads.PARENT
    gateway.chat(gateway.key(CONSUMER), INNER)
    sent = numbers.asked[-1].headers[parent.lower()]
    call, at, code = sent.split(":")
    assert call == receipts_of(gateway, CONSUMER)[0]["call_id"]
    old = call_heads.write_parent(key, Digest(bytes(32)), TEAM_B.address, 1)
    other = f"0x{'12' * 32}:{at}:{code}"
    world.deposit(TEAM_B.address, DEPOSIT)
    keys = {payer.address: gateway.key(payer) for payer in (STRANGER, TEAM_B)}
    for payer, said, why in (
        (STRANGER, sent, "to the account that pays now"),
        (TEAM_B, other, "to the account that pays now"),
        (TEAM_B, f"{call}:{int(at) + 1}:{code}", "to the account that pays now"),
        (TEAM_B, "0x12:5:zz", "to the account that pays now"),
        (TEAM_B, old, "is over"),
    ):
        refused = gateway.chat(keys[payer.address], INNER, **{f"header_{parent}": said})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, parent), refused.text
        assert why in refused.json()["error"]["message"]
        assert receipts_of(gateway, payer) == []
    assert gateway.chat(keys[TEAM_B.address], INNER, **{f"header_{parent}": sent}).status_code == 200
    assert receipts_of(gateway, TEAM_B)[0]["noted"]["parent"] == call


def test_only_a_tollway_gateway_is_told_for_which_call_it_is_asked(numbers: Node) -> None:
    """Any other server that a node sells could find the consumer by it, once the batch is public."""
    seller = RunningNode("--upstream", f"mine={numbers.url}/v1#theirs")
    try:
        body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
        url = f"{seller.url}/v1/chat/completions"
        assert httpx.post(url, json=body, headers={call_heads.PARENT: "0x12:5:34"}).status_code == 200
        assert call_heads.PARENT.lower() not in numbers.asked[-1].headers
    finally:
        assert seller.stop() == 0
