"""A workflow that is not published runs: its steps are calls of the consumer's own, and no weaver is paid."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Digest, cid, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.receipts.receipts import Signed
from roles.cli import main
from roles.wallet import keystore
from tests import book
from tests.gateway.nodes import answering, hanging
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_workflows import earned
from tests.gateway.trials import PATH, a_draft, named, tried
from tests.gateway.workflows import LAST, WEAVE, Loom, echoing, glued, inferring, meeting, pinned
from tests.gateway.world import OPERATOR, PROVIDER, WEAVER, World, a_signer


def known(loom: Loom, *models: Digest) -> None:
    """Wait until the gateway has read these models."""
    for model in models:
        loom.known(cid(model))


def is_of_its_own(one: Signed) -> bool:
    """Whether a receipt is that of a call which is part of nothing."""
    return one.receipt.parent == ZERO_DIGEST and one.receipt.subcalls == 0 == one.receipt.subcall_total


def test_each_step_has_the_receipt_of_a_call_of_its_own_and_no_weaver_is_paid(
    loom: Loom, world: World, consumer: Signer
) -> None:
    asked: list[str] = []
    loom.classifier("feeling", meeting(asked, 2, "angry"), ask="300")
    topic = loom.classifier("topic", meeting(asked, 2, "parcel"), ask="200")
    loom.talker("talk", echoing("> "), ask={"call": "50", "output_token": "1000000"})
    for name in ("@acme/feeling", "@acme/topic", "@acme/talk"):
        loom.known(name)
    said = "{$steps.feeling.output.label} about {$steps.topic.output.label}"
    draft = a_draft(
        named("feeling", "@acme/feeling", {"text": LAST}),
        pinned("topic", topic, {"text": LAST}),
        named("never", "@acme/topic", {"text": LAST}, when="$steps.feeling.output.label == 'calm'"),
        named("reply", "@acme/talk", {"messages": [{"role": "user", "content": said}]}),
        output={"choices": "$steps.reply.output.choices"},
        failure="all-or-nothing",
    )
    key = loom.consumer(consumer)
    direct = [loom.gateway.chat(key, "@acme/talk", text="angry about parcel").headers["tollway-charge"]]
    asked.clear()
    before = {one.receipt.call_id for one in world.receipts_of(consumer.address)}
    response = tried(loom.gateway, key, draft, "where is it?!")
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["capsule"], answer["text"]) == ("@me/flow", "> angry about parcel")
    assert answer["output"]["choices"][0]["message"]["content"] == "> angry about parcel"
    signed = [one for one in world.receipts_of(consumer.address) if one.receipt.call_id not in before]
    assert all(map(is_of_its_own, signed))
    rows = {row["step"]: row for row in answer["steps"]}
    assert {row["call"] for row in rows.values() if "call" in row} == {to_hex(one.receipt.call_id) for one in signed}
    assert {name: (row["status"], row.get("model")) for name, row in rows.items()} == {
        "feeling": ("ok", "@acme/feeling"),
        "topic": ("ok", "@acme/topic"),
        "never": ("skipped", None),
        "reply": ("ok", "@acme/talk"),
    }
    assert rows["topic"]["began_ms"] < rows["feeling"]["began_ms"] + rows["feeling"]["ms"], "they ran at the same time"
    assert rows["reply"]["price"] == direct[0], "it costs what a call of the model costs"
    assert answer["charge"] == response.headers["tollway-charge"] == str(sum(one.receipt.charge for one in signed))
    paid = earned(world, signed)
    assert paid[PROVIDER.address, Role.compute] == 300 + 200 + 50 + 2
    assert (OPERATOR.address, Role.protocol) in paid
    assert WEAVER.address not in {party for party, _ in paid}
    assert Role.weaver not in {role for _, role in paid}
    assert loom.gateway.gateway.leases.outstanding() == 0


def test_what_is_tried_is_what_runs_once_it_is_published(loom: Loom, consumer: Signer) -> None:
    models = [loom.classifier(f"m{n}", inferring(label)) for n, label in enumerate("aba")]
    steps = (
        *(pinned(f"m{n}", model, {"text": LAST}) for n, model in enumerate(models)),
        glued("vote", "vote", {"votes": [f"$steps.m{n}.output.label" for n in range(3)]}),
    )
    output, glue = {"content": "$steps.vote.output.label"}, loom.glue()
    loom.capsule(*steps, output=output, **glue)
    key = loom.consumer(consumer)
    published = loom.gateway.chat(key, "@wanda/flow").json()
    trial = tried(loom.gateway, key, a_draft(*steps, output=output, **glue)).json()
    assert trial["output"] == published["tollway"]["output"] == {"content": "a"}
    assert [(row["step"], row["status"]) for row in trial["steps"]] != []
    seen = [{(row["step"], row["status"]) for row in rows} for rows in (trial["steps"], published["tollway"]["steps"])]
    assert seen[0] == seen[1]


def test_a_published_workflow_inside_is_a_call_of_its_own_and_its_weaver_is_paid(
    loom: Loom, world: World, consumer: Signer
) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    inner = loom.capsule(
        pinned("feel", feeling, {"text": LAST}), output={"content": "$steps.feel.output.label"}, name="@wanda/inner"
    )
    key = loom.consumer(consumer)
    loom.gateway.chat(key, "@wanda/inner")
    as_called = max(one.receipt.price for one in world.receipts_of(consumer.address))
    before = len(world.receipts_of(consumer.address))
    step = {"id": "inner", "uses": {"capsule": "@wanda/inner"}, "input": {"messages": "$.messages"}}
    response = tried(loom.gateway, key, a_draft(step, output={"content": "$steps.inner.output.content"}))
    assert response.status_code == 200, response.text
    assert response.json()["text"] == "joy"
    sub, root = sorted(world.receipts_of(consumer.address), key=lambda one: one.receipt.seq)[before:]
    assert (sub.receipt.parent, root.receipt.parent) == (root.receipt.call_id, ZERO_DIGEST)
    assert (root.receipt.subcalls, root.receipt.price) == (1, as_called), cid(inner)
    assert response.json()["charge"] == str(as_called)
    assert (WEAVER.address, Role.weaver) in earned(world, [sub, root])


@pytest.mark.parametrize("policy", ["all-or-nothing", "partial-ok"])
def test_a_published_workflow_inside_that_fails_keeps_its_own_promise(
    loom: Loom, world: World, consumer: Signer, policy: str
) -> None:
    feeling, broken = loom.classifier("feeling", inferring("joy")), loom.classifier("broken", answering(status=500))
    loom.capsule(
        pinned("feel", feeling, {"text": LAST}),
        pinned("broken", broken, {"text": "$steps.feel.output.label"}),
        output={"content": "$steps.broken.output.label"},
        name="@wanda/inner",
        failure=policy,
    )
    step = {"id": "inner", "uses": {"capsule": "@wanda/inner"}, "input": {"messages": "$.messages"}}
    failed = tried(loom.gateway, loom.consumer(consumer), a_draft(step, output={"content": "$steps.inner.output"}))
    assert failed.status_code == 502, failed.text
    own, bonded = world.receipts_of(consumer.address), world.receipts_of(WEAVER.address)
    charge = sum(one.receipt.charge for one in own)
    assert failed.json()["error"]["charge"] == str(charge)
    if policy == "all-or-nothing":
        assert (own, len(bonded)) == ([], 1)
    else:
        root = max(own, key=lambda one: one.receipt.seq)
        assert (len(own), bonded, root.receipt.parent, root.receipt.subcalls) == (2, [], ZERO_DIGEST, 1)
        assert root.receipt.price == charge, "the whole of it, on terms without its weaver"
        assert Role.weaver not in {role for _, role in earned(world, own)}
    assert loom.gateway.gateway.leases.outstanding() == 0


def test_a_trial_that_fails_is_paid_as_far_as_it_served_and_says_how_far(
    loom: Loom, world: World, consumer: Signer
) -> None:
    feeling, broken = loom.classifier("feeling", inferring("joy")), loom.classifier("broken", answering(status=500))
    known(loom, feeling, broken)
    draft = a_draft(
        pinned("feel", feeling, {"text": LAST}),
        pinned("broken", broken, {"text": "$steps.feel.output.label"}),
        output={"content": "$steps.broken.output.label"},
        failure="all-or-nothing",
    )
    failed = tried(loom.gateway, loom.consumer(consumer), draft)
    assert failed.status_code == 502
    error = failed.json()["error"]
    [receipt] = world.receipts_of(consumer.address)
    assert is_of_its_own(receipt)
    assert (error["code"], error["step"], error["charge"]) == ("workflow_failed", "broken", str(receipt.receipt.charge))
    assert error["partial"]["feel"]["label"] == "joy"
    assert {row["step"]: row["status"] for row in error["steps"]} == {"feel": "ok", "broken": "error"}
    assert failed.headers["tollway-charge"] == error["charge"]
    assert world.receipts_of(WEAVER.address) == [], "no weaver promised anything"


def test_what_is_no_workflow_is_refused_with_its_place_before_anything_is_asked(
    loom: Loom, world: World, consumer: Signer
) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    known(loom, feeling)
    good = a_draft(pinned("feel", feeling, {"text": LAST}), output={"content": "$steps.feel.output.label"})
    key = loom.consumer(consumer)
    [step] = good["steps"]
    refused: list[tuple[Any, int, str]] = [
        ({**good, "steps": []}, 400, "$.steps"),
        ({**good, "steps": 5}, 400, "$.steps"),
        ({**good, "steps": [5]}, 400, "$.steps"),
        ({**good, "steps": [step, step]}, 400, "same id"),
        ({**good, "steps": [step | {"id": f"s{n}"} for n in range(65)]}, 400, "64"),
        ({**good, "steps": [step | {"when": "$steps.feel.status == 'ok'"}]}, 400, "wait for each other"),
        ({**good, "steps": [step | {"max_price": 5}]}, 400, "max_price"),
        ({**good, "output": {"content": "$steps.none.output"}}, 400, "none"),
        ({**good, "name": "flow"}, 400, "$.name"),
        ({**good, "more": 1}, 400, "more"),
        ({**good, "steps": [step | {"uses": {"model": "@acme/feling"}}]}, 404, "@acme/feeling"),
        ({**good, "steps": [step | {"uses": {"model": "model:reply"}}]}, 400, "$.steps[0].uses"),
        ({**good, "steps": [step | {"uses": {"model": cid(bytes(32))}}]}, 503, "not published"),
        ("flow", 400, "capsule"),
    ]
    for draft, status, words in refused:
        answer = tried(loom.gateway, key, draft)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    body = {"capsule": good, "input": {"messages": []}, "more": 1}
    more = loom.gateway.http.post(PATH, json=body, headers={"Authorization": f"Bearer {key}"})
    assert (more.status_code, more.json()["error"]["param"]) == (400, "more")
    assert loom.nodes[0].asked == []
    assert world.receipts_of(consumer.address) == []


def test_a_trial_that_is_sent_again_is_made_and_charged_once_at_any_gateway(
    loom: Loom, world: World, consumer: Signer
) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    known(loom, feeling)
    draft = a_draft(
        pinned("maybe", feeling, {"text": LAST}, when="$.messages[0].content == 'never'"),
        pinned("feel", feeling, {"text": LAST}),
        output={"content": "$steps.feel.output.label"},
    )
    key, other = loom.consumer(consumer), world.gateway("gateway-2")
    eventually(lambda: other.http.get(f"/v1/models/{cid(feeling)}").json().get("ready"))
    once = {"Idempotency_Key": "once"}
    first, again = (tried(loom.gateway, key, draft, **once) for _ in range(2))
    assert (first.status_code, first.content) == (200, again.content)
    elsewhere = tried(other, key, draft, **once)
    [receipt] = world.receipts_of(consumer.address)
    assert elsewhere.status_code == 409, elsewhere.text
    error = elsewhere.json()["error"]
    assert (error["code"], error["calls"]) == ("answer_not_kept", [to_hex(receipt.receipt.call_id)])
    assert error["charge"] == first.json()["charge"]
    another = tried(loom.gateway, key, draft, "other", **once)
    assert (another.status_code, another.json()["error"]["code"]) == (409, "idempotency_mismatch")
    assert tried(other, key, draft).status_code == 200, "without a key it is another one"
    assert len(world.receipts_of(consumer.address)) == 2


def test_a_consumer_that_leaves_pays_for_what_served_and_nothing_more_is_asked(
    loom: Loom, world: World, consumer: Signer
) -> None:
    feeling, slow = loom.classifier("feeling", inferring("joy")), loom.classifier("slow", hanging)
    after = loom.classifier("after", inferring("joy"))
    known(loom, feeling, slow, after)
    draft = a_draft(
        pinned("feel", feeling, {"text": LAST}),
        pinned("slow", slow, {"text": "$steps.feel.output.label"}),
        pinned("after", after, {"text": "$steps.slow.output.label"}),
        output={"content": "$steps.after.output.label"},
    )
    key = loom.consumer(consumer)
    body = json.dumps({"capsule": draft, "input": {"messages": [{"role": "user", "content": "hi"}]}})
    wire = http.client.HTTPConnection("127.0.0.1", loom.gateway.port, timeout=20)
    wire.request("POST", PATH, body, {"Authorization": f"Bearer {key}"})
    eventually(lambda: loom.nodes[1].asked)
    wire.close()
    eventually(lambda: len(world.receipts_of(consumer.address)) == 1)
    assert is_of_its_own(world.receipts_of(consumer.address)[0])
    eventually(lambda: loom.gateway.gateway.leases.outstanding() == 0)
    assert loom.nodes[2].asked == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page_of_capsules_tries_a_file_with_curl(loom: Loom, consumer: Signer, tmp_path: Path) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    known(loom, feeling)
    draft = a_draft(pinned("feel", feeling, {"text": LAST}), output={"content": "$steps.feel.output.label"})
    (tmp_path / "capsule.json").write_text(json.dumps(draft))
    environment = {**os.environ, "GATEWAY": loom.gateway.url, "KEY": loom.consumer(consumer)}
    typed = ["sh", "-c", book.typed("docs/capsules.md", "$GATEWAY/v1/try").text]
    answer = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout
    assert json.loads(answer)["text"] == "joy"


def test_the_command_line_tries_a_file_with_placeholders_and_with_its_own_glue(
    loom: Loom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    known(loom, feeling)
    alice = a_signer("alice")
    settings = {"HOME": str(tmp_path), "PASSWORD": "correct horse", "GATEWAY": loom.gateway.url}
    for name, value in settings.items():
        monkeypatch.setenv(f"TOLLWAY_{name}", value)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice").write_text(loom.consumer(alice))
    keystore.create("alice", keccak256(b"test", b"alice"), strength=keystore.LIGHT)
    (tmp_path / "weave.wasm").write_bytes(WEAVE)
    draft = a_draft(
        named("feel", "model:feeling", {"text": LAST}),
        glued("vote", "vote", {"votes": ["$steps.feel.output.label"]}),
        output={"content": "$steps.vote.output.label"},
        glue={"weave": {"file": "weave.wasm", "fuel": 1_000_000}},
    )
    file = tmp_path / "capsule.json"
    file.write_text(json.dumps({"$schema": "capsule.schema.json", **draft}))
    tried_by_line = main.ask(f"weaver try {file} hello --use feeling=@acme/feeling --wallet alice --yes")
    assert tried_by_line["answer"] == "joy"
    assert {row["step"]: row["status"] for row in tried_by_line["steps"]} == {"feel": "ok", "vote": "ok"}
    assert tried_by_line["charge"] == str(loom.world.receipts_of(alice.address)[0].receipt.charge)
    with pytest.raises(Rejected, match="allowed"):
        main.ask(f"weaver try {file} hello --use feeling=@acme/feeling --max-price 1atoms --wallet alice --yes")
