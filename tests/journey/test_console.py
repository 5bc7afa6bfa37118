"""The console in a real browser, on a live network with a chain: a receipt is verified there by its reader, and by the
libraries of others.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.console.routes import PAGES
from roles.cli.output import wait_until
from roles.local.folder import free_port
from tests.browser.browser import HERE, Browser
from tests.browser.browser import browser as browser
from tests.javascript import NODE
from tests.journey.conftest import ROOT, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHECKS = ["Signature", "Price", "Place", "Sub-calls", "Tree", "Batch", "Chain", "Key"]
SCRIPTS = ("with-viem.mjs", "with-ethers.mjs")


@dataclass(frozen=True)
class Settled:
    """A workflow's receipt on a network whose batch with it is on chain."""

    gateway: str
    rpc: str
    settlement: str
    receipt: str
    evidence: dict[str, Any]


@pytest.fixture(scope="module")
def on_chain(settled: Person) -> Settled:
    urls = settled.asks("up")
    called = settled.asks("consumer", "call", "@wanda/customer-service", "Where is my lamp?", "--wallet", "alice")
    id = called["receipt"]

    def is_posted() -> bool:
        shown = httpx.get(f"{urls['gateway']}/v1/receipts/{id}")
        return shown.status_code == 200 and shown.json()["batch"]["status"] in ("posted", "final")

    assert wait_until(is_posted, 180, 0.5), "no batch came on chain"
    found = settled.asks("consumer", "receipt", id, "--evidence", "--wallet", "alice")
    receipt = f"{found['signer']}-{found['message']['seq']}"
    return Settled(urls["gateway"], urls["chain_rpc"], found["domain"]["verifyingContract"], receipt, found)


def test_a_reader_verifies_a_receipt_in_the_browser_with_an_endpoint_of_its_choice(
    on_chain: Settled, browser: Browser
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    found = browser.visits(
        "receipt",
        on_chain.gateway,
        elsewhere=[on_chain.rpc, dead],
        receipt=on_chain.receipt,
        rpc=on_chain.rpc,
        dead=dead,
        other="0x" + "11" * 20,
    )
    assert found["named"] == on_chain.settlement
    truth = found["truth"]
    assert (truth["result"], [name for name, *_ in truth["checks"]]) == ("holds", CHECKS)
    assert {state for _, state, _ in truth["checks"]} == {"✓ holds"}
    assert found["inputs"]["EIP-712 digest"] == on_chain.evidence["digest"]
    assert found["inputs"]["root"] == on_chain.evidence["batch"]["header"]["receipts_root"]
    assert found["inputs"]["RPC endpoint"] == on_chain.rpc
    alone = found["alone"]
    assert (alone["result"], alone["checks"][-1][:2]) == ("open", ["Chain", "\N{EN DASH} not checked"])
    for name, said in (("elsewhere", "you named"), ("dead", "does not answer")):
        failed = found[name]
        chain = next(check for check in failed["checks"] if check[0] == "Chain")
        assert (failed["result"], chain[1], said in chain[2]) == ("fails", "✗ fails", True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_others_verify_an_exported_receipt_by_their_own_libraries(
    script: str, on_chain: Settled, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "docs" / "verify-receipt" / script, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    against = (on_chain.rpc, on_chain.settlement)

    def verified(evidence: dict[str, Any], *words: str) -> tuple[int, str]:
        (tmp_path / "evidence.json").write_text(json.dumps(evidence))
        command = [str(NODE), script, "evidence.json", *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        return ended.returncode, ended.stdout.splitlines()[-1] if ended.stdout else ended.stderr

    assert verified(on_chain.evidence)[0] == 0
    code, last = verified(on_chain.evidence, *against)
    assert (code, last.startswith("The batch ")) == (0, True)
    message, batch = on_chain.evidence["message"], on_chain.evidence["batch"]
    header = batch["header"]
    lies: dict[str, dict[str, Any]] = {
        "signed the receipt": {"message": {**message, "charge": str(int(message["charge"]) + 1)}},
        "under the batch's root": {"batch": {**batch, "place": batch["place"] ^ 1}},
        "the chain has its batch": {"batch": {**batch, "header": {**header, "era": header["era"] + 1}}},
    }
    for said, lie in lies.items():
        code, last = verified({**on_chain.evidence, **lie}, *against)
        assert (code, last.startswith("WRONG"), said in last) == (1, True, True), last
    code, last = verified(on_chain.evidence, on_chain.rpc, "0x" + "11" * 20)
    assert (code, last) == (1, "WRONG: it is signed for the contract that you named")


def test_every_page_keeps_what_pages_promise(on_chain: Settled, settled: Person, browser: Browser) -> None:
    key = settled.asks("consumer", "key", "--manage", "--wallet", "alice")["key"]
    visited = browser.visits("every_page", on_chain.gateway, key=key, sections=sorted(PAGES), refused=["/v1/alarms"])
    assert {path.split("/")[1].split("?")[0] for path in visited} == PAGES
    assert any(path.startswith("/explorer/receipts/") for path in visited)
