"""What calls share with all else: threads, connections to the database, probes. Nobody can keep them from others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.bounds import Rates
from gateway.call import health
from gateway.clock import steady_ms
from gateway.upstream.guard import LOOKUPS, LOOKUPS_AN_ADDRESS
from gateway.workflow.wasm import Glue
from ledger.core.values.typed_data import Signer
from ledger.flows import leases as flows
from ledger.store.access import deposits, keys
from ledger.store.session import unit_of_work
from tests.attacks.strangers import ATTACKER, chat_body, dial, head
from tests.attacks.test_payment_bounds import PATH, a_payment, chain
from tests.attacks.test_whose_fault import POISON, Market, is_probe, market, poisoned
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, glued
from tests.gateway.world import Running, World, a_signer

__all__ = ["chain", "market"]  # fixtures of other attacks

MOST_KEYS = 1_000
"""Sub-keys that a key may have at a time."""


def test_lists_of_a_thousand_keys_with_budgets_delay_no_call(gateway: Running, world: World, consumer: Signer) -> None:
    """Eight of them held every thread, and no call of anybody was served for a minute: each read a sum a budget."""
    victim = a_signer("a payer beside lists of keys")
    for one in (consumer, victim):
        world.deposit(one.address, 10**9)
    budgets = [{"amount": "1000", "model": f"@a/{n}"} for n in range(15)] + [{"amount": "1000", "period": "day"}]
    key = gateway.key(consumer, rights=["delegate"], budgets=budgets)
    other = gateway.key(victim)
    with unit_of_work(world.engine) as session:
        top = keys.by_hash(session, world.lane, hashlib.sha256(key.encode()).digest())
        assert top is not None
        for _ in range(MOST_KEYS):
            hashed = os.urandom(32)
            keys.add(session, world.lane, replace(top, hash=hashed, id=f"key_{hashed.hex()[:16]}", made_by=(top.id,)))
    listed: list[int] = []

    def list_keys() -> None:
        answer = httpx.get(f"{gateway.url}/v1/keys", headers={"Authorization": f"Bearer {key}"}, timeout=120)
        listed.append(len(answer.json()["data"]))

    threads = [threading.Thread(target=list_keys) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        assert gateway.chat(other).status_code == 200
    for thread in threads:
        thread.join()
    assert listed == [MOST_KEYS + 1] * 8


def test_sub_keys_without_budget_wait_for_their_key_in_one_thread(
    gateway: Running, world: World, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for its row in all threads, and whoever called meanwhile waited for those."""
    world.deposit(consumer.address, 10**9)
    budgets = [{"amount": "1", "model": "@acme/chat"}, {"amount": "1000", "period": "month"}]
    top = gateway.key(consumer, rights=["delegate"], budgets=budgets)
    bearer = {"Authorization": f"Bearer {top}"}
    made = [gateway.http.post("/v1/keys", json={}, headers=bearer).json()["key"] for _ in range(6)]
    allot, now, most = flows.allot, 0, 0

    def counted(*given: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.05)
        try:
            return allot(*given)
        finally:
            now -= 1

    monkeypatch.setattr(flows, "allot", counted)
    with ThreadPoolExecutor(len(made)) as threads:
        refused = {answer.status_code for answer in threads.map(gateway.chat, made)}
    assert (refused, most) == ({402}, 1)


def test_reads_that_take_for_ever_delay_no_call(gateway: Running, world: World, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**9)
    key, waiting = gateway.key(consumer), threading.Event()
    loop = gateway.server.servers[0].get_loop()
    reads = [
        asyncio.run_coroutine_threadsafe(gateway.gateway.aside(lambda session: waiting.wait(30)), loop)
        for _ in range(40)
    ]
    time.sleep(0.3)  # a key is read again after 0.2 s
    began = time.monotonic()
    assert gateway.chat(key).status_code == 200
    assert time.monotonic() - began < 20
    waiting.set()
    assert all(read.result(30) for read in reads)


async def test_a_payer_that_leaves_has_sent_a_worthless_payment(chain: World) -> None:
    """Each left a row for ever, and work for the worker, at no rate: only an answer of 402 was counted."""
    gateway = await asyncio.to_thread(chain.gateway, payment_seconds=300)
    gateway.gateway.failures = failures = Rates(3)
    body, payments, began = chat_body(), [await a_payment(gateway) for _ in range(10)], time.monotonic()

    def waits() -> bool:
        return bool(list(gateway.gateway.payments))

    for payment in payments:
        with dial(gateway) as wire:
            wire.sendall(head("POST", PATH, f"PAYMENT-SIGNATURE: {payment}", length=len(body)) + body)
            await asyncio.to_thread(eventually, lambda: waits() or failures.left(ATTACKER) < 1)
        await asyncio.to_thread(eventually, lambda: not waits())
    with unit_of_work(chain.engine) as session:
        rows = len(deposits.requested(session, chain.lane))
    assert 3 <= rows <= 4 + (time.monotonic() - began) / 20


