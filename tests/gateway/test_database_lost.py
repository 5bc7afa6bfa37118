"""The database is killed, or its disk is full: nobody pays twice or for nothing, and no node works for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from gateway.clock import now_ms
from gateway.payment import receipt_log
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import PRIVATE_LANE
from ledger.flows import audits, leases, postings
from ledger.flows.audits import Scope
from ledger.store.receipts.appender import Appender
from ledger.store.session import unit_of_work
from tests.gateway.databases import Killable, SmallDisk, can_mount, migrated
from tests.gateway.loads import Load, charged_once_each
from tests.gateway.nodes import Node, streaming
from tests.gateway.processes import PRICE
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, Running, World, a_signer

DEPOSIT = 10**7
CONSUMERS = [a_signer(f"consumer of a lost database {n}") for n in range(4)]


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    if not can_mount():
        pytest.skip("NO DISK WAS FILLED: this machine lets nobody mount a file system in a namespace")
    made = SmallDisk()
    yield made
    made.stop()


@pytest.fixture
def server() -> Iterator[Killable]:
    made = Killable()
    yield made
    made.stop()


def a_world(url: str, node: Node) -> World:
    """A world over a server's database, with one model and consumers who have deposits."""
    world = World(migrated(url), url)
    world.a_model_at(node.url)
    for consumer in CONSUMERS:
        world.deposit(consumer.address, DEPOSIT)
    return world


def agrees(world: World) -> None:
    """Post what was charged; then every law holds, and each deposit is less by what it was charged."""
    with unit_of_work(world.engine) as session:
        for gateway in postings.due(session, PRIVATE_LANE):
            postings.post_chunk(session, PRIVATE_LANE, gateway, 10**6, now_ms())
        assert audits.reconcile(session, Scope(PRIVATE_LANE, DOMAIN), 1, thorough=True) == []


def no_node_is_asked(load: Load, node: Node) -> bool:
    """While twenty more calls are refused."""
    asked, refused = len(node.asked), load.refused.total()
    eventually(lambda: load.refused.total() > refused + 20)
    return len(node.asked) == asked


@pytest.mark.parametrize(("named", "stream"), [(True, False), (False, False), (False, True)])
def test_while_the_disk_is_full_no_node_is_asked_and_nobody_pays(
    disk: SmallDisk, node: Node, *, named: bool, stream: bool
) -> None:
    node.behaviour = streaming(3, (10, 3))
    world = a_world(disk.url, node)
    gateway = world.gateway()
    try:
        keys = [gateway.key(one) for one in CONSUMERS]
        with Load(gateway.url, keys, named, stream) as load:
            eventually(lambda: load.answered > 20)
            disk.fill()
            eventually(lambda: load.refused or not gateway.gateway.receipt_log.healthy)
            load.add(keys)  # the others may wait for their receipts
            eventually(lambda: no_node_is_asked(load, node))
            disk.free()
            answered = load.answered
            eventually(lambda: load.answered > answered + 20)
        charged_once_each(world, load, CONSUMERS, PRICE)
        assert load.refused.keys() <= {"receipt_log_down", "unavailable"}, load.refused
        assert gateway.gateway.leases.outstanding() == 0
        agrees(world)
    finally:
        disk.free()
        world.stop()
        world.engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(("named", "stream"), [(True, False), (False, False), (True, True)])
def test_killed_under_load_and_started_again_the_database_has_each_answered_call_once(
    server: Killable, node: Node, *, named: bool, stream: bool
) -> None:
    """It is killed again as soon as it is back: also while the gateway reads where its log ends."""
    node.behaviour = streaming(3, (10, 3))
    world = a_world(server.url, node)
    gateway = world.gateway()
    try:
        keys = [gateway.key(one) for one in CONSUMERS]
        with Load(gateway.url, keys, named, stream) as load:
            eventually(lambda: load.answered > 20)
            for _ in range(3):
                answered = load.answered
                server.kill()
                server.begin()
                eventually(partial(load.went_on, answered), seconds=60)
                server.kill()
                server.begin()
            answered = load.answered
            eventually(lambda: load.answered > answered + 20, seconds=60)
        charged_once_each(world, load, CONSUMERS, PRICE)
        assert load.refused.keys() <= {"receipt_log_down", "unavailable", "in_progress", "cut"}, load.refused
        eventually(lambda: gateway.gateway.leases.outstanding() == 0)
        agrees(world)
    finally:
        world.stop()
        world.engine.dispose()


@pytest.mark.parametrize("named", [True, False])
def test_a_group_whose_commit_nobody_heard_of_is_answered_and_charged_once(
    world: World, gateway: Running, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """Each third group is written, and the answer that says so is lost with its connection."""
    real, groups = receipt_log.append, iter(range(10**9))

    async def deaf(appender: Appender, *given: Any) -> Any:
        written = await real(appender, *given)
        if next(groups) % 3 == 0:
            appender.close()
            raise Unavailable("the connection was lost")
        return written

    for consumer in CONSUMERS:
        world.deposit(consumer.address, DEPOSIT)
    keys = [gateway.key(one) for one in CONSUMERS]
    monkeypatch.setattr(receipt_log, "append", deaf)
    with Load(gateway.url, keys, named) as load:
        eventually(lambda: load.answered > 40)
    charged_once_each(world, load, CONSUMERS, PRICE)
    assert gateway.gateway.leases.outstanding() == 0
    with unit_of_work(world.engine) as session:
        left = leases.unspent(session, PRIVATE_LANE, gateway.gateway.signer.address)
    assert {one.address: gateway.gateway.leases.free(one.address) for one in CONSUMERS} == left
    agrees(world)
