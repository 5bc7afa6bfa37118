"""A quantised child at the edge, by commands on a running network: derived, refused where it does not fit, served at
home, and called with long inputs there.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shlex import quote
from typing import Any

import httpx
import pytest

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import context
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import network
from roles.local.actors import CONSUMER, MODELS
from roles.local.folder import ROOT
from roles.wallet import api_keys, keystore
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PARENT, CHILD = "@tiny/emotion", "@tiny/emotion-int8"
FOLDERS = {PARENT: MODELS / "emotion", CHILD: MODELS / "emotion-int8"}
ASKS = {"mill": 200, "hut": 2_000}
"""Atoms a call: the center is cheap, the home is dear."""
TEXT = "thank you, i love it "


@pytest.fixture(autouse=True)
def at_home(settled: Person) -> Iterator[None]:
    """Commands run in this process, in the network's home."""
    with network.living_in(settled.home):
        yield


@contextmanager
def serving(settled: Person, wallet: str, *words: str) -> Iterator[None]:
    """A wallet's node, in a process of its own."""
    node = subprocess.Popen(
        [sys.executable, "-m", "roles.cli.main", "provider", "serve", "--wallet", wallet, *words],
        env={**os.environ, "TOLLWAY_HOME": str(settled.home), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        yield
    finally:
        node.terminate()
        assert node.wait(60) == 0


@pytest.fixture(scope="module")
def market(settled: Person) -> Iterator[None]:
    """The parent, its quantised child, and the bids of a center and of a home for them."""
    with network.living_in(settled.home):
        for wallet in ("tiny", *ASKS):
            run(f"wallet create {wallet} --light")
            run(f"wallet faucet 500 --wallet {wallet}")
        run(f"maker register {PARENT} {quote(str(FOLDERS[PARENT]))} --royalty 10% --floor call=5 --wallet tiny")
        with pytest.raises(Rejected, match="--relation quantize makes a model smaller"):
            derive(FOLDERS[PARENT])
        derived = derive(FOLDERS[CHILD])
        assert (derived["size_bytes"], derived["memory_mb"]) == (267_843, 1)
        run(f"oem bid {CHILD} --ratio 10% --ask call=10 --wallet tiny")
        run(f"maker bid {PARENT} --ratio 10% --ask call=10 --wallet tiny")
        for wallet, ask in ASKS.items():
            run(f"provider stake 400 --wallet {wallet}")
            for name in FOLDERS:
                run(f"provider bid {name} --ask call={ask} --wallet {wallet}")
        network.advance(network.EPOCH_SECONDS)
        yield


def derive(folder: os.PathLike[str]) -> Any:
    return run(f"oem derive {CHILD} {quote(str(folder))} --parent {PARENT} --relation quantize --wallet tiny")


def test_a_home_with_little_memory_serves_the_child_and_gets_the_long_inputs(settled: Person, market: None) -> None:
    home = ["--tier", "edge", "--memory-mb", "1", "--wallet", "hut"]
    for served, reason in (
        ([f"{FOLDERS[PARENT]}={PARENT}"], f"{PARENT} needs 2 MB of memory and the node has 1 MB"),
        ([f"{FOLDERS[PARENT]}={CHILD}"], f"is not what {CHILD} was registered with"),
    ):
        refused = settled.types("provider", "serve", *served, *home)
        assert refused.returncode == 1, refused.stderr
        assert reason in " ".join(refused.stderr.split()), refused.stderr
    with pytest.raises(Rejected, match=f"{PARENT} needs 2 MB"):
        run(f"provider offer {PARENT} --url http://127.0.0.1:9#emotion --tier edge --memory-mb 1 --wallet hut")

    both = [f"{folder}={name}" for name, folder in FOLDERS.items()]
    together = settled.types("provider", "serve", *both, *home[:3], "2", *home[4:])
    assert "need 3 MB of memory together and the node has 2 MB" in " ".join(together.stderr.split()), together.stderr

    with serving(settled, "mill", *both), serving(settled, "hut", f"{FOLDERS[CHILD]}={CHILD}", *home[:4]):
        assert wait_until(lambda: {"mill", "hut"} == set(providers()), 120, 0.5), providers()
        rows = {row["model"]: row for row in run("consumer models")}
        assert (rows[CHILD]["size_bytes"], rows[CHILD]["memory_mb"]) == (267_843, 1)
        found = run("consumer discover text-classification --max-memory-mb 1")
        assert [row["name"] for row in found] == [CHILD], "what needs more, and what does not say, is left out"

        assert wait_until(are_measured_near, 300, 0.5), providers()
        long = TEXT * 300
        assert served_by(lambda: infer(long)) == "mill", "it is cheaper"
        assert served_by(lambda: infer(TEXT, "nearest;from=1000")) == "mill"
        assert served_by(lambda: infer(long, "nearest;from=1000")) == "hut"


def infer(text: str, near: str = "", tiers: str = "") -> None:
    """One call of the child by the consumer's key."""
    headers = {"Authorization": f"Bearer {api_keys.secret(CONSUMER)}"}
    headers |= {name: said for name, said in (("Tollway-Near", near), ("Tollway-Tiers", tiers)) if said}
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]
    answer = httpx.post(
        f"{context.here().url}/v2/models/{CHILD}/infer", json={"inputs": inputs}, headers=headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == ["joy"]


def providers() -> dict[str, dict[str, Any]]:
    """The child's providers by their wallets, as the gateway shows them."""
    wallets = {to_hex(keystore.address_of(name)): name for name in ASKS}
    rows = context.here().gateway.get(f"/v1/models/{CHILD}")["providers"]
    return {wallets[row["provider"]]: row for row in rows}


def served_by(call: Callable[[], None]) -> str:
    """Who served a call."""
    before = {wallet: row["calls"] for wallet, row in providers().items()}
    call()
    [wallet] = [wallet for wallet, row in providers().items() if row["calls"] > before[wallet]]
    return wallet


def are_measured_near() -> bool:
    """Whether both are measured in the lowest class of round trips: on a busy machine that takes some calls."""
    if all(0 < row["round_trip_ms"] <= 10 for row in providers().values()):
        return True
    for tier in ("edge", "center"):
        infer(TEXT, tiers=tier)
    return False
