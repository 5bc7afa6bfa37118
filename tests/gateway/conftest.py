"""Fixtures of the gateway's tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core.values.hashes import keccak256
from ledger.core.values.typed_data import Signer
from ledger.deployments import save
from roles.cli import main
from roles.wallet import keystore
from tests.gateway.clocks import WallClock, moved
from tests.gateway.nodes import Node
from tests.gateway.workflows import Loom
from tests.gateway.world import Running, World, a_deployment, a_signer

_numbers = itertools.count()

Run = Callable[..., Any]
Refused = Callable[[str], dict[str, Any]]


@pytest.fixture
def world(engine: Engine, postgres_url: str) -> Iterator[World]:
    """A private grid of one's own."""
    made = World(engine, postgres_url)
    yield made
    made.stop()


@pytest.fixture
def node() -> Iterator[Node]:
    """A node that answers chats."""
    made = Node().start()
    yield made
    made.stop()


@pytest.fixture
def other_node() -> Iterator[Node]:
    """Another one."""
    made = Node().start()
    yield made
    made.stop()


@pytest.fixture
def chain(engine: Engine, postgres_url: str, node: Node, tmp_path: Path) -> Iterator[World]:
    """A lane of a chain, with a model. No payment is ever relayed."""
    made = World(engine, postgres_url, deployment=save(a_deployment(), tmp_path))
    made.open_lane()
    made.a_model_at(node.url)
    yield made
    made.stop()


@pytest.fixture
def gateway(world: World, node: Node) -> Running:
    """A gateway with one model, `@acme/chat`, at 100 atoms a call, served by `node`."""
    world.a_model_at(node.url)
    return world.gateway()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """This process's wall clock, to be moved."""
    return moved(monkeypatch)


@pytest.fixture
def consumer() -> Signer:
    """A consumer nobody else is."""
    return a_signer(f"consumer {next(_numbers)}")


@pytest.fixture
def loom(world: World) -> Iterator[Loom]:
    """A gateway to run workflows on, and a weaver whose bond stands for them."""
    made = Loom(world, world.gateway())
    made.bond()
    yield made
    made.stop()


@pytest.fixture
def run(gateway: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line at the gateway, by wallets of this home; its answer."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setenv("TOLLWAY_GATEWAY", gateway.url)
    for name in ("acme", "alice", "dora"):
        keystore.create(name, keccak256(b"test", name.encode()), strength=keystore.LIGHT)
    return main.ask


@pytest.fixture
def refused(run: Run, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command line that must be refused; the error that it prints."""

    def ended(command: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main.run([*command.split(), "--json", "--yes"]) == 1
        return dict(json.loads(capsys.readouterr().out))

    return ended
