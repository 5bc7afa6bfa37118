"""What a person sees in a terminal of models, workflows and receipts that a gateway has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.core.catalog import patterns
from ledger.core.values.hashes import keccak256
from roles.cli import main, output
from roles.cli.output import mode
from roles.wallet import keystore
from tests import book
from tests.gateway.workflows import LAST, Loom, echoing, inferring, pinned
from tests.gateway.world import a_signer

ALICE = a_signer("alice at a terminal")


@pytest.fixture
def terminal(loom: Loom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loom:
    """A workflow at a gateway, run once by the wallet `alice`, and a terminal of 80 columns."""
    for name, value in {"HOME": str(tmp_path), "PASSWORD": "correct horse", "GATEWAY": loom.gateway.url}.items():
        monkeypatch.setenv(f"TOLLWAY_{name}", value)
    monkeypatch.setattr(mode, "json", False)
    monkeypatch.setattr(output, "PIPE_COLUMNS", 80)
    keystore.create("alice", keccak256(b"test", b"alice at a terminal"), strength=keystore.LIGHT)
    feeling = loom.classifier("feeling", inferring("angry"), ask="300")
    talk = loom.talker("talk", echoing("> "), ask={"call": "50", "output_token": "1000000"})
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("reply", talk, {"messages": "$.messages"}, when="steps.feeling.output.label == 'angry'"),
        output={"content": "$steps.reply.output.content"},
    )
    assert loom.gateway.chat(loom.consumer(ALICE), "@wanda/flow").status_code == 200
    return loom


def test_a_person_reads_names_prices_and_what_was_spent(
    terminal: Loom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*words: str, code: int = 0) -> str:
        assert main.run(list(words)) == code, capsys.readouterr()
        said = capsys.readouterr()
        assert all(len(line) <= 80 for line in said.out.splitlines()), said.out
        return " ".join((said.out + said.err).replace("|", " ").split())

    drawn = shown("weaver", "show", "@wanda/flow")
    assert "@acme/feeling" in drawn
    assert "@acme/talk" in drawn
    assert "when steps.feeling" in drawn

    path = tmp_path / "flow.json"
    path.write_text(json.dumps(patterns.start("@me/flow", ["@acme/talk", "@acme/tlak", "@acme/feeling"])))
    mistakes = shown("weaver", "check", str(path), code=1)
    assert "has 1 mistake: $.steps[1].uses.model: there is no model '@acme/tlak'" in mistakes

    helps, create, list_models = (line.split()[1:] for line in book.typed("roles/README.md", "tollway --help").lines)
    assert "consumer" in shown(*helps)
    models = shown(*list_models)
    assert all(part in models for part in ("@acme/feeling", "342 atoms per call", "answers in", "since"))
    assert "AIC per million output tokens" in models
    assert "what its 2 steps cost" in models

    receipts = shown("consumer", "receipts")
    assert all(part in receipts for part in ("> @acme/talk", "> @acme/feeling", "@wanda/flow", " atoms", "tokens"))
    [call] = {row["call_id"] for row in terminal.gateway.of(ALICE).get("/v1/receipts").json()["data"][:1]}
    receipt = shown("consumer", "receipt", call[:12])
    assert call in receipt.replace(" ", "")
    assert "charge" in receipt

    sums = shown("consumer", "receipts", "--by", "model")
    assert "@wanda/flow" in sums
    assert (
        shown("consumer", "receipts", "--by", "week", code=1)
        == "rejected: 'week' is no sum: --by day, --by model, --by key"
    )
    assert "available 0." in shown("consumer", "balance")
    assert "me" in shown(*create)
