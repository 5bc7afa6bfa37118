"""Commands on a running network, with their effects: those that the demo does not use."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from shlex import quote
from typing import Any

import httpx
import pytest

from ledger.core.pricing.promotion import RESERVE
from ledger.core.values.errors import Rejected
from roles.cli import context
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import network
from roles.local.actors import DIALOG, EMOTION, KB, MODELS, SERVICE
from roles.local.folder import ROOT
from roles.wallet import api_keys, home
from tests.journey.conftest import Person

BASE, FINETUNED = (quote(str(MODELS / folder)) for folder in ("emotion-base", "emotion"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def at_home(settled: Person) -> Iterator[None]:
    """Commands run in this process, in the network's home: a new process starts only where it matters."""
    with network.living_in(settled.home):
        yield


def serves() -> bool:
    """Whether the gateway serves calls now."""
    return bool(context.here().gateway.get("/v1/lane")["serves"])


def refused(command: str) -> str:
    """The error of a command that must be refused."""
    with pytest.raises(Rejected) as caught:
        run(command)
    return str(caught.value.message)


def atoms(wallet: str) -> int:
    """The balance of a wallet, in atoms."""
    return int(run(f"wallet balance {wallet}")["atoms"])


def test_a_model_is_versioned_given_away_and_retired() -> None:
    run("wallet create zoe --light")
    run("wallet faucet 20 --wallet zoe")
    register = f"maker register @zoe/mood {BASE} --royalty 5% --floor call=1 --wallet zoe"
    first = run(register)
    assert "transaction" in first
    again = run(register)
    assert again["note"] == "was registered already"
    assert "transaction" not in again
    assert {k: again[k] for k in ("id", "owner", "missing", "next")} == {
        "id": first["id"],
        "owner": first["owner"],
        "missing": ["owner's bid", "provider's bid", "stake", "offer"],
        "next": "tollway maker bid @zoe/mood --ask call=200 -w zoe",
    }
    newer = run(f"{register} --version 1.1.0")
    assert {row["id"] for row in run("maker versions @zoe/mood")} == {first["id"], newer["id"]}
    derive = f"oem derive @zoe/mild {FINETUNED} --relation finetune --parent {newer['id']} --wallet zoe"
    assert run(derive)["owes"][0]["terms"]["royalty_ppm"] == 50_000
    run(f"maker transfer {newer['id']} alice --wallet zoe")
    assert "NotOwner" in refused(f"maker retire {newer['id']} --wallet zoe")
    run(f"maker retire {newer['id']} --wallet alice")
    assert "no terms to descendants now" in refused(f"{derive} --version 2.0.0")


def test_terms_are_opened_after_the_registration_and_held_to_what_the_maker_says() -> None:
    run("wallet create max --light --faucet 20")
    model = run(f"maker register @max/mood {BASE} --wallet max")["id"]
    derive = f"oem derive @max/mild {FINETUNED} --parent {model}"
    assert "tollway maker grant" in refused(f"{derive} --wallet max")
    assert "at most 30%" in refused(f"maker grant {model} --royalty 31% --wallet max")
    granted = run(f"maker grant {model} --royalty 7.5% --floor call=3 --wallet max")
    assert granted["terms"] == "7.5%,call=3"
    for other in ("", "=7%,call=3", "=7.5%"):
        assert "offers other terms" in refused(f"{derive}{other} --wallet max")
    (owed,) = run(f"{derive}={granted['terms']} --wallet max")["owes"]
    assert (owed["terms"]["royalty_ppm"], owed["terms"]["floor"]) == (75_000, {"call": "3"})
    (row,) = run("maker versions @max/mild")
    assert row["why"].startswith("missing: owner's bid"), "its lineage is what the Registry has"


def test_stake_cannot_be_released_before_its_delay() -> None:
    before = atoms("casa")
    run("provider unbond 10 --wallet casa")
    assert "free from" in refused("provider release --wallet casa")
    assert atoms("casa") == before


def test_a_preview_shows_the_effect_of_a_bid() -> None:
    run(f"consumer infer {EMOTION} 'text=I am so happy' --wallet alice")
    low, same = (run(f"provider preview {EMOTION} --ask call={ask} --wallet casa") for ask in (1_000, 1_900))
    assert low["rivals"] == same["rivals"] == 2
    assert int(low["share_of_calls"][:-1]) > int(same["share_of_calls"][:-1]) > 0


def test_a_recommendation_pays_its_curator() -> None:
    said = run(f"weaver sponsor {SERVICE} --curators 50% --slot 400atoms --task text-generation --wallet wanda")[
        "order"
    ]
    assert f"as weaver of {SERVICE}" in said
    assert "curators get 50% of your share" in said
    assert "It ends at" in said
    assert run("curator offers")[0]["subject"] == SERVICE
    token = run(f"curator token {SERVICE} --keep 60% --wallet curt")["token"]
    assert run(f"curator read {token}")["keeps"] == "60%"
    call = f"consumer call {SERVICE} 'Where is my order?' --wallet alice"
    run(f"{call} --referral {token}")
    assert {row["role"] for row in run("curator earnings --wallet curt")["roles"]} <= {"curator"}


