"""The console in a real browser, on a live network with a chain: a receipt is verified there by its reader, and by the
libraries of others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.console.routes import PAGES
from ledger.core.pricing.what_if import CHANGES_PPM
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from roles.cli.output import wait_until
from roles.local.folder import free_port
from tests import book
from tests.browser.browser import HERE, Browser
from tests.browser.browser import browser as browser
from tests.javascript import NODE
from tests.journey.conftest import ROOT, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHECKS = ["Signature", "Price", "Place", "Sub-calls", "Tree", "Batch", "Chain", "Key"]
EXPORT = book.typed("docs/verify-receipt.md", "node docs/verify-receipt/with-viem.mjs")
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
    export, _, _ = EXPORT.with_({" ID ": f" {id} "}).lines[0].partition(" > ")
    found = json.loads(settled.types(*export.split()[1:]).stdout)
    receipt = f"{found['signer']}-{found['message']['seq']}"
    return Settled(urls["gateway"], urls["chain_rpc"], found["domain"]["verifyingContract"], receipt, found)


@pytest.fixture(scope="module")
def key(settled: Person) -> str:
    """A key that may do all that a page does."""
    return str(settled.asks("consumer", "key", "--manage", "--wallet", "alice")["key"])


def test_a_reader_verifies_a_receipt_in_the_browser_with_an_endpoint_of_its_choice(
    on_chain: Settled, browser: Browser
) -> None:
    dead, (signer, _, seq) = f"http://127.0.0.1:{free_port()}", on_chain.receipt.partition("-")
    found = browser.visits(
        "receipt",
        on_chain.gateway,
        elsewhere=[on_chain.rpc, dead],
        receipt=on_chain.receipt,
        rpc=on_chain.rpc,
        dead=dead,
        other="0x" + "11" * 20,
        another=f"{signer}-{int(seq) - 1}",
    )
    assert found["named"] == on_chain.settlement
    truth = found["truth"]
    assert (truth["result"], [name for name, *_ in truth["checks"]]) == ("holds", CHECKS)
    assert {state for _, state, _ in truth["checks"]} == {"✓ holds"}
    assert found["whole"]["result"] == "holds"
    assert {state for _, state, _ in found["whole"]["checks"]} == {"✓ holds"}
    assert found["inputs"]["EIP-712 digest"] == on_chain.evidence["digest"]
    assert found["inputs"]["root"] == on_chain.evidence["batch"]["header"]["receipts_root"]
    assert found["inputs"]["RPC endpoint"] == on_chain.rpc
    alone = found["alone"]
    assert (alone["result"], alone["checks"][-1][:2]) == ("open", ["Chain", "\N{EN DASH} not checked"])
    assert found["another"]["result"] == "fails"
    [(name, _, said)] = found["another"]["checks"]
    assert (name, said.endswith(f", not {on_chain.receipt}")) == ("Evidence", True)
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

    _, alone, against_chain = EXPORT.lines

    def verified(evidence: dict[str, Any], *words: str) -> tuple[int, str]:
        (tmp_path / "evidence.json").write_text(json.dumps(evidence))
        said = against_chain.replace("RPC_URL SETTLEMENT", " ".join(words)) if words else alone
        command = [str(NODE), *said.replace("docs/verify-receipt/with-viem.mjs", script).split()[1:]]
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


def test_a_reader_sees_what_a_payee_earned_and_what_it_spent_itself_as_plots(
    on_chain: Settled, browser: Browser, key: str
) -> None:
    paid = httpx.get(f"{on_chain.gateway}/v1/receipts/{on_chain.receipt}").json()["terms"]["lines"]
    payee = next(line["party"] for line in paid if line["role"] == "weaver")
    found = browser.visits("money", on_chain.gateway, key=key, payee=payee)
    assert (found["lines"], found["rows"]) == (2, len(CHANGES_PPM))
    assert found["bars"] == found["epochs"] > 0
    assert "Can be claimed" in found["tiles"]
    assert [name for name, _ in found["plots"]] == ["Charged by day", "Charged by model", "Charged by key"]
    assert all(bars == min(rows, 12) > 0 for (_, bars), rows in zip(found["plots"], found["tables"], strict=True))
    assert (found["sound"], found["csv"]) == (["8", "5"], "activity.csv")


def test_an_account_pays_in_and_makes_changes_and_replaces_a_key_with_its_browsers_wallet(
    on_chain: Settled, settled: Person, browser: Browser
) -> None:
    secret = keccak256(b"a wallet of a browser", os.urandom(8))
    account = to_hex(Signer(secret).address)
    settled.asks("wallet", "faucet", "50", "--to", account)
    found = browser.visits("wallet", on_chain.gateway, secret=to_hex(secret), rpc=on_chain.rpc, seconds=400)
    assert found["alone"]
    assert (found["names"], found["before"]) == (["Connect Ann"], []), "nothing is asked before a click"
    assert found["stranger"] == "Connect <b>Eve</b>"
    for facts, said in (("deposit", "5 AIC"), ("voucher", "2 AIC in all, ever"), ("request", "GET /v1/keys")):
        assert said in found[facts]
        assert account in found[facts]
    assert "requestWithdraw(address)" in found["leaving"]
    assert "by a wallet" in found["listed"]
    assert "5 AIC" in found["balance"]

    def may_call(key: str) -> int:
        answer = httpx.get(f"{on_chain.gateway}/v1/keys", headers={"authorization": f"Bearer {key}"})
        return answer.status_code

    assert found["key"] != found["replaced"]
    assert (may_call(found["key"]), may_call(found["replaced"])) == (401, 200)


def test_a_reader_tries_a_model_stops_it_and_sees_who_is_paid(
    on_chain: Settled, settled: Person, browser: Browser, key: str
) -> None:
    by = {"Authorization": f"Bearer {key}"}  # by its route, as the command's newest key is the one that alice uses
    poor = httpx.post(f"{on_chain.gateway}/v1/keys", json={"budget": "1"}, headers=by).json()["key"]
    foreign = "<img src=x onerror=alert(1)>"
    found = browser.visits("playground", on_chain.gateway, model="@delta/dialog", good=key, poor=poor, foreign=foreign)
    assert (found["hidden"], found["cookies"], found["busy"]) == (True, 0, "false")
    assert "tollway consumer key" in found["wrong"]
    assert all(word in found["poor"] for word in ("It may cost", "You have left\n0.000000001 AIC", "change-key"))
    assert "allow more, or ask for fewer tokens" in found["dear"]
    assert found["answered"]["answer"]
    assert found["stopped"]["said"].startswith("Stopped. It cost")
    assert len(found["stopped"]["answer"]) < len(found["answered"]["answer"])
    shown = settled.asks("consumer", "receipt", found["receipt"], "--wallet", "alice")
    assert sum(int(line[3].removesuffix(" atoms")) for line in found["lines"]) == int(shown["receipt"]["price"])
    assert {role for _, role, *_ in found["lines"]} == {"maker", "compute", "gateway", "protocol"}
    assert [check[0] for check in found["checks"]] == ["✓", "✓"]
    assert "Tokens a second" in found["measured"]


def at_once(found: dict[str, Any]) -> set[str]:
    """The steps of which a page says that they ran at the same time: it names the one that ended first first."""
    names, ran, _ = found["together"].partition(" ran at the same time.")
    return set(names.split(" and ")) if ran else set()


def test_a_reader_runs_a_capsule_and_sees_what_ran_at_the_same_time(
    on_chain: Settled, browser: Browser, key: str
) -> None:
    found = browser.visits(
        "capsule_run", on_chain.gateway, key=key, capsule="@wanda/customer-service", text="My lamp arrived broken!"
    )
    assert at_once(found) == {"emotion", "kb"}
    assert sorted(row[:3] for row in found["trace"]) == [
        ["emotion", "served", "@south/emotion"],
        ["kb", "served", "@kappa/kb"],
        ["reply", "served", "@delta/dialog"],
    ]
    assert found["boxes"] == found["afterwards"] == {name: ["ok"] for name in ("emotion", "kb", "reply")}
    assert (found["still"], found["moved"], found["replay"]) == (True, True, True), "motion only for who wants it"
    assert {called for called, *_ in found["lines"]} == {"@wanda/customer-service", *(row[2] for row in found["trace"])}
    assert [check[0] for check in found["checks"]] == ["✓", "✓"]


def test_what_a_weaver_composes_and_downloads_is_checked_without_a_mistake_and_runs_unpublished(
    on_chain: Settled, settled: Person, browser: Browser, key: str, tmp_path: Path
) -> None:
    models = ["@delta/dialog"] * 3
    found = browser.visits(
        "composer",
        on_chain.gateway,
        key=key,
        capsule="@me/flow",
        models=models,
        pattern="Side by side, then a judge",
        text="My lamp arrived broken!",
    )
    assert found["steps"] == ["a", "b", "judge"]
    assert [row[0] for row in found["rows"]] == ["a", "b", "judge", "weaver", "gateway", "protocol"]
    (tmp_path / "capsule.json").write_text(found["file"])
    checked = settled.asks("weaver", "check", str(tmp_path / "capsule.json"))
    assert {name: checked[name] for name in ("capsule", "steps", "mistakes")} == {
        "capsule": "@me/flow",
        "steps": 3,
        "mistakes": 0,
    }
    assert at_once(found) == {"a", "b"}
    assert {(row[0], row[1], row[2]) for row in found["trace"]} == {
        (name, "served", "@delta/dialog") for name in ("a", "b", "judge")
    }
    assert found["boxes"] == [[name, True] for name in ("a", "b", "judge")]
    called = [f"{name}, @delta/dialog" for name in ("a", "b", "judge")]
    assert {row[0] for row in found["lines"]} == set(called)
    assert "weaver" not in {row[1] for row in found["lines"]}, "nobody wove what is not published"
    assert sorted((check[0], check[2:].partition(": ")[0]) for check in found["checks"]) == [
        ("✓", one) for one in called for _ in range(2)
    ]
    assert sorted(text.partition(": ")[0] for text in found["receipts"]) == called
    assert found["answer"]
    tried = settled.asks(
        "weaver", "try", str(tmp_path / "capsule.json"), "My lamp arrived broken!", "--wallet", "alice"
    )
    assert {row["step"]: row["status"] for row in tried["steps"]} == dict.fromkeys(("a", "b", "judge"), "ok")


def test_the_overview_changes_by_itself_as_a_call_is_settled_and_leaves_the_reader_alone(
    on_chain: Settled, browser: Browser, key: str
) -> None:
    found = browser.visits("live", on_chain.gateway, model="@delta/dialog", secret=key)
    before, after = found["before"], found["after"]
    new = [number for number in after if number not in before]
    assert new
    assert after[len(new) :] == before[: len(after) - len(new)], "the newest first, and only so many"
    assert (found["kept"], found["unfolded"]) == (True, True)


def test_every_page_keeps_what_pages_promise(on_chain: Settled, browser: Browser, key: str) -> None:
    visited = browser.visits("every_page", on_chain.gateway, key=key, sections=sorted(PAGES), refused=["/v1/alarms"])
    assert {path.split("/")[1].split("?")[0] for path in visited} == PAGES
    assert any(path.startswith("/explorer/receipts/") for path in visited)
