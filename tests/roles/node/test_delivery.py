"""Artifacts as paid calls: the delivery provider sells bytes through the gateway, and is paid by the byte."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ledger.core.catalog.bids import Role, decode
from ledger.core.pricing.price import payees, price
from ledger.core.values.errors import Unavailable
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import terms
from ledger.store.session import unit_of_work
from roles.node.artifacts.download import Seller, pull
from roles.node.artifacts.layout import Layout
from tests import book
from tests.gateway.conftest import consumer, world
from tests.gateway.world import MAKER, World, a_model, a_signer
from tests.roles.node.conftest import ROOT, RunningNode

__all__ = ["consumer", "world"]  # fixtures of the gateway's tests
CARRIER = a_signer("a delivery provider")
ATOMS_PER_BYTE = 3


async def test_a_pull_through_the_gateway_pays_for_every_byte(world: World, consumer: Signer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(random.Random(3).randbytes(900_000))
    packed = Layout(tmp_path / "source").pack(folder)
    node = RunningNode("--artifacts", str(tmp_path / "source"))
    try:
        subject = world.publish(a_model("@carrier/artifacts", protocol="oip/2"))
        ask = {"byte": str(ATOMS_PER_BYTE * 10**9)}
        world.serve(subject, f"{node.url}#artifacts", ask, CARRIER, maker_ppm=0)
        world.deposit(consumer.address, 10**9)
        gateway = world.gateway()
        seller = Seller(gateway.url, "@carrier/artifacts", gateway.key(consumer))
        target = Layout(tmp_path / "target")
        pulled = await pull(packed.digest, target, [seller])
        target.unpack(packed.digest, tmp_path / "out")
        assert (tmp_path / "out" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()

        signed = world.receipts_of(consumer.address)
        sent = sum(one.receipt.units.byte for one in signed)
        assert sent >= pulled.fetched_bytes * 4 / 3
        with unit_of_work(world.engine) as session:
            bodies = terms.get(session, {one.receipt.terms for one in signed})
        earned = 0
        for one in signed:
            agreed = decode(bodies[one.receipt.terms])
            shares = zip(payees(agreed), price(agreed, one.receipt.units).amounts, strict=True)
            earned += sum(amount for (party, _), amount in shares if party == CARRIER.address)
        assert earned == ATOMS_PER_BYTE * sent
        assert seller.spent_atoms == sum(one.receipt.charge for one in signed)
    finally:
        assert node.stop() == 0


async def test_without_money_nothing_is_delivered(world: World, consumer: Signer, tmp_path: Path) -> None:
    node = RunningNode("--artifacts", str(tmp_path / "source"))
    try:
        subject = world.publish(a_model("@carrier/artifacts", protocol="oip/2"))
        world.bid(subject, Role.maker, MAKER.address)
        world.serve(subject, f"{node.url}#artifacts", {"byte": "1000000000"}, CARRIER, maker_ppm=0)
        gateway = world.gateway()
        seller = Seller(gateway.url, "@carrier/artifacts", gateway.key(consumer))
        with pytest.raises(Unavailable, match="no peer has"):
            await pull("sha256:" + "0" * 64, Layout(tmp_path / "target"), [seller])
        assert seller.spent_atoms == 0
    finally:
        assert node.stop() == 0


def test_the_readmes_nodes_serve_resell_and_deliver(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    serve, resell, pack, deliver, pull = book.typed("roles/node/README.md", "python -m roles.node").lines
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def node(line: str) -> RunningNode:
        """The line's node, on a free port."""
        typed, _, _ = line.removeprefix("python -m roles.node ").partition(" --port ")
        return RunningNode(*typed.split(), folder=tmp_path)

    def typed(line: str) -> str:
        """What the line printed."""
        command = [sys.executable, *line.split()[1:]]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    serving = node(serve)
    try:
        names = {model["id"] for model in httpx.get(f"{serving.url}/v1/models").json()["data"]}
        assert "@acme/dialog" in names
        reselling = node(resell.replace("http://127.0.0.1:11434#llama3.2", f"{serving.url}#@acme/dialog"))
        try:
            asked = {"model": "@acme/chat", "messages": [{"role": "user", "content": "Where is my parcel?"}]}
            answer = httpx.post(f"{reselling.url}/v1/chat/completions", json=asked, timeout=60).json()
            assert answer["choices"][0]["message"]["content"]
        finally:
            assert reselling.stop() == 0
    finally:
        assert serving.stop() == 0
    digest = json.loads(typed(pack))["digest"]
    delivering = node(deliver)
    try:
        typed(pull.replace("sha256:...", digest).replace("http://127.0.0.1:8003", delivering.url))
        packed = tmp_path / "deploy" / "demo" / "models" / "kb" / "index.npy"
        assert (tmp_path / "kb" / "index.npy").read_bytes() == packed.read_bytes()
    finally:
        assert delivering.stop() == 0
