"""The machine's wall clock jumps while calls run: nobody pays for the jump, no receipt convicts, no limit is stuck."""

from __future__ import annotations

import time

import pytest

from gateway.clock import now_ms
from ledger.core.disputes import audit
from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement import batch_file
from ledger.core.values.ids import PRIVATE_LANE
from ledger.core.values.typed_data import Signer
from ledger.flows import audits, leases
from ledger.flows.audits import Scope
from ledger.store.session import unit_of_work
from tests.gateway.clocks import WallClock
from tests.gateway.nodes import (
    Behaviour,
    Node,
    amid,
    answering,
    hanging,
    streaming,
)
from tests.gateway.test_private_grid import a_credit, work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, EPOCH_SECONDS, World, a_model, a_signer

HOURS = 3_600
JUMPS = [2 * HOURS, -2 * HOURS]
BY_TIME = {"ms": "1000000"}
"""One atom for each millisecond."""


def jumping(wall: WallClock, seconds: int) -> Behaviour:
    """A node during whose answer, whole or streamed, the clock jumps."""

    async def jump() -> None:
        wall.jump(seconds)

    return amid(jump)


def is_of_its_epoch(receipt: Receipt) -> bool:
    """The rule by which a receipt convicts its operator if it does not hold."""
    ended = receipt.ended_at // 1_000 // EPOCH_SECONDS
    return receipt.epoch in (ended, ended - 1)


@pytest.mark.parametrize("seconds", JUMPS)
@pytest.mark.parametrize("stream", [False, True])
def test_nobody_pays_for_a_jump_of_the_clock(
    world: World, node: Node, consumer: Signer, wall: WallClock, seconds: int, *, stream: bool
) -> None:
    subject = world.publish(a_model(meters=["call", "ms"]))
    world.serve(subject, node.url, BY_TIME, maker_ppm=0)
    world.deposit(consumer.address, 10**8)
    gateway = world.gateway()
    key = gateway.key(consumer)
    node.behaviour = jumping(wall, seconds)
    began = time.monotonic()
    answer = gateway.chat(key, stream=stream)
    most_ms = (time.monotonic() - began) * 1_000
    wall.jump(-seconds)
    assert answer.status_code == 200, answer.text
    [signed] = world.receipts_of(consumer.address)
    assert 0 <= signed.receipt.units.ms <= most_ms
    assert gateway.gateway.leases.outstanding() == 0
    [health] = gateway.gateway.loader.records().values()
    assert 0 <= health.latency_ms <= most_ms, "nor is the node taken for slower or faster than it is"


@pytest.mark.parametrize("seconds", JUMPS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_receipt_of_a_clock_that_jumped_is_settled_and_convicts_nobody(
    world: World, node: Node, consumer: Signer, wall: WallClock, seconds: int, *, stream: bool
) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway()
    assert gateway.http.post("/v1/credits", json=a_credit(consumer, 10**6, "before the jump")).is_success
    work(world)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == 200
    node.behaviour = jumping(wall, seconds)
    assert gateway.chat(key, stream=stream).status_code == 200
    with unit_of_work(world.engine) as session:
        assert leases.reclaim(session, PRIVATE_LANE, now_ms()) == {}, "its leases are its own while it lives"
    wall.jump(-seconds)
    node.behaviour = answering()
    eventually(lambda: gateway.chat(key).status_code == 200)
    found = [one.receipt for one in world.receipts_of(consumer.address)]
    assert len(found) == 3
    assert all(map(is_of_its_epoch, found)), [(one.epoch, one.ended_at) for one in found]
    work(world)
    [batch] = gateway.http.get("/v1/settlement/batches").json()["data"]
    file = batch_file.read(gateway.http.get(batch["file"]).content)
    verdict = audit.verify(file, None, file.header, epoch_seconds=EPOCH_SECONDS)
    assert verdict.ok, str(verdict)
    with unit_of_work(world.engine) as session:
        assert audits.reconcile(session, Scope(PRIVATE_LANE, DOMAIN), 1, thorough=True) == []


@pytest.mark.parametrize("seconds", JUMPS)
@pytest.mark.parametrize("stream", [False, True])
def test_on_a_chain_the_gateway_serves_on_by_the_chains_time(
    chain: World, node: Node, consumer: Signer, wall: WallClock, seconds: int, *, stream: bool
) -> None:
    gateway = chain.gateway()
    chain.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    node.behaviour = jumping(wall, seconds)
    assert gateway.chat(key, stream=stream).status_code == 200
    before = gateway.gateway.lane_state
    eventually(lambda: gateway.gateway.lane_state is not before)
    node.behaviour = streaming()
    assert gateway.chat(key, stream=stream).status_code == 200
    found = [one.receipt for one in chain.receipts_of(consumer.address)]
    assert len(found) == 2
    assert all(map(is_of_its_epoch, found)), [(one.epoch, one.ended_at) for one in found]


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_keys_rate_is_what_it_is_when_the_clock_jumps(
    chain: World, consumer: Signer, wall: WallClock, seconds: int
) -> None:
    gateway = chain.gateway()
    chain.deposit(consumer.address, 10**6)
    key = gateway.key(consumer, rate=3)
    assert gateway.chat(key).status_code == 200
    wall.jump(seconds)
    statuses = [gateway.chat(key).status_code for _ in range(3)]
    assert statuses == [200, 200, 429], "the jump neither fills nor empties it"


def test_a_key_that_was_revoked_elsewhere_is_refused_though_the_clock_fell(
    chain: World, consumer: Signer, wall: WallClock
) -> None:
    gateway, other = chain.gateway(key_seconds=0.5), chain.gateway("gateway-2")
    chain.deposit(consumer.address, 10**6)
    made = other.http.post("/v1/keys", json={"voucher": other.voucher(consumer, 10**12)}).json()
    assert gateway.chat(made["key"]).status_code == 200
    wall.jump(-HOURS)
    signed = other.of(consumer).delete(f"/v1/keys/{made['id']}")
    assert signed.is_success, signed.text
    eventually(lambda: gateway.chat(made["key"]).status_code == 401, seconds=5)


def test_a_node_that_was_silent_before_the_clock_fell_is_probed_and_back_as_soon_as_ever(
    chain: World, node: Node, wall: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.call.health.PROBE_MS", 500)
    wall.jump(HOURS)
    gateway = chain.gateway(first_byte_seconds=0.3)
    node.behaviour = hanging
    for name in ("first", "second"):
        one = a_signer(f"{name} of a fallen clock")
        chain.deposit(one.address, 10**6)
        key = gateway.key(one)
        assert gateway.chat(key).status_code == 504
    assert gateway.chat(key).json()["error"]["code"] == "providers_down"
    wall.jump(-HOURS)
    node.behaviour = answering()
    eventually(lambda: gateway.chat(key).status_code == 200, seconds=20)
