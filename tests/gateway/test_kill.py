"""SIGKILL: every answered call has its receipt, a cut one costs nothing, and nothing is held for ever.

The same experiments a popular gateway failed: killed just after 100 answered calls it had lost all 100 rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import httpx
import pytest
from sqlalchemy import text

from ledger.core.values.ids import PRIVATE_LANE
from ledger.core.values.typed_data import Signer
from ledger.flows import leases
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Node, streaming, working
from tests.gateway.processes import PRICE, Process
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import WEAVER, Running, World

pytestmark = pytest.mark.slow


@pytest.fixture
def process(world: World, node: Node) -> Iterator[Process]:
    """A gateway process over a model at 100 atoms a call."""
    world.a_model_at(node.url)
    made = Process(world).start()
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.process.wait(40)


def test_killed_after_a_hundred_answers_it_has_lost_none(world: World, process: Process, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**6)
    key = process.key(consumer)
    for _ in range(100):
        assert process.chat(key).status_code == 200
    process.kill()
    with unit_of_work(world.engine) as session:
        count, last, total = session.execute(text("SELECT count(*), max(seq), sum(charge) FROM receipts")).one()
    assert (count, last, total) == (100, 100, 100 * PRICE)


def test_a_stream_killed_in_the_middle_costs_nothing_and_its_hold_comes_back(
    world: World, process: Process, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10_000)
    key = process.key(consumer)
    node.behaviour = streaming(500, (10, 500), pause=0.02)
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "@acme/chat", "messages": [], "stream": True}
    with process.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)]
        process.kill()
        with pytest.raises(httpx.HTTPError):
            list(lines)
    assert world.receipts_of(consumer.address) == []
    with unit_of_work(world.engine) as session:
        assert sum(leases.reclaim(session, PRIVATE_LANE, 10**15).values()) > 0
    assert world.balance(consumer.address) == 10_000


def test_told_to_stop_it_finishes_what_runs_and_gives_its_leases_back(
    world: World, process: Process, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10_000)
    key = process.key(consumer)
    node.behaviour = streaming(40, (10, 40), pause=0.02)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(process.chat(key, stream=True)))
    caller.start()
    while not node.asked:
        time.sleep(0.02)
    process.process.terminate()
    caller.join()
    process.process.wait(40)
    assert "[DONE]" in answers[0].text
    [signed] = world.receipts_of(consumer.address)
    assert world.balance(consumer.address) == 10_000 - signed.receipt.charge


@pytest.mark.parametrize("policy", ["all-or-nothing", "partial-ok"])
def test_a_workflow_killed_between_its_steps_costs_neither_consumer_nor_weaver_and_is_made_again(
    world: World, process: Process, consumer: Signer, policy: str
) -> None:
    loom = Loom(world, cast(Running, process))
    loom.bond(10**6)
    slow = loom.node(working)
    first = loom.classifier("first", inferring("a"), ask="300")
    second = world.a_model_at(slow.url, "@acme/second", {"call": "200"}, protocol="oip/2")
    loom.capsule(
        pinned("first", first, {"text": LAST}),
        pinned("second", second, {"text": "{$steps.first.output.label}"}),
        output={"content": "$steps.second.output.label"},
        failure=policy,
    )
    asked = {"model": "@wanda/flow", "messages": [{"role": "user", "content": "hi"}]}
    key = loom.consumer(consumer, 10**6)
    try:
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(process.chat, key, "once", **asked)
            eventually(lambda: slow.asked)
            process.kill()
            assert isinstance(lost.exception(), httpx.HTTPError)
        parties = (consumer.address, WEAVER.address)
        assert [world.receipts_of(one) for one in parties] == [[], []]
        with unit_of_work(world.engine) as session:
            leases.reclaim(session, PRIVATE_LANE, 10**15)
        assert [world.balance(one) for one in parties] == [10**6] * 2
        slow.behaviour = inferring("b")
        answer = process.start().chat(key, "once", **asked)
        assert answer.json()["choices"][0]["message"]["content"] == "b", answer.text
        process.process.terminate()
        process.process.wait(40)
        charged = {one.receipt.call_id: one.receipt.charge for one in world.receipts_of(consumer.address)}
        assert len(charged) == 3, "two steps and the whole"
        assert [world.balance(one) for one in parties] == [10**6 - sum(charged.values()), 10**6]
    finally:
        loom.stop()
