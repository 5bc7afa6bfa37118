"""No call is longer than `call_seconds`, whoever is tried and however many steps it has, and who asked to leave is not
served: a receipt that ends after a leaver's notice costs the operator its bond.
"""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.values.ids import PRIVATE_LANE
from ledger.core.values.typed_data import Signer
from ledger.store.chain import lanes
from ledger.store.session import unit_of_work
from tests.attacks.strangers import chat, chat_body, dial, read_answer
from tests.gateway.nodes import Node, answering, hanging, working
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import Loom, inferring, pinned
from tests.gateway.world import World, a_signer

PATIENT: dict[str, Any] = {"first_byte_seconds": 2, "idle_stream_seconds": 600, "call_seconds": 2}
ASK = {"text": "$.messages[-1].content"}


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_tried_next_has_what_is_left_of_one_calls_time(
    world: World, node: Node, other_node: Node, consumer: Signer, stream: bool
) -> None:
    subject = world.a_model_at(node.url)
    world.serve(subject, other_node.url, provider=a_signer("another provider"))
    node.behaviour = other_node.behaviour = hanging
    gateway = world.gateway(**PATIENT)
    world.deposit(consumer.address, 10**6)
    refused = gateway.chat(gateway.key(consumer), stream=stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "node_late")
    assert len(node.asked) + len(other_node.asked) == 2
    assert world.receipts_of(consumer.address) == []
    assert gateway.gateway.leases.outstanding() == 0


def test_the_steps_of_a_workflow_share_one_calls_time(world: World, consumer: Signer) -> None:
    loom = Loom(world, world.gateway(**PATIENT))
    try:
        loom.bond()
        slow = {name: loom.classifier(name, hanging) for name in ("one", "two")}
        first, second = (pinned(name, one, ASK, timeout_ms=60_000) | {"on_error": "skip"} for name, one in slow.items())
        second["when"] = "steps.one.status=='error'"
        last = pinned("last", loom.classifier("last", inferring("yes")), ASK) | {"when": "steps.two.status=='error'"}
        loom.capsule(first, second, last, output={"content": "$steps.last.output.label"})
        response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
        assert response.status_code == 502, response.text
        assert world.receipts_of(consumer.address) == []
    finally:
        for one in loom.nodes:
            one.stop()


def test_who_asked_to_leave_is_not_served_while_a_call_of_it_is_open(
    world: World, node: Node, consumer: Signer
) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(first_byte_seconds=600, idle_stream_seconds=600)
    world.deposit(consumer.address, 10**6)
    key, node.behaviour = gateway.key(consumer), working
    with dial(gateway) as wire:
        wire.sendall(chat(key, body=chat_body()))
        eventually(lambda: node.asked)
        node.behaviour = answering()
        assert gateway.chat(key).status_code == 200
        with unit_of_work(world.engine) as session:
            lanes.assign(session, PRIVATE_LANE, [consumer.address])
            lanes.request_withdrawal(session, PRIVATE_LANE, consumer.address, 1)
        eventually(lambda: gateway.chat(key).status_code == 402)
    eventually(lambda: gateway.gateway.leases.free(consumer.address) == 0)


def test_a_call_that_ends_in_time_is_served(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway(**PATIENT)
    with dial(gateway) as wire:
        wire.sendall(chat(gateway.key(consumer), body=chat_body()))
        assert read_answer(wire)[0] == 200
