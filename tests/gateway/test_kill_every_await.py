"""SIGKILL at every await of a call: answered means charged once, unanswered at most once, and a retry costs no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from ledger.core.values.ids import call_id
from tests.gateway.nodes import Node, answering, streaming
from tests.gateway.processes import PRICE
from tests.gateway.stepping import Lives
from tests.gateway.world import World, a_signer, a_voucher

pytestmark = pytest.mark.slow

DEPOSIT = 10**6
MOST, FEWEST = 80, {"plain": 8, "stream": 11}
"""How many awaits a call may have, and how many it must at least before its receipt is durable: all are tried."""
WHOLE = {"plain": "}}", "stream": "data: [DONE]\n\n"}
"""How a whole answer ends."""


@pytest.fixture
def lives(world: World, node: Node) -> Iterator[Lives]:
    """A gateway over a model at 100 atoms a call, not yet started."""
    world.a_model_at(node.url)
    made = Lives(world.url)
    yield made
    made.stop()


BEHAVIOUR = {
    "plain": answering(connection="close"),
    "stream": streaming(3, (10, 2), pause=0.005, connection="close"),
}
"""Nodes whose connections are not kept: each call has to open one, and awaits that, too."""


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_killed_at_any_await_a_call_is_charged_once_or_not_at_all(
    world: World, lives: Lives, node: Node, kind: str
) -> None:
    node.behaviour = BEHAVIOUR[kind]
    consumers = [a_signer(f"{kind} consumer {n}") for n in range(2)]
    http = lives.begin()
    made = [http.post("/v1/keys", json={"voucher": a_voucher(one, 10**12)}).json() for one in consumers]
    keys = [one["key"] for one in made]
    for consumer in consumers:
        world.deposit(consumer.address, DEPOSIT)
    lives.stop()
    http = lives.begin()

    def call(n: int, **armed: str) -> httpx.Response:
        """By two consumers in turn: to a gateway that has just answered the one, the other's key is new."""
        headers = {"Authorization": f"Bearer {keys[n % 2]}", "Idempotency-Key": f"call {n}", **armed}
        body = {"model": "@acme/chat", "messages": [], "max_tokens": 50, "stream": kind == "stream"}
        return http.post("/v1/chat/completions", json=body, headers=headers)

    def charges(n: int) -> list[int]:
        consumer = consumers[n % 2].address
        identity = call_id(world.lane, consumer, made[n % 2]["id"], "/v1/chat/completions", f"call {n}".encode())
        return [s.receipt.charge for s in world.receipts_of(consumer) if s.receipt.call_id == identity]

    found: Counter[tuple[bool, bool]] = Counter()
    at = 0
    for n in range(1, MOST):
        at += 1
        answered = False
        with suppress(httpx.TransportError):
            answered = call(n, **{"kill-at": f"{at}"}).text.endswith(WHOLE[kind])
        killed = lives.killed(http)
        if not killed:
            assert answered
            assert charges(n) == [PRICE]
            if found[False, True] + found[True, True]:
                break
            lives.stop()  # on a busy machine much comes at once, and a call may have fewer awaits than the one before:
            at = max(0, at - 4)  # the last ones are tried again
        http = lives.begin()  # what its predecessor had sent to the database is written or lost by now
        charged = charges(n)
        found[answered, bool(charged)] += killed
        again = call(n)
        if charged:
            assert (again.status_code, again.json()["error"]["code"]) == (409, "answer_not_kept"), f"await {n}"
            assert again.headers["tollway-charge"] == str(PRICE)
        else:
            assert again.text.endswith(WHOLE[kind]), f"await {n}: {again.text}"
        assert charges(n) == [PRICE], f"await {n}: {charged} when killed, {charges(n)} after the retry"
    else:
        pytest.fail(f"a call has more than {MOST} awaits")
    assert not found[True, False], "answered and not charged"
    assert found[False, False] >= FEWEST[kind], "killed before the receipt was durable"
    assert found[False, True] + found[True, True], "and after"
    lives.stop()
    for consumer in consumers:
        receipts = world.receipts_of(consumer.address)
        assert len({one.receipt.call_id for one in receipts}) == len(receipts)
        assert world.balance(consumer.address) == DEPOSIT - PRICE * len(receipts)