def test_a_first_sale_from_a_slot_is_paid_by_a_weaver_a_curator_and_a_provider() -> None:
    """Each by a consumer of its own, who looks with its key, sees the row, and buys."""
    run(f"weaver sponsor {SERVICE} --slot 400atoms --task text-generation --wallet wanda")
    run(f"oem sponsor {EMOTION} --curators 50% --wallet south")
    run(f"curator sponsor {EMOTION} --slot 100atoms --wallet curt")
    run(f"provider sponsor {KB} --slot 300atoms --wallet atlas")
    assert "not yours to promote as its maker" in refused(f"maker sponsor {KB} --slot 400atoms --wallet delta")
    assert "tollway provider bid" in refused(f"provider sponsor {KB} --slot 400atoms --wallet casa")
    assert "at most 90% of your share" in refused(f"maker sponsor {KB} --curators 95% --wallet kappa")
    run("local stop borea")  # atlas alone serves, and so pays
    try:
        sold = [
            first_sale("vera", SERVICE, "text-generation"),
            first_sale("eli", EMOTION, "text-classification"),
            first_sale("kim", KB, "retrieval"),
        ]
    finally:
        run("local start borea")
    assert [role for role, _ in sold] == ["weaver", "curator", "compute"]
    assert all(atoms >= RESERVE for _, atoms in sold), sold


def first_sale(name: str, model: str, task: str) -> tuple[str, int]:
    """A new consumer sees a model in a slot, and buys it: the sponsor's role, and what it pays of the call."""
    run(f"wallet create {name} --light")
    run(f"wallet faucet 5 --wallet {name}")
    assert run(f"consumer deposit 2 --wallet {name}")["status"] == "credited"
    run(f"consumer key --wallet {name}")
    key = {"Authorization": f"Bearer {api_keys.current_file(name).read_text()}"}
    with httpx.Client(base_url=f"{context.here().url}/v1", headers=key, timeout=60) as client:

        def is_shown() -> bool:
            rows = client.post("/discover", json={"task": task}).json()["results"]
            return any(row["sponsored"] and row["name"] == model for row in rows)

        assert wait_until(is_shown, 30, 0.5), f"{model} is in no slot"
        body = {"model": model, "messages": [{"role": "user", "content": "Where is my order?"}], "max_tokens": 16}
        answer = client.post("/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        receipt = client.get(f"/receipts/{answer.headers['tollway-receipt']}").json()
    return receipt["noted"]["slot"].rpartition("/")[2], int(receipt["terms"]["carve"]["promotion"])


def test_contracts_deployed_twice_are_the_same_and_a_lane_pauses() -> None:
    here: Any = run("operator deploy --wallet treasury")
    known = home.network()
    assert known is not None
    assert here["written"] == known.deployment, "nothing goes into the checkout"
    assert run("operator deploy --wallet treasury") == here
    assert run("operator status --wallet olga")["active"]
    run("operator pause --wallet olga")
    assert run("operator pause --wallet olga")["note"] == "no change"
    assert not run("operator status --wallet olga")["active"]
    assert wait_until(lambda: not serves(), 60, 0.5), "a stopped lane serves nobody"
    assert "tollway operator resume" in refused("consumer call @delta/dialog hello --wallet alice")
    run("operator resume --wallet olga")
    assert run("operator status --wallet olga")["active"]
    assert wait_until(serves, 60, 0.5)


def test_a_gateway_key_is_added_once_and_revoked_for_good() -> None:
    added = run("operator add-gateway curt --wallet olga")
    assert run("operator add-gateway curt --wallet olga") == {
        "lane": added["lane"],
        "key": added["key"],
        "note": "no change",
    }
    assert run("operator revoke-gateway curt --wallet olga")["revoked"]
    assert "give the gateway a new key" in refused("operator add-gateway curt --wallet olga")


def test_a_lane_is_read_before_a_deposit_and_its_money_is_where_its_books_say() -> None:
    assert run("consumer deposit 0.5 --direct --wallet alice")["status"] == "on chain"
    held = run("auditor solvency")
    assert held["lane_holds"] == held["lane_owes"]
    status = run("operator status --wallet olga")
    assert (status["leverage"], status["era"]) == (1, 1)
    assert status["gateways"] >= 1, "and as many as other journeys have added"


def test_a_component_stops_and_starts_again() -> None:
    run("local stop borea")
    assert all(row["process"] == "-" for row in run("local status") if row["component"] == "borea")
    run("local start borea")
    assert all(row["well"] for row in run("local status") if row["component"] == "borea")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("consumer call @delta/dialgo hello --wallet alice", DIALOG),
        ("consumer cal", "'call'"),
        ("wallet show alcie", "alice"),
        ("provider bid @delta/dialog --ask output_tokens=5 --wallet atlas", "output_token"),
        ("maker transfer @kappa/kb bore --wallet kappa", "borea"),
        ("oem derive @zoe/x . --parent @north/emotion-base --relation finetun --wallet zoe", "finetune"),
        ("local logs gatway", "gateway"),
        ("weaver publish deploy/demo/capsules/vote.json --wallet wanda", "--use general-a="),
        ("consumer withdraw --wallet zoe", "never deposited"),
        ("batch verify 0", "greater than or equal to 1"),
    ],
)
def test_an_error_names_the_nearest_right_word(typed: str, message: str) -> None:
    assert message in refused(typed)


def test_no_money_moves_without_a_confirmation(settled: Person) -> None:
    before = atoms("alice")
    ended = settled.types("wallet", "send", "borea", "1", "--wallet", "alice")
    assert ended.returncode == 1
    assert "--yes" in ended.stderr
    assert atoms("alice") == before


def test_watched_earnings_end_on_an_interrupt(settled: Person) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "roles.cli.main", "provider", "earnings", "--watch", "--wallet", "atlas"],
        env={**os.environ, "TOLLWAY_HOME": str(settled.home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "earnings of atlas" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_the_shell_completes_commands(settled: Person) -> None:
    typed = f"'{sys.executable}' -m roles.cli.main --show-completion; true"  # the shell asks, and is recognised
    shown = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "complete" in shown.stdout
