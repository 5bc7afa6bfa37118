"""A staked provider that asks too much takes nothing from who pays less: it raises no hold, and shuts no model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ledger.core.values.documents import digest
from ledger.core.values.ids import Digest, cid, did
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, answering, dying, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import BODY, a_client, chain, pay
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import MAKER, World, a_model, a_signer

__all__ = ["chain"]

RIVAL = a_signer("a dear rival")
PRICE = 115
"""Of a call at 100 atoms, with its maker's tenth and the protocol's share."""
DEAR = {"call": "1000000000"}
HIDDEN = {"call": "1", "cached_input_token": "10000000000000"}
"""It seems the cheapest, until its node says that all input was cached."""


def rival(loom: Loom, model: Digest, behaviour: Any, ask: dict[str, str]) -> Node:
    """A rival's node, in the catalog."""
    node = loom.node(behaviour)
    loom.world.serve(model, node.url, ask, provider=RIVAL)
    running = loom.gateway.gateway
    eventually(lambda: sum(len(one.candidates) for one in running.catalog.everywhere(model)) == 2)
    return node


@pytest.mark.parametrize("ask", [DEAR, HIDDEN], ids=["dear", "hidden"])
def test_a_key_with_little_money_is_served_whatever_a_rival_asks(
    loom: Loom, consumer: Signer, ask: dict[str, str]
) -> None:
    model = loom.talker("chat")
    bad = rival(loom, model, streaming(), ask)
    key = loom.consumer(consumer, 20 * PRICE)
    answers = [loom.gateway.chat(key, max_tokens=5) for _ in range(10)]
    assert {one.status_code for one in answers} == {200}, answers[0].text
    assert not bad.asked


def test_of_two_that_may_be_drawn_the_one_that_can_be_paid_serves(loom: Loom, consumer: Signer) -> None:
    model = loom.talker("chat")
    rival(loom, model, streaming(), {"call": "110"})
    for number in range(10):
        key = loom.consumer(a_signer(f"poor {number}"), PRICE)
        answer = loom.gateway.chat(key, max_tokens=5)
        assert answer.status_code == 200, answer.text
    key = loom.consumer(a_signer("too poor"), PRICE - 1)
    refused = loom.gateway.chat(key, max_tokens=5)
    assert (refused.status_code, refused.json()["error"]["shortfall"]) == (402, "1"), "of the cheapest"


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_others_fail_who_cannot_pay_the_dear_one_is_told_of_them(
    loom: Loom, consumer: Signer, stream: bool
) -> None:
    model = loom.talker("chat", dying)
    rival(loom, model, streaming(), DEAR)
    poor, rich = loom.consumer(consumer, 20 * PRICE), loom.consumer(a_signer("rich"), 10**11)
    refused = loom.gateway.chat(poor, max_tokens=5, stream=stream)
    assert refused.status_code == 502, refused.text
    assert "nothing was charged" in refused.text
    assert loom.gateway.chat(rich, max_tokens=5, stream=stream).status_code == 200


async def test_a_402_asks_for_what_the_cheap_ones_cost_and_is_served_by_them(chain: World) -> None:
    model = digest(a_model(owner=did(chain.chain_id, MAKER.address)))
    dear = Node(streaming()).start()
    chain.serve(model, dear.url, DEAR, provider=RIVAL)
    gateway = chain.gateway()
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
    assert unpaid.json()["error"]["required"] == str(PRICE)
    client, payer = a_client()
    assert (await pay(gateway, client)).status_code == 200
    assert [one.receipt.charge for one in chain.receipts_of(payer)] == [PRICE]
    allowed = {"tollway-max-price": str(10**11)}
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY, headers=allowed)
    assert int(unpaid.json()["error"]["required"]) > 10**9, "who says so may pay more, and reach all"
    dear.stop()


def flow(loom: Loom, model: Digest, **more: Any) -> str:
    return cid(loom.capsule(pinned("a", model, {"text": LAST}, **more), output={"label": "$steps.a.output.label"}))


def run(loom: Loom, key: str, name: str) -> httpx.Response:
    return loom.gateway.chat(key, model=name)


def test_a_workflow_is_held_for_the_cheap_ones_and_runs_by_them(loom: Loom, consumer: Signer) -> None:
    model = loom.classifier("a", inferring("joy"))
    bad = rival(loom, model, inferring("none"), DEAR)
    name = flow(loom, model)
    key = loom.consumer(consumer, 10_000)
    answer = run(loom, key, name)
    assert answer.status_code == 200, answer.text
    assert not bad.asked


def test_a_step_whose_cheap_ones_fail_is_served_by_a_dear_one_if_the_consumer_can_pay_it(
    loom: Loom, consumer: Signer
) -> None:
    loom.gateway.send_no_probes()  # else nothing cheap is there to be planned for
    model = loom.classifier("a", answering({"error": "no"}, status=500))
    rival(loom, model, inferring("joy"), DEAR)
    inner = flow(loom, model)
    outer = loom.capsule(
        {"id": "b", "uses": {"capsule": inner}, "input": {"messages": "$.messages"}},
        output={"label": "$steps.b.output.label"},
    )
    rich, poor = loom.consumer(consumer, 10**11), loom.consumer(a_signer("poor"), 10_000)
    for name in (inner, cid(outer)):
        answer = run(loom, rich, name)
        assert answer.status_code == 200, answer.text
        limited = loom.gateway.chat(rich, model=name, header_tollway_max_price="10000")
        assert limited.json()["error"]["code"] == "workflow_failed", "it pays no more than it allows"
        assert run(loom, poor, name).json()["error"]["code"] == "workflow_failed"
    paid = [one.receipt for one in loom.world.receipts_of(consumer.address)]
    assert sum(one.charge for one in paid) == sum(one.price for one in paid if one.parent == bytes(32)) > 2 * 10**9
    assert loom.gateway.gateway.leases.outstanding() == 0
