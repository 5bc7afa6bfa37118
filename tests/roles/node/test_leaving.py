"""A provider's node leaves in order: its offers are withdrawn first, and what it serves is finished."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from ledger.core.catalog.bids import Role
from ledger.core.values.documents import parse
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import rates
from ledger.store.chain import parties
from ledger.store.chain.parties import Stake
from ledger.store.network import offers
from ledger.store.session import unit_of_work
from roles.cli import main
from roles.node import serve as serving
from roles.node.serve import Offers, Terms, Voice
from roles.wallet import keystore
from roles.wallet.context import Context
from tests.gateway.nodes import Asked, Node, Wire, chat
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, PROVIDER, Running, World, a_model, a_signer
from tests.roles.node.conftest import ROOT


@pytest.fixture
def upstream() -> Iterator[Node]:
    """The server whose model is sold."""
    made = Node().start()
    yield made
    made.stop()


@pytest.fixture
def subject(world: World) -> Digest:
    """A model that the provider bids for, and does not offer yet."""
    made = world.publish(a_model())
    world.bid(made, Role.maker, MAKER.address, 100_000)
    world.bid(made, Role.compute, PROVIDER.address, 0, rates({"call": "100"}))
    with unit_of_work(world.engine) as session:
        parties.put_stake(session, Stake(PROVIDER.address, 10**9))
    return made


@pytest.fixture
def gateway(world: World, subject: Digest) -> Running:
    return world.gateway(first_byte_seconds=60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the provider's wallet."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    keystore.create("provider", keccak256(b"test", b"provider"), strength=keystore.LIGHT)
    return tmp_path


@pytest.fixture
def serve(gateway: Running, upstream: Node, folder: Path) -> Iterator[Serve]:
    made = Serve(gateway, upstream)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait()


class Serve:
    """Starts `tollway provider serve`."""

    def __init__(self, gateway: Running, upstream: Node) -> None:
        self.gateway, self.upstream = gateway, upstream
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, *more: str) -> subprocess.Popen[str]:
        """Once its offer is taken."""
        sold = f"@acme/chat={self.upstream.url}/v1#chat"
        words = ["provider", "serve", "--upstream", sold, "--gateway", self.gateway.url, "--wallet", "provider", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "roles.cli.main", *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        self.processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r" at (http|tunnel)(://\S+)", line):
                eventually(partial(self.is_called_at, found[1] + found[2]))
                return process
        raise AssertionError("it ended")

    def is_called_at(self, url: str) -> bool:
        """Whether the gateway lists the model, by an offer of this URL."""
        listed = self.gateway.http.get("/v1/models").json()["data"]
        return bool(listed) and [one.url for one in self.stored()] == [url]

    def stored(self) -> list[offers.Stored]:
        """The provider's offer, also when it is withdrawn."""
        with unit_of_work(self.gateway.world.engine) as session:
            return offers.unexpired(session, -1)


class Nodes:
    """Nodes of the provider's wallet that offer the model again and again; what they say."""

    def __init__(self, gateway: Running, subject: Digest) -> None:
        self.gateway, self.subject = gateway, subject
        self.running: list[Offers] = []
        self.said: list[str] = []

    def start(self) -> Offers:
        terms, voice = Terms("center", 8, "", 2_000), Voice(self.said.append, lambda *_: {}, "tollway provider serve x")
        context = Context("provider", self.gateway.url)
        made = Offers(context, {"@acme/chat": self.subject}, terms, voice)
        self.running.append(made)
        made.publish("http://127.0.0.1:9")
        return made

    def nonce(self) -> int:
        """Of the offer that the gateway has, or of what withdrew it."""
        with unit_of_work(self.gateway.world.engine) as session:
            stored = offers.get(session, self.subject, PROVIDER.address, Role.compute)
            return stored.nonce if stored is not None else 0

    def is_offered(self) -> bool:
        with unit_of_work(self.gateway.world.engine) as session:
            stored = offers.get(session, self.subject, PROVIDER.address, Role.compute)
            return stored is not None and stored.expires_at > 0

    def renewed(self, times: int = 3) -> bool:
        """Once they have renewed it so often."""
        before = self.nonce()
        eventually(lambda: self.nonce() >= before + times)
        return True


