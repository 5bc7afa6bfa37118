"""`make deploy-test`: `deploy/compose.yaml` with images built from `deploy/Dockerfile`: called, with containers of each
kind killed under load, and upgraded.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import book
from tests.deployment.engine import NoEngine, engine, prepare
from tests.deployment.load import Load, under_load
from tests.deployment.world import MODEL, World, wait_for

pytestmark = pytest.mark.timeout(900)
MOST_BYTES = 500_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running operator. SKIPPED, with the reason, where no container can be run."""
    place = tmp_path_factory.mktemp("operator")
    began = time.monotonic()

    def at(step: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {step}", flush=True)

    try:
        with engine() as docker:
            world = World(docker, place)
            world.lay_out()
            prepare(docker, place)
            at("images of others")
            world.build("latest", ("ledger", "gateway", "node"))
            at("our images")
            try:
                world.found()
                at("a chain and a market")
                world.open()
                at("an operator")
                yield world
            except BaseException:
                print(world.compose("ps"), world.compose("logs", "--tail", "12"), sep="\n")
                raise
            finally:
                world.close()
    except NoEngine as why_not:
        pytest.skip(f"NO CONTAINER WAS RUN: {why_not}")


def test_the_images_are_small(world: World) -> None:
    sizes = {
        part: int(world.engine.run("image", "inspect", "--format", "{{.Size}}", f"tollway-{part}"))
        for part in ("gateway", "ledger", "node")
    }
    print({part: f"{size / 1e6:.0f} MB" for part, size in sizes.items()})
    assert max(sizes.values()) < MOST_BYTES, sizes


@pytest.mark.parametrize("service", ["gateway-1", "worker", "beat"])
def test_a_container_is_nobody_and_cannot_write_to_its_image(world: World, service: str) -> None:
    inside = ("exec", world.container(service), "sh", "-c")
    assert world.engine.run(*inside, "id -u").strip() == "10001"
    tried = "touch /app/x /venv/x /keys/x 2>&1; grep CapEff /proc/self/status; ls /keys"
    said = world.engine.run(*inside, tried)
    assert said.count("Read-only file system") == 3
    assert "CapEff:\t0000000000000000" in said
    assert said.splitlines()[-1:] == [f"{'operator' if service in {'worker', 'beat'} else service}.json"]


def test_a_call_is_charged_verified_settled_and_claimed(world: World) -> None:
    person, auditor = world.terminal("person"), world.terminal("auditor")
    called = person.asks(f'consumer call {MODEL} "My lamp arrived broken!" -w alice')
    assert called["answer"]
    wait_for(lambda: world.sql("SELECT 1 FROM batches WHERE onchain_id IS NOT NULL"), 60, "a batch on chain")
    wait_for(lambda: auditor.asks("batch verify"), 60, "a batch that holds")
    world.rpc("evm_increaseTime", 61)
    wait_for(lambda: "final" in json.dumps(person.asks("batch list")), 60, "a final batch")
    for wallet in ("north", "casa"):
        role = "maker" if wallet == "north" else "provider"
        assert person.asks(f"{role} claim -w {wallet}")
    assert auditor.asks(f"consumer verify {called['receipt']} -w alice")


KINDS = ("worker", "beat", "redis", "postgres", "node", "gateway-1", "proxy")
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{newest}", None, None


def upgrade():
    op.add_column("receipts", sa.Column("of_this_trial", sa.Text()))
"""


def charged_once(world: World, load: Load, before: int) -> None:
    """Each call of a load has one receipt, and nothing else was charged meanwhile."""
    calls = [*load.receipts, *load.gone]
    said = f"{len(calls)} calls, {len(load.gone)} without their answers, sent again: {Counter(load.again)}"
    print(said, flush=True)
    assert len(set(calls)) == len(calls), said
    assert receipts(world) - before == len(calls), said
    names = ",".join(f"'\\x{call.removeprefix('0x')}'" for call in calls)
    assert world.sql(f"SELECT count(*) FROM receipts WHERE call_id IN ({names})") == [str(len(calls))], said


def receipts(world: World) -> int:
    return int(world.sql("SELECT count(*) FROM receipts")[0])


def test_a_container_of_each_kind_is_killed_under_load_and_each_call_is_charged_once(world: World) -> None:
    world.compose("up", "-d", "--no-recreate", "--scale", "worker=3", "worker")
    assert len(world.containers("worker")) == 3
    before = receipts(world)
    with under_load(world, MODEL, "killed") as load:
        for kind in KINDS:
            container = world.container(kind)
            world.engine.run("kill", container)
            world.engine.run("start", container)
            load.goes_on()
            print(f"{kind} was killed: {len(load.receipts)} calls so far", flush=True)
    charged_once(world, load, before)
    wait_for(lambda: world.terminal("auditor").asks("batch verify"), 60, "batches that hold")


def test_each_call_during_an_upgrade_with_a_migration_is_answered_and_charged_once(world: World) -> None:
    newest = world.sql("SELECT version_num FROM alembic_version")[0]
    versions = world.place / "ledger/migrations/versions"
    (versions / "9999_of_this_trial.py").write_text(MIGRATION.format(newest=newest))
    world.build("next", ("ledger", "gateway"))
    migrations, workers, *gateways = book.typed("deploy/README.md", "docker compose run --rm migrations").lines
    before = receipts(world)
    with under_load(world, MODEL, "upgraded") as load:
        world.version = "next"
        world.compose(*migrations.split()[2:])
        assert world.sql("SELECT version_num FROM alembic_version") == ["9999"]
        load.goes_on()
        up, *words = workers.split()[2:]
        world.compose(up, "--scale", "worker=3", *words)
        for line in gateways:
            *words, gateway = line.split()[2:]
            world.compose(*words, gateway)
            wait_for(lambda gateway=gateway: world.is_healthy(gateway), 120, f"{gateway} is healthy")
            load.goes_on()
    images = {world.image(service) for service in ("worker", "beat", "gateway-1", "gateway-2")}
    assert images == {"tollway-ledger:next", "tollway-gateway:next"}
    charged_once(world, load, before)  # a connection that a gateway took just before it stopped is a 502: sent again
