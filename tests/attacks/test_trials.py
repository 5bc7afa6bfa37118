"""A trial is a workflow that a stranger with a key wrote a second ago: what it may not do."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from gateway.catalog.catalog import ModelEntry
from ledger.core.values.ids import Digest, cid, to_hex
from ledger.core.values.typed_data import Signer
from tests.attacks.test_realm_workflows import (
    ELSEWHERE,
    EXPELLED,
    MEMBER,
    PRIVATE,
    REALM,
    STRANGER,
    Clinic,
    clinic,
    heard,
    step,
)
from tests.gateway.nodes import answering, streaming
from tests.gateway.test_dear_rivals import rival
from tests.gateway.trials import PATH, a_draft, named, tried
from tests.gateway.workflows import LAST, Loom, echoing, glued, inferring, pinned
from tests.gateway.world import WEAVER, World, a_signer, code_of

__all__ = ["clinic"]

JOY = {"content": "joy"}
PRICE = 115
"""Of a call at 100 atoms, with its maker's tenth and the protocol's share."""


def why(answer: httpx.Response) -> tuple[int, str]:
    """The status of a refusal, and its code."""
    return answer.status_code, code_of(answer.json())


def task_of(loom: Loom, model: Digest) -> str:
    """What a model says that it can do."""
    entry = loom.gateway.gateway.catalog.by_id[model]
    assert isinstance(entry, ModelEntry)
    return str(entry.model.document["capabilities"][0]["task"])


def test_a_key_calls_by_a_trial_only_what_it_may_call(loom: Loom, world: World, consumer: Signer) -> None:
    allowed, other = (loom.classifier(name, inferring(name)) for name in ("allowed", "other"))
    loom.capsule(pinned("one", other, {"text": LAST}), output=JOY, name="@wanda/inner")
    loom.known("@acme/allowed")
    world.deposit(consumer.address, 10**9)
    key = loom.gateway.key(consumer, models=["@acme/allowed"])
    inner = {"uses": {"capsule": "@wanda/inner"}, "input": {"messages": "$.messages"}}
    fallback = [
        named("first", "@acme/allowed", {"text": LAST}, on_error="fallback", fallback="second"),
        named("second", "@acme/other", {"text": LAST}),
    ]
    for steps in (
        [named("a", "@acme/other", {"text": LAST})],
        [pinned("a", other, {"text": LAST})],
        [pinned("a", other, {"text": LAST}, when="$.never == true"), pinned("b", allowed, {"text": LAST})],
        [{"id": "a", **inner}],
        fallback,
    ):
        assert why(tried(loom.gateway, key, a_draft(*steps, output=JOY))) == (403, "model_not_allowed"), steps
    able = {"id": "a", "uses": {"capability": {"task": task_of(loom, allowed)}}, "input": {"text": LAST}}
    answers = [tried(loom.gateway, key, a_draft(able, output=JOY)) for _ in range(4)]
    assert {row["model"] for one in answers for row in one.json()["steps"]} == {"@acme/allowed"}
    assert loom.nodes[1].asked == []


def test_nothing_of_a_trial_is_remembered_for_who_runs_what_it_copies(loom: Loom, consumer: Signer) -> None:
    first = loom.classifier("first", inferring("first"))
    loom.known(cid(first))
    able = {"id": "a", "uses": {"capability": {"task": task_of(loom, first)}}, "input": {"text": LAST}}
    loom.world.deposit(consumer.address, 10**9)
    key = loom.gateway.key(consumer, models=["@acme/none"])
    flow = loom.capsule(able, output=JOY)
    copy = json.loads(loom.gateway.http.get(f"/v1/documents/{cid(flow)}").text)
    for number in range(20):
        refused = tried(loom.gateway, key, {**copy, "description": f"{number or copy.get('description', '')}"})
        assert why(refused) == (503, "no_provider"), refused.text
    assert why(tried(loom.gateway, key, copy)) == (503, "no_provider")
    assert loom.gateway.chat(loom.gateway.key(consumer, 2 * 10**12), "@wanda/flow").status_code == 200
    assert len(loom.gateway.gateway.catalog.able) <= 1


def test_all_steps_are_held_before_the_first_is_asked_and_no_more_than_that_is_spent(
    loom: Loom, world: World, consumer: Signer
) -> None:
    """A deposit, a key's budget, a model's budget and the consumer's largest price: each stops the whole of it."""
    joy = loom.classifier("joy", inferring("joy"))
    talk = loom.talker("talk", echoing(), ask={"call": "100"})
    for model in (joy, talk):
        loom.known(cid(model))
    steps = [pinned(f"s{n}", joy, {"text": LAST}) for n in range(3)]
    steps.append(named("talk", "@acme/talk", {"messages": "$.messages"}))
    draft = a_draft(*steps, output=JOY)
    poor, rich = loom.consumer(consumer, 4 * PRICE - 1), a_signer("rich")
    refused = tried(loom.gateway, poor, draft)
    assert (*why(refused), refused.json()["error"]["shortfall"]) == (402, "insufficient_balance", "1"), refused.text
    world.deposit(rich.address, 10**9)
    of_talk = {"amount": str(PRICE - 1), "period": "day", "model": "@acme/talk"}
    bounded: list[dict[str, Any]] = [{"budget": str(4 * PRICE - 1)}, {"budgets": [of_talk]}]
    for number, limits in enumerate(bounded):
        assert why(tried(loom.gateway, loom.gateway.key(rich, 10**9 + number, **limits), draft))[0] == 402, limits
    key = loom.gateway.key(rich)
    assert why(tried(loom.gateway, key, draft, Tollway_Max_Price=str(4 * PRICE - 1))) == (402, "above_max_price")
    assert (loom.nodes[0].asked, loom.nodes[1].asked) == ([], [])
    assert loom.gateway.gateway.leases.outstanding() == 0
    budgets = [of_talk | {"amount": str(2 * PRICE)}, {"amount": str(9 * PRICE), "period": "day"}]
    key = loom.gateway.key(rich, 2 * 10**12, budgets=budgets)
    served = [tried(loom.gateway, key, draft, Tollway_Max_Price=str(4 * PRICE)).status_code for _ in range(3)]
    assert served == [200, 200, 402], "the third has no budget of the model that talks left"
    rows = loom.gateway.http.get("/v1/keys", headers={"Authorization": f"Bearer {key}"}).json()["data"][-1]["budgets"]
    assert sorted(int(row["spent"]) for row in rows) == [2 * PRICE, 8 * PRICE]
    assert loom.gateway.gateway.leases.outstanding() == 0


