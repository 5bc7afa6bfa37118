"""Every shipped workflow, published and run on a running network: real nodes, real receipts, paid to the last line.

The models are those of `bench.triage`, all registered and served by one wallet, tess: what the receipts' lines pay her
must be what her account earned.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from bench.collaboration import ASKS, CAPSULES
from bench.triage.task import MODELS
from ledger.core.values.ids import to_hex
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import actors, network
from roles.local.folder import ROOT
from roles.wallet import keystore
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TEXT = "hello there, my last bill shows the same charge twice, please help"


@pytest.fixture(scope="module")
def tess(settled: Person) -> Iterator[str]:
    """The address of a wallet whose node serves the fifteen models, with its bids in force."""
    with network.living_in(settled.home):
        run("wallet create tess --light")
        run("wallet faucet 500 --wallet tess")
        run("provider stake 400 --wallet tess")
        names = {folder.name: f"@triage/{folder.name}" for folder in sorted(MODELS.iterdir())}
        for folder, name in names.items():
            run(f"maker register {name} {quote(str(MODELS / folder))} --wallet tess")
            run(f"maker bid {name} --ratio 10% --ask call=10 --wallet tess")
            run(f"provider bid {name} --ask call={ASKS[folder.partition('-')[0]]} --wallet tess")
        network.advance(network.EPOCH_SECONDS)
        node = subprocess.Popen(
            [sys.executable, "-m", "roles.cli.main", "provider", "serve", "--wallet", "tess"]
            + [f"{MODELS / folder}={name}" for folder, name in names.items()],
            env={**os.environ, "TOLLWAY_HOME": str(settled.home), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        try:
            until_callable({*names.values(), actors.SERVICE})
            yield to_hex(keystore.address_of("tess"))
        finally:
            node.terminate()
            assert node.wait(60) == 0


@pytest.fixture(autouse=True)
def at_home(settled: Person) -> Iterator[None]:
    """Commands run in this process, in the network's home."""
    with network.living_in(settled.home):
        yield


def until_callable(names: set[str]) -> None:
    """Wait until the gateway has an offer for each of them."""

    def missing() -> set[str]:
        return names - {row["model"] for row in run("consumer models")}

    assert wait_until(lambda: not missing(), 120, 0.5), f"no provider serves {missing()}"


def published(path: Path) -> str:
    """Publish a shipped workflow with tess's models, and return its name."""
    wanted = sorted(set(re.findall(r"model:([a-z-]+)", path.read_text())))
    uses = " ".join(f"--use {name}=@triage/{name}" for name in wanted)
    return str(run(f"weaver publish {quote(str(path))} {uses} --wallet wanda")["name"])


def paid(rows: list[dict[str, Any]]) -> Counter[str]:
    """What a run paid to each party, by the lines of its receipts."""
    got = Counter[str]()
    for row in rows:
        if "·" in row["what"]:
            got[row["party"]] += int(row["atoms"])
    return got


def earned(wallet: str) -> int:
    """What a wallet has earned in all roles, in atoms."""
    return int(run(f"provider earnings --wallet {wallet}")["earned"])


def test_every_pattern_runs_and_pays_to_the_last_line(tess: str) -> None:
    before, spent = earned("tess"), int(run("consumer balance --wallet alice")["spent"])
    lines, prices = Counter[str](), 0
    for path in sorted(CAPSULES.glob("*.json")):
        name = published(path)
        assert run(f"weaver show {name}")["name"] == name
        until_callable({name})
        rows = run(f"weaver run {name} '{TEXT}' --wallet alice")
        calls = [row for row in rows if "·" not in row["what"]]
        assert calls[0]["what"] == name
        assert len(calls) > 1, rows
        got = paid(rows)
        assert got.total() == int(calls[0]["atoms"]), f"{name}: the lines add up to the price"
        assert got[tess] > 0
        assert any(row["what"].endswith("weaver") for row in rows)
        lines += got
        prices += int(calls[0]["atoms"])
    assert int(run("consumer balance --wallet alice")["spent"]) - spent == prices
    until_earned("tess", before + lines[tess])
    until_audited("tess")


def until_earned(wallet: str, atoms: int) -> None:
    """Wait until the ledger has posted it, and not an atom more."""
    wait_until(lambda: earned(wallet) >= atoms, 60, 0.5)
    assert earned(wallet) == atoms


def until_audited(wallet: str) -> None:
    """Wait until the public batch files show every call that the wallet's node signed, and paid."""

    def outcomes() -> list[str]:
        return [row["outcome"] for row in run(f"provider audit --wallet {wallet}")]

    assert wait_until(lambda: outcomes() == ["paid"], 120, 1), outcomes()
    assert run(f"provider audit --wallet {wallet}")[0]["calls"] > len(list(CAPSULES.glob("*.json")))
