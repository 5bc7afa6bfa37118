"""Mistakes of a rewrite: an epoch that begins in the middle of a call, a bond of several failures, a late leaver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.payment.leases import BalanceLeases
from ledger.core.values.ids import cid
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import dying, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, echoing, inferring, pinned
from tests.gateway.world import WEAVER, World


def test_a_receipt_is_of_the_epoch_that_its_terms_are_of(
    loom: Loom, world: World, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loom.classifier("m", inferring("a"))
    loom.capsule(pinned("m", model, {"text": LAST}), output={"content": "$steps.m.output.label"})
    key = loom.consumer(consumer)
    gateway = loom.gateway.gateway
    planned, hold = gateway.catalog, BalanceLeases.hold

    async def epoch_begins(self: BalanceLeases, *arguments: Any) -> Any:
        held = await hold(self, *arguments)
        gateway.catalog = replace(planned, epoch=planned.epoch + 1)
        return held

    monkeypatch.setattr(BalanceLeases, "hold", epoch_begins)
    assert loom.gateway.chat(key, "@wanda/flow").status_code == 200
    assert {one.receipt.epoch for one in world.receipts_of(consumer.address)} == {planned.epoch}


def test_a_weavers_bond_pays_for_all_its_failures_together_at_most_what_it_holds(
    world: World, consumer: Signer
) -> None:
    loom = Loom(world, world.gateway(bond_cap_atoms=1_500))
    loom.bond()
    served = loom.classifier("served", inferring("a"), ask="900")
    broken = loom.classifier("broken", dying)

    def failing(name: str) -> Any:
        return loom.capsule(
            pinned("served", served, {"text": "$.text"}),
            pinned("broken", broken, {"text": "{$steps.served.output.label}"}),
            output={"label": "$steps.broken.output.label"},
            name=name,
        )

    first, second = failing("@wanda/a"), failing("@wanda/b")
    talk = loom.talker("talk", echoing())
    loom.capsule(
        {"id": "x", "uses": {"capsule": cid(first)}, "input": {"text": LAST}, "on_error": "skip"},
        {"id": "y", "uses": {"capsule": cid(second)}, "input": {"text": LAST}, "on_error": "skip"},
        pinned("reply", talk, {"messages": "$.messages"}, when="steps.x.status == 'error'"),
        output={"content": "$steps.reply.output.content"},
    )
    try:
        assert loom.gateway.chat(loom.consumer(consumer), "@wanda/flow").status_code == 200
        eventually(lambda: loom.gateway.gateway.leases.outstanding() == 0)
        assert [one.receipt.charge for one in world.receipts_of(WEAVER.address)] == [1_000]
    finally:
        loom.stop()


def test_a_consumer_that_leaves_a_stream_pays_for_it_even_when_the_step_is_late_then(
    loom: Loom, world: World, consumer: Signer
) -> None:
    slow = streaming(60, (10, 60), pause=0.05, tollway_cancel="none")
    talk = loom.talker("talk", slow, {"output_token": "1000000"})
    reply = pinned("reply", talk, {"messages": "$.messages"}, timeout_ms=1_500)
    loom.capsule(reply, output={"content": "$steps.reply.output.content"})
    body = {"model": "@wanda/flow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {loom.consumer(consumer)}"}
    with (
        httpx.Client(base_url=loom.gateway.url, timeout=30) as http,
        http.stream("POST", "/v1/chat/completions", headers=headers, json=body) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data:"))
        assert all(next(lines) for _ in range(15))
    eventually(lambda: bool(world.receipts_of(consumer.address)))
    assert {one.receipt.end.name for one in world.receipts_of(consumer.address)} == {"client_abort"}
    assert world.receipts_of(WEAVER.address) == []