def trickling(serve: Behaviour) -> Behaviour:
    """A node that fails poison, and begins to answer probes but never ends."""

    async def behave(asked: Asked, wire: Wire) -> None:
        if not is_probe(asked):
            await poisoned(answering({}, 500), serve)(asked, wire)
            return
        wire.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            wire.writer.write(b" ")
            await wire.writer.drain()
            await asyncio.sleep(0.2)

    return behave


def test_a_provider_that_never_ends_its_probes_keeps_none_from_others(
    market: Market, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight such probes held all places for ten minutes, and an honest node whose circuit was open stayed shut."""
    monkeypatch.setattr(health, "PROBE_MS", 100)
    node.behaviour = trickling(answering())
    for n in range(12):
        market.world.a_model_at(node.url, f"@acme/trickle{n}")
    [honest] = market.add(streaming())
    gateway = market.world.gateway(first_byte_seconds=60, idle_stream_seconds=60)
    hostile, unwell = market.consumer(gateway), gateway.gateway.unwell
    for n in range(12):
        assert gateway.chat(hostile, f"@acme/trickle{n}", text=POISON).status_code == 502
    eventually(lambda: any(map(is_probe, node.asked)))
    time.sleep(2)  # the others would be sent by now
    market.health(gateway, honest).probe_failed(steady_ms())
    unwell.add((market.parties[0].address, market.subject), market.health(gateway, honest))
    eventually(lambda: market.health(gateway, honest).usable)
    assert gateway.chat(hostile).status_code == 200
    assert sum(map(is_probe, node.asked)) == 1


def test_a_probe_ends_as_soon_as_a_call_must_begin(market: Market) -> None:
    [one] = market.add(trickling(answering()))
    gateway = market.world.gateway(first_byte_seconds=1, idle_stream_seconds=60)
    gateway.chat(market.consumer(gateway), text=POISON)
    eventually(lambda: any(map(is_probe, one.asked)))
    eventually(lambda: not market.health(gateway, one).usable)


def test_a_module_is_compiled_beside_the_event_loop(loom: Loom, consumer: Signer) -> None:
    """After a restart, or once 256 others had run, whoever asked for its workflow's price had it compiled on the loop:
    0.1 s of CPU, and as long as its other threads took.
    """
    glue = loom.glue()
    loom.capsule(glued("a", "upper", {"text": LAST}), output={"content": "$steps.a.output"}, **glue)
    workshop, on = loom.gateway.gateway.workshop, list[str]()
    compiling = workshop._compile

    def compile_here(body: bytes) -> Glue:
        on.append(threading.current_thread().name)
        return compiling(body)

    workshop._compile = compile_here  # type: ignore[method-assign]
    workshop._modules.clear()
    assert loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"}).status_code == 200
    assert [name.startswith("glue") for name in on] == [True]


def test_silent_names_of_sixteen_addresses_keep_no_offer_waiting(
    world: World, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked, answered = socket.getaddrinfo, list[str](), threading.Event()

    def silent(host: Any, *more: Any, **others: Any) -> Any:
        """A resolver for which names of `.silent` wait for their servers."""
        if not str(host).endswith(".silent"):
            return found(host, *more, **others)
        asked.append(host)
        answered.wait(30)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    subject = world.a_model_at(node.url)
    gateway = world.gateway(trusted_proxies="127.0.0.0/8")

    def offered(number: int, address: int) -> int:
        document = world.offer(subject, f"http://host{number}.silent", a_signer(f"silent {number}"))
        headers = {"x-forwarded-for": f"203.0.113.{address}"}
        return gateway.http.post("/v1/offers", json=document, headers=headers).status_code

    with ThreadPoolExecutor(LOOKUPS) as threads:
        waiting = [threads.submit(offered, n, n // LOOKUPS_AN_ADDRESS) for n in range(LOOKUPS)]
        try:
            eventually(lambda: len(asked) == LOOKUPS)
            assert offered(LOOKUPS, 99) == 201, "it is looked up before it is called"
        finally:
            answered.set()
        assert 201 not in {one.result() for one in waiting}
