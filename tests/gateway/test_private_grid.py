"""A private grid: the operator credits, batches are published with files and proofs, statements add up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import now_ms
from ledger.core.accounts.accounts import CUSTODY, claimable
from ledger.core.disputes import audit
from ledger.core.settlement import batch_file
from ledger.core.values import sum_tree
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.core.values.typed_data import Signer, credit_hash, signing_digest
from ledger.flows import audits, batches, credits
from ledger.flows import postings as posting
from ledger.flows.audits import Scope
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from roles.cli import main
from roles.wallet import keystore
from tests.gateway.world import DOMAIN, MAKER, OPERATOR, PROVIDER, Running, World

LANE = batches.Lane(PRIVATE_LANE, DOMAIN, None, 10_000, 0)


def a_credit(consumer: Signer, amount: int, reference: str, signer: Signer = OPERATOR) -> dict[str, str]:
    """A signed credit entry."""
    noted = keccak256(reference.encode())
    signature = signer.sign(signing_digest(DOMAIN, credit_hash(PRIVATE_LANE, consumer.address, amount, noted)))
    body = {"account": to_hex(consumer.address), "amount": str(amount)}
    return {**body, "reference": to_hex(noted), "signature": to_hex(signature)}


def work(world: World, *, window_ms: int = 0, now: int | None = None) -> None:
    """What the worker does on a private grid, once."""
    now = now_ms() if now is None else now
    with unit_of_work(world.engine) as session:
        credits.credit(session, PRIVATE_LANE, now)
    with unit_of_work(world.engine) as session:
        for gateway in posting.due(session, PRIVATE_LANE):
            posting.post_chunk(session, PRIVATE_LANE, gateway, 10_000, now)
    with unit_of_work(world.engine) as session:
        parties.assign(session, PRIVATE_LANE, batches.missing_payees(session, PRIVATE_LANE))
        batches.close(session, LANE, 1, now)
    with unit_of_work(world.engine) as session:
        credits.publish(session, PRIVATE_LANE, window_ms, now)


@pytest.fixture
def credited(gateway: Running, world: World, consumer: Signer) -> Running:
    """A gateway where the consumer has been credited a million atoms."""
    answer = gateway.http.post("/v1/credits", json=a_credit(consumer, 10**6, "invoice 7"))
    assert answer.status_code == 202, answer.text
    work(world)
    shown = gateway.of(consumer).get(f"/v1/deposits/{answer.json()['id']}").json()
    assert shown["status"] == "credited"
    return gateway


def test_only_the_operator_credits_and_each_reference_counts_once(
    credited: Running, world: World, consumer: Signer
) -> None:
    again = credited.http.post("/v1/credits", json=a_credit(consumer, 10**6, "invoice 7"))
    assert again.status_code == 202
    forged = credited.http.post("/v1/credits", json=a_credit(consumer, 10**6, "invoice 8", signer=consumer))
    assert forged.status_code == 400
    other = credited.http.post("/v1/credits", json=a_credit(consumer, 2 * 10**6, "invoice 7"))
    assert other.status_code == 409
    work(world)
    assert world.balance(consumer.address) == 10**6


def test_an_operator_credits_by_one_command(
    gateway: Running, world: World, consumer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    for name in ("operator", "provider"):
        keystore.create(name, keccak256(b"test", name.encode()), strength=keystore.LIGHT)
    asked = ["operator", "credit", to_hex(consumer.address), "1500atoms", "--reference", "invoice 9", "--yes", "--json"]
    for _ in range(2):
        assert main.run([*asked, "--wallet", "operator", "--gateway", gateway.url]) == 0
        work(world)
        assert world.balance(consumer.address) == 1_500
    assert main.run([*asked, "--wallet", "provider", "--gateway", gateway.url]) == 1
    work(world)
    assert world.balance(consumer.address) == 1_500


def test_a_batch_is_published_with_the_file_and_the_proofs_it_would_have_on_a_chain(
    credited: Running, world: World, consumer: Signer
) -> None:
    key = credited.key(consumer)
    for _ in range(3):
        assert credited.chat(key).status_code == 200
    began = now_ms()
    work(world, window_ms=1_000, now=began)
    (batch,) = credited.http.get("/v1/settlement/batches").json()["data"]
    assert (batch["status"], batch["calls"]) == ("posted", 3)
    work(world, window_ms=1_000, now=began + 1_000)
    (batch,) = credited.http.get("/v1/settlement/batches").json()["data"]
    assert batch["status"] == "final"

    body = credited.http.get(batch["file"]).content
    assert to_hex(hashlib.sha256(body).digest()) == batch["header"]["data_ref"]
    file = batch_file.read(body)
    verdict = audit.verify(file, None, file.header)
    assert verdict.ok, str(verdict)
    for payee in (MAKER.address, PROVIDER.address):
        proof = credited.http.get(f"/v1/proofs/payout/{to_hex(payee)}").json()
        cumulative = int(proof["cumulative"])
        leaf = sum_tree.leaf(sum_tree.PAYOUT_TAG, PRIVATE_LANE, proof["index"], payee, cumulative)
        siblings = [Digest(bytes.fromhex(word[2:])) for word in proof["proof"]]
        assert sum_tree.verify(bytes.fromhex(proof["root"][2:]), leaf, proof["index"], siblings)
        with unit_of_work(world.engine) as session:
            assert postings.balance(session, PRIVATE_LANE, claimable(payee)) == cumulative > 0
    with unit_of_work(world.engine) as session:
        assert audits.reconcile(session, Scope(PRIVATE_LANE, DOMAIN), 1, thorough=True) == []
        assert postings.balance(session, PRIVATE_LANE, CUSTODY) == 10**6
        held = lanes.get_consumer(session, PRIVATE_LANE, consumer.address)
        assert held is not None
        assert (held.index, held.deposited) == (1, 10**6)


def test_statements_add_up_in_every_form(credited: Running, world: World, consumer: Signer, tmp_path: Path) -> None:
    key = credited.key(consumer)
    for _ in range(5):
        assert credited.chat(key).status_code == 200
    work(world)
    spent = every_line(credited, consumer)
    receipts = {line["receipt"] for line in spent}
    assert len(receipts) == 5
    charged = sum(int(line["amount"]) for line in spent)
    assert charged == sum(signed.receipt.charge for signed in world.receipts_of(consumer.address))
    earned = every_line(credited, PROVIDER, role="compute", model="@acme/chat")
    with unit_of_work(world.engine) as session:
        held = postings.balance(session, PRIVATE_LANE, claimable(PROVIDER.address))
    assert sum(int(line["amount"]) for line in earned) == held
    assert {line["why"] for line in earned} == {"call 100 on the units = 100"}
    assert {line["stage"] for line in earned} == {"final"}

    assert joined(credited, MAKER, "csv").count("\n") == 1 + 5 + 2
    file = tmp_path / "maker.beancount"
    file.write_text(joined(credited, MAKER, "beancount"))
    check = [str(Path(sys.executable).with_name("bean-check")), str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    refused = credited.of(MAKER).get(f"/v1/statements/{to_hex(MAKER.address)}?role=landlord")
    assert refused.status_code == 400


def pages(gateway: Running, who: Signer, **query: str) -> list[Any]:
    """All pages of a statement."""
    found, cursor = [], ""
    while True:
        query |= {"limit": "2", "cursor": cursor}
        answer = gateway.of(who).get(f"/v1/statements/{to_hex(who.address)}", params=query)
        assert answer.status_code == 200, answer.text
        found.append(answer)
        cursor = answer.headers.get("tollway-next", "")
        if not cursor:
            return found


def every_line(gateway: Running, who: Signer, **query: str) -> list[Any]:
    """All lines of a statement."""
    return [line for page in pages(gateway, who, **query) for line in page.json()["lines"]]


def joined(gateway: Running, who: Signer, form: str) -> str:
    """All pages of a statement in a form, end to end."""
    return "".join(page.text for page in pages(gateway, who, format=form))