@pytest.fixture
def nodes(gateway: Running, subject: Digest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setattr(serving, "REFRESH_SECONDS", 0.05)
    made = Nodes(gateway, subject)
    yield made
    for one in made.running:
        one.withdraw()


def test_what_the_wallet_withdraws_is_not_offered_by_its_nodes_until_one_is_started_anew(
    nodes: Nodes, gateway: Running, subject: Digest
) -> None:
    withdraw = f"provider withdraw {cid(subject)} --gateway {gateway.url} --wallet provider"
    for _ in range(2):
        nodes.start()
    assert nodes.renewed()
    assert main.ask(withdraw)["ended"]
    words = "this node does not offer it any more. To offer it again, stop this node and type: tollway provider serve x"
    eventually(lambda: len([line for line in nodes.said if words in line]) == 2)
    assert not nodes.is_offered()

    nodes.start()
    assert nodes.renewed(), "by hand"
    assert nodes.is_offered()
    nodes.said.clear()
    assert main.ask(withdraw)["ended"]
    eventually(lambda: any(words in line for line in nodes.said))
    assert not nodes.is_offered(), "each time"


def test_a_node_that_leaves_keeps_no_other_one_from_offering(nodes: Nodes) -> None:
    nodes.start()
    leaving = nodes.start()
    assert nodes.renewed()
    leaving.withdraw()
    assert nodes.renewed()
    assert nodes.is_offered()
    assert not any("does not offer" in line for line in nodes.said)


@pytest.mark.parametrize("way", [(), ("--tunnel", "--tier", "edge")], ids=["direct", "tunnel"])
def test_a_node_that_is_stopped_is_withdrawn_at_once_and_finishes_its_calls(
    world: World, gateway: Running, upstream: Node, serve: Serve, way: tuple[str, ...]
) -> None:
    finish = threading.Event()

    async def waiting(asked: Asked, wire: Wire) -> None:
        while not finish.is_set():
            await asyncio.sleep(0.02)
        await wire.answer(chat())

    consumer = a_signer("a consumer of a node that leaves")
    world.deposit(consumer.address, 10**6)
    key, process = gateway.key(consumer), serve(*way)
    [standing] = serve.stored()
    upstream.behaviour = waiting
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(gateway.chat, key)
        eventually(lambda: upstream.asked)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: gateway.http.get("/v1/models").json()["data"] == [])
        assert (process.poll(), call.done()) == (None, False), "it is not listed, and still serves"
        assert gateway.chat(key).json()["error"]["code"] == "no_provider"
        finish.set()
        assert call.result().status_code == 200
    assert process.wait(30) == 0
    replayed = gateway.http.post("/v1/offers", json=parse(standing.body))
    assert (replayed.status_code, replayed.json()["error"]["param"]) == (400, "$.nonce")
    serve(*way)
    assert gateway.chat(key).status_code == 200, "it is back"


def test_a_node_whose_place_another_has_taken_withdraws_nothing(gateway: Running, serve: Serve) -> None:
    old, new = serve(), serve()
    [offer] = serve.stored()
    old.send_signal(signal.SIGTERM)
    assert old.wait(30) == 0
    assert serve.stored() == [offer]
    assert gateway.http.get("/v1/models").json()["data"] != []
    assert new.poll() is None


@pytest.mark.parametrize("is_silent", [False, True], ids=["gone", "silent"])
def test_a_node_leaves_whatever_became_of_its_gateway(gateway: Running, serve: Serve, is_silent: bool) -> None:
    process = serve()
    gateway.stop()
    with socket.create_server(("127.0.0.1", gateway.port)) if is_silent else nullcontext():
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    said = process.stderr.read() if process.stderr is not None else ""
    assert "offer of @acme/chat not withdrawn" in said or "offers not withdrawn, the gateway does not answer" in said