def test_a_trial_is_as_many_calls_for_its_keys_rate_as_it_has_steps(loom: Loom, consumer: Signer) -> None:
    joy = loom.classifier("joy", inferring("joy"))
    loom.known(cid(joy))
    loom.world.deposit(consumer.address, 10**9)
    key = loom.gateway.key(consumer, rate=5)
    draft = a_draft(*(pinned(f"s{n}", joy, {"text": LAST}) for n in range(4)), output=JOY)
    assert [tried(loom.gateway, key, draft).status_code for _ in range(2)] == [200, 429]
    assert len(loom.nodes[0].asked) == 4


def test_a_trial_fans_out_to_63_calls_at_most_at_any_depth(loom: Loom, world: World, consumer: Signer) -> None:
    joy = loom.classifier("joy", inferring("joy"))
    loom.capsule(
        *(pinned(f"s{n}", joy, {"text": LAST}) for n in range(31)), output={"content": LAST}, name="@wanda/wide"
    )
    wide = [{"id": f"w{n}", "uses": {"capsule": "@wanda/wide"}, "input": {"messages": "$.messages"}} for n in range(2)]
    key = loom.consumer(consumer)
    many = [pinned(f"s{n}", joy, {"text": LAST}) for n in range(64)]
    for steps in (many, wide):
        assert why(tried(loom.gateway, key, a_draft(*steps, output=JOY))) == (400, "workflow_too_large")
    long = a_draft(pinned("s", joy, {"text": LAST, "more": "x" * 256 * 1024}), output=JOY)
    assert why(tried(loom.gateway, key, long)) == (413, "body_too_large")
    assert loom.nodes[0].asked == []
    assert world.receipts_of(consumer.address) == []


def test_who_is_slower_than_a_trial_wants_is_not_blamed(loom: Loom, consumer: Signer) -> None:
    slow = loom.classifier("slow", inferring("joy", delay=0.5))
    loom.known(cid(slow))
    key, here = loom.consumer(consumer), loom.gateway.gateway
    draft = a_draft(pinned("slow", slow, {"text": LAST}, timeout_ms=100), output=JOY)
    assert why(tried(loom.gateway, key, draft)) == (502, "workflow_failed")
    [candidate] = here.catalog.by_id[slow].candidates  # type: ignore[union-attr]
    health = candidate.health
    assert (health.calls, health.errors, health.marks, health.wants_probe) == (0, 0, {}, False)


def test_no_bond_pays_for_a_workflow_that_a_trial_stops(loom: Loom, world: World, consumer: Signer) -> None:
    quick, slow = loom.classifier("quick", inferring("joy")), loom.classifier("slow", inferring("joy", delay=20.0))
    loom.capsule(
        pinned("quick", quick, {"text": LAST}),
        pinned("slow", slow, {"text": "$steps.quick.output.label"}),
        output={"content": "$steps.slow.output.label"},
        name="@wanda/inner",
        failure="all-or-nothing",
    )
    inner = {"id": "a", "uses": {"capsule": "@wanda/inner"}, "input": {"messages": "$.messages"}, "timeout_ms": 1_500}
    stopped = tried(loom.gateway, loom.consumer(consumer), a_draft(inner, output=JOY))
    assert why(stopped) == (502, "workflow_failed")
    assert world.receipts_of(WEAVER.address) == []
    sub, root = sorted((one.receipt for one in world.receipts_of(consumer.address)), key=lambda one: one.seq)
    assert (root.subcalls, sub.parent, stopped.json()["error"]["charge"]) == (1, root.call_id, str(root.price))
    for model in (quick, slow):
        [candidate] = next(loom.gateway.gateway.catalog.everywhere(model)).candidates
        assert candidate.health.marks == {}


