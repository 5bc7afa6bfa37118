"""Artifacts as paid calls: the delivery provider sells bytes through the gateway, and is paid by the byte."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.core.catalog.bids import Role, decode
from ledger.core.pricing.price import payees, price
from ledger.core.values.errors import Unavailable
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import terms
from ledger.store.session import unit_of_work
from roles.node.artifacts.download import Seller, pull
from roles.node.artifacts.layout import Layout
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


def test_packing_and_pulling_by_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "roles.node.artifacts"]
    folder = ROOT / "deploy" / "demo" / "models" / "kb"
    packed = subprocess.run(
        [*command, "pack", str(folder), str(tmp_path / "a")], capture_output=True, text=True, cwd=ROOT
    )
    digest = packed.stdout.split('"digest": "')[1].split('"')[0]
    node = RunningNode("--artifacts", str(tmp_path / "a"))
    try:
        arguments = ["pull", digest, str(tmp_path / "b"), "--peer", node.url, "--unpack", str(tmp_path / "kb")]
        pulled = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert pulled.returncode == 0, pulled.stderr
        assert (tmp_path / "kb" / "index.npy").read_bytes() == (folder / "index.npy").read_bytes()
    finally:
        assert node.stop() == 0
