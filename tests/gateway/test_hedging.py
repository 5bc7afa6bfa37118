"""Hedged calls: two nodes are asked, one serves and is paid, whatever becomes of the other and of the consumer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.payment.billing import Note
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests.attacks import strangers
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, chat, dying, working
from tests.gateway.test_leaving import leave_once, nothing_is_held
from tests.gateway.test_who_pays import eventually, price_of
from tests.gateway.world import Running, World, a_model, a_signer

CALLS = 24
SECOND = a_signer("second provider of a hedge")
CHEAP, DEAR = {"output_token": "1000000"}, {"output_token": "2000000"}
TOKENS = 3


@pytest.fixture
def hedging(world: World, node: Node, other_node: Node) -> Running:
    """A gateway that asks a second node at once; the one costs an atom a token, the other two."""
    subject = world.publish(a_model())
    world.serve(subject, node.url, CHEAP, maker_ppm=0)
    world.serve(subject, other_node.url, DEAR, SECOND, maker_ppm=0)
    return world.gateway(hedge_ms=1, first_byte_seconds=60, tau_ppm=10**6)


def together(*nodes: Node) -> Behaviour:
    """No node answers a call before both were asked for it: then both answer at once."""

    async def behave(asked: Asked, wire: Wire) -> None:
        said = asked.json["messages"]
        while not all(any(one.json["messages"] == said for one in node.asked) for node in nodes):
            await asyncio.sleep(0.001)
        await wire.answer(chat("hello", 10, TOKENS))

    return behave


def serving(world: World, consumer: Signer) -> list[tuple[str | None, int]]:
    """Who served each call, and what it cost."""
    found = world.receipts_of(consumer.address)
    return [(Note.of(one).provider, one.receipt.charge) for one in found]


def test_of_two_nodes_that_answer_at_once_one_is_paid(
    world: World, hedging: Running, node: Node, other_node: Node, consumer: Signer
) -> None:
    node.behaviour = other_node.behaviour = together(node, other_node)
    world.deposit(consumer.address, 10**6)
    key = hedging.key(consumer, budget="100000")
    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(lambda n: hedging.chat(key, text=f"call {n}", max_tokens=TOKENS), range(CALLS)))
    assert [answer.status_code for answer in answers] == [200] * CALLS
    assert len(node.asked) == len(other_node.asked) == CALLS
    told = {answer.headers["tollway-receipt"]: int(answer.headers["tollway-charge"]) for answer in answers}
    written = {to_hex(one.receipt.call_id): one.receipt.charge for one in world.receipts_of(consumer.address)}
    assert told == written
    price = {to_hex(SECOND.address): price_of(2 * TOKENS)}
    assert all(charge == price.get(str(who), price_of(TOKENS)) for who, charge in serving(world, consumer))
    assert nothing_is_held(hedging)
    spent = hedging.of(consumer).get("/v1/balance").json()["spent"]
    assert int(spent) == sum(written.values())


@pytest.mark.parametrize("first", [True, False])
def test_when_one_of_two_dies_the_other_is_waited_for_and_paid(
    world: World, hedging: Running, node: Node, other_node: Node, consumer: Signer, *, first: bool
) -> None:
    dead, alive = (node, other_node) if first else (other_node, node)

    async def late(asked: Asked, wire: Wire) -> None:
        while not dead.asked:
            await asyncio.sleep(0.005)
        await wire.answer(chat("hello", 10, TOKENS))

    dead.behaviour, alive.behaviour = dying, late
    world.deposit(consumer.address, 10**6)
    assert hedging.chat(hedging.key(consumer), max_tokens=TOKENS).status_code == 200
    [(provider, charge)] = serving(world, consumer)
    assert (provider == to_hex(SECOND.address), charge) == (first, price_of(2 * TOKENS if first else TOKENS))
    assert nothing_is_held(hedging)


def test_a_consumer_that_leaves_two_nodes_stops_both_and_pays_nothing(
    world: World, hedging: Running, node: Node, other_node: Node, consumer: Signer
) -> None:
    node.behaviour = other_node.behaviour = working
    world.deposit(consumer.address, 10**6)
    key = hedging.key(consumer)
    leave_once(hedging, strangers.chat(key), lambda: node.asked and other_node.asked)
    eventually(lambda: (node.aborted, other_node.aborted) == (1, 1))
    eventually(lambda: nothing_is_held(hedging))
    assert world.receipts_of(consumer.address) == []
    node.behaviour = other_node.behaviour = answering(chat("hello", 10, TOKENS))
    assert hedging.chat(key).status_code == 200