def test_who_is_dearer_than_planned_serves_no_trial(loom: Loom, consumer: Signer) -> None:
    cheap = loom.talker("chat", answering(status=500))
    dear = rival(loom, cheap, streaming(), {"call": "100000"})
    draft = a_draft(pinned("s", cheap, {"messages": "$.messages"}), output=JOY)
    assert why(tried(loom.gateway, loom.consumer(consumer), draft)) == (502, "workflow_failed")
    assert dear.asked == []


def test_only_a_key_pays_a_trial(loom: Loom, consumer: Signer) -> None:
    joy = loom.classifier("joy", inferring("joy"))
    loom.known(cid(joy))
    loom.consumer(consumer)
    body = {"capsule": a_draft(pinned("s", joy, {"text": LAST}), output=JOY), "input": {"messages": []}}
    voucher = json.dumps(loom.gateway.voucher(consumer, 10**12))
    for headers in ({}, {"Tollway-Voucher": voucher}, {"Authorization": "Bearer tw_none"}):
        assert loom.gateway.http.post(PATH, json=body, headers=headers).status_code == 401, headers
    assert loom.gateway.of(consumer).post(PATH, json=body).status_code == 401
    assert loom.nodes[0].asked == []


def test_a_trial_says_nothing_of_a_realm_and_takes_nothing_out_of_it(clinic: Clinic) -> None:
    gateway = clinic.loom.gateway

    def run(who: Signer, *steps: dict[str, object], realm: str = "") -> httpx.Response:
        headers = {"Tollway-Realm": realm} if realm else {}
        draft = a_draft(*steps, output={"content": "$steps.a.output.content"})
        return tried(gateway, clinic.keys[who.address], draft, PRIVATE, **headers)

    by_name = named("a", "@acme/reader", {"messages": "$.messages"})
    inside = {**by_name, "uses": {"model": "@acme/reader", "realm": REALM}}
    clinic.open()
    fake = (("@acme/reader", "@acme/reades"), (cid(clinic.reader), cid(bytes(32))))

    def disguised(text: str) -> str:
        for real, none in fake:
            text = text.replace(real, none)
        return text

    outsiders = ((STRANGER, ""), (STRANGER, REALM), (EXPELLED, REALM), (STRANGER, ELSEWHERE), (MEMBER, ""))
    for who, realm in outsiders:
        for one in (by_name, inside, step("a", clinic.reader, LAST), step("a", clinic.reader, LAST, REALM)):
            texts = (json.dumps(one), disguised(json.dumps(one)))
            there, none = (run(who, json.loads(text), realm=realm) for text in texts)
            assert there.status_code == none.status_code >= 400, there.text
            assert disguised(there.text) == none.text, "what is not theirs is not there"
    assert clinic.inner.asked == []
    meant_inside = {**by_name, "uses": {"model": "@acme/writer", "realm": REALM}}
    for who in (MEMBER, STRANGER):
        refused = run(who, meant_inside)
        assert (refused.status_code, "Tollway-Realm" in refused.text) == (400, True), "it runs nowhere else"
    for one in (by_name, inside):
        answer = run(MEMBER, one, realm=REALM)
        assert (answer.status_code, answer.json().get("text")) == (200, f"inside: {PRIVATE}"), answer.text
    outside = named("b", "@acme/writer", {"messages": [{"role": "user", "content": "hi"}]})
    both = run(MEMBER, inside, outside, realm=REALM)
    assert both.status_code == 200, both.text
    assert PRIVATE not in heard(clinic.outer)
    assert to_hex(clinic.reader)[2:] not in gateway.http.get("/metrics").text
    assert "@acme/reader" not in gateway.http.get("/metrics").text


def test_an_address_tries_60_workflows_a_minute(loom: Loom, consumer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = loom.consumer(consumer), time.monotonic()
    monkeypatch.setattr("gateway.bounds.monotonic", lambda: now)  # one more is allowed each second
    statuses = [tried(loom.gateway, key, {}).status_code for _ in range(61)]
    assert statuses == [400] * 60 + [429]
    assert loom.gateway.chat(key, "@acme/none").status_code == 404, "calls are not counted with them"


def test_glue_for_which_nobody_is_paid_has_fuel_for_one_long_run(loom: Loom, consumer: Signer) -> None:
    key = loom.consumer(consumer)
    for fuel, status in ((25_000_000, 200), (25_000_001, 400)):
        runs = [glued(name, "vote", {"votes": ["joy"]}) for name in ("one", "two")]
        draft = a_draft(*runs, output={"content": "$steps.two.output.label"}, **loom.glue(fuel))
        answer = tried(loom.gateway, key, draft)
        assert answer.status_code == status, answer.text
    assert "the glue of a trial may use 50000000 fuel in all" in answer.text
