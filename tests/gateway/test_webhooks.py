"""Webhooks: made and changed by their account alone, and told of what happens, signed as the stock library reads it."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
import standardwebhooks
from pydantic import SecretStr
from sqlalchemy import text, update

from gateway import bounds
from gateway.api.schemas.bodies import WebhookEvent
from gateway.bounds import Rates
from gateway.clock import now_ms
from gateway.webhooks import targets
from ledger.core.accounts.webhooks import CHOICES, SCHEDULE_MS, TAKEN_MS, TESTS_A_DAY, Kind
from ledger.core.values.atoms import AIC
from ledger.core.values.ids import PRIVATE_LANE, to_hex
from ledger.core.values.typed_data import Signer
from ledger.flows import leases, webhooks
from ledger.store.access import webhooks as hooks
from ledger.store.access.tables import WebhookMessageRow, WebhookRow
from ledger.store.session import unit_of_work
from ledger.store.settlement.alarms import Alarm
from tests import book
from tests.gateway.conftest import Refused, Run
from tests.gateway.hooks import Hook, a_hook
from tests.gateway.nodes import Node, answering
from tests.gateway.test_private_grid import a_credit, work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, OPERATOR, PROVIDER, Running, World, a_signer, code_of
from tests.javascript import NODE

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture
def hook(world: World, gateway: Running, consumer: Signer, other_node: Node) -> Hook:
    """A webhook of a consumer that has paid in."""
    world.deposit(consumer.address, 10**6)
    return a_hook(gateway, consumer, other_node)


def make_due(world: World, hook: Hook) -> None:
    """Let the time pass after which a failed message is sent again."""
    with unit_of_work(world.engine) as session:
        session.execute(update(WebhookRow).values(rests_until=0))
        waiting = update(WebhookMessageRow).where(WebhookMessageRow.status == "waiting")  # type: ignore[arg-type]
        session.execute(waiting.values(next_at=1))


def tell_balances(world: World) -> None:
    """What the worker does now and then."""
    with unit_of_work(world.engine) as session:
        session.execute(update(WebhookRow).values(looked_at=0))
    with unit_of_work(world.engine) as session:
        webhooks.tell_low_balances(session, PRIVATE_LANE, leases.spendable, AIC, now_ms())


def test_a_test_message_arrives_signed_as_the_stock_library_reads_it(hook: Hook) -> None:
    sent = hook.try_it()
    (message,) = hook.got()
    assert (message["type"], message["data"]["webhook"]) == ("test", hook.id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["timestamp"])
    (one,) = hook.receiver.asked
    assert (one.path, one.headers["webhook-id"]) == ("/hook?from=tollway", sent)
    shown = hook.ended(sent)
    assert (shown["status"], shown["attempts"], shown["answer"], shown["error"]) == ("delivered", 1, 200, None)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(hook.secret).verify(one.body + b" ", one.headers)


def test_the_secret_is_shown_once_and_a_reader_of_the_database_has_it_not(world: World, hook: Hook) -> None:
    assert "secret" not in hook.shown()
    with unit_of_work(world.engine) as session:
        (stored,) = hooks.every(session, PRIVATE_LANE)
    secret = targets.secret_of(SecretStr("11" * 32), PRIVATE_LANE, stored)
    assert standardwebhooks.Webhook(secret)._whsecret == standardwebhooks.Webhook(hook.secret)._whsecret
    assert secret not in stored.encrypted
    assert "encrypted" not in repr(stored)


def test_a_changed_secret_of_the_operator_reads_and_renews_the_old_one(world: World, hook: Hook) -> None:
    old, new = "11" * 32, "22" * 32
    with unit_of_work(world.engine) as session:
        (before,) = hooks.every(session, PRIVATE_LANE)
        targets.renew(session, SecretStr(f"{new},{old}"), PRIVATE_LANE)
    with unit_of_work(world.engine) as session:
        (after,) = hooks.every(session, PRIVATE_LANE)
    known = targets.secret_of(SecretStr(old), PRIVATE_LANE, before)
    assert targets.secret_of(SecretStr(new), PRIVATE_LANE, after) == known
    assert after.nonce != before.nonce


def test_a_failed_message_is_sent_again_with_the_same_id(world: World, hook: Hook) -> None:
    hook.receiver.behaviour = answering({}, 500)
    sent, before = hook.try_it(), now_ms()
    failed = hook.ended(sent)
    assert (failed["status"], failed["answer"], failed["error"]) == ("waiting", 500, "it answered 500")
    assert SCHEDULE_MS[0] <= failed["next_at"] - before < SCHEDULE_MS[0] + 20_000
    assert hook.shown()["failing_since"] >= before
    hook.receiver.behaviour = answering({})
    make_due(world, hook)
    eventually(lambda: hook.messages()[0]["status"] == "delivered")
    assert {one.headers["webhook-id"] for one in hook.receiver.asked} == {sent}
    assert len(hook.receiver.asked) == 2
    assert hook.shown()["failing_since"] is None


def test_what_was_taken_and_never_recorded_is_sent_again_with_the_same_id(world: World, hook: Hook) -> None:
    """As when its gateway is killed between the receiver's answer and the record."""
    assert TAKEN_MS > bounds.WEBHOOK_MESSAGES * bounds.WEBHOOK_SECONDS * 1_000
    hook.receiver.behaviour = answering({}, 500)
    sent = hook.try_it()
    hook.ended(sent)
    make_due(world, hook)
    with unit_of_work(world.engine) as session:
        (due,) = hooks.take(session, PRIVATE_LANE, now_ms(), (8, 8))
    assert [one.id for one in due.messages] == [sent]
    with unit_of_work(world.engine) as session:
        assert hooks.take(session, PRIVATE_LANE, now_ms(), (8, 8)) == []
        (again,) = hooks.take(session, PRIVATE_LANE, now_ms() + TAKEN_MS, (8, 8))
        assert [one.id for one in again.messages] == [sent]


def test_a_webhook_that_fails_for_days_is_disabled_and_the_others_are_told(
    world: World, gateway: Running, hook: Hook, consumer: Signer, node: Node
) -> None:
    other = a_hook(gateway, consumer, node, "claim.paid")
    hook.receiver.behaviour = answering({}, 503)
    with unit_of_work(world.engine) as session:
        hooks.change(session, PRIVATE_LANE, hook.id, {"failing_since": now_ms() - 73 * 3_600_000})
    hook.try_it()
    eventually(lambda: not hook.shown()["enabled"])
    assert hook.shown()["disabled_because"] == "nothing was delivered for 72 hours"
    (told,) = other.got()
    assert (told["type"], told["data"]["webhook"]) == ("webhook.disabled", hook.id)
    assert (told["data"]["host"], "from=tollway" in json.dumps(told)) == ("127.0.0.1", False)
    refused = hook.http.post(f"/v1/webhooks/{hook.id}/test")
    assert (refused.status_code, code_of(refused.json())) == (409, "webhook_disabled")
    hook.receiver.behaviour = answering({})
    assert hook.http.patch(f"/v1/webhooks/{hook.id}", json={"enabled": True}).json()["enabled"]
    sent = hook.try_it()
    assert hook.ended(sent)["status"] == "delivered"


def test_a_receiver_that_says_it_is_gone_is_sent_nothing_more(hook: Hook) -> None:
    hook.receiver.behaviour = answering({}, 410)
    sent = hook.try_it()
    eventually(lambda: not hook.shown()["enabled"])
    assert hook.ended(sent)["status"] == "failed"
    assert hook.shown()["disabled_because"] == "its receiver answered 410, gone"


def test_a_low_balance_is_told_when_it_falls_and_again_when_it_falls_again(
    world: World, gateway: Running, consumer: Signer, other_node: Node
) -> None:
    world.deposit(consumer.address, 1_000)
    gateway.key(consumer)
    hook = a_hook(gateway, consumer, other_node, "balance.low", threshold="950")
    key = gateway.key(consumer, 10**13)
    tell_balances(world)
    assert hook.messages() == []
    assert gateway.chat(key).status_code == 200  # 115 atoms
    tell_balances(world)
    tell_balances(world)
    (message,) = hook.got()
    page = json.loads(book.shown("docs/webhooks.md", "balance.low").text)
    named = {"account": to_hex(consumer.address), "lane": to_hex(PRIVATE_LANE)}
    assert message == page | {"timestamp": message["timestamp"], "data": page["data"] | named}
    data = message["data"]
    assert (data["spendable"], data["spendable_text"]) == ("885", "0.000000885 AIC")
    assert (data["threshold"], data["threshold_text"]) == ("950", "0.000000950 AIC")
    world.deposit(consumer.address, 1_000)
    tell_balances(world)
    assert len(hook.messages()) == 1
    hook.http.patch(f"/v1/webhooks/{hook.id}", json={"threshold": "5000"})
    tell_balances(world)
    assert [one["data"]["spendable"] for one in hook.got(2)] == ["885", "1885"]


def test_a_reached_budget_is_told_once_however_many_calls_it_refuses(
    world: World, gateway: Running, consumer: Signer, other_node: Node
) -> None:
    world.deposit(consumer.address, 10**6)
    hook = a_hook(gateway, consumer, other_node, "budget.reached")
    key = gateway.key(consumer, budgets=[{"amount": "150", "period": "day"}])
    answers = [gateway.chat(key).status_code for _ in range(4)]
    assert answers == [200, 402, 402, 402]
    (message,) = hook.got()
    data = message["data"]
    assert (message["type"], data["budget"], data["period"]) == ("budget.reached", "150", "day")
    assert (
        data["key"] == gateway.http.get("/v1/keys", headers={"Authorization": f"Bearer {key}"}).json()["data"][0]["id"]
    )
    assert data["resets_at"] % 86_400_000 == 0


def test_a_final_batch_is_told_to_each_payee_with_what_it_earned(
    world: World, gateway: Running, consumer: Signer, node: Node, other_node: Node
) -> None:
    gateway.http.post("/v1/credits", json=a_credit(consumer, 10**6, "for a batch"))
    work(world)
    assert gateway.chat(gateway.key(consumer)).status_code == 200
    work(world, window_ms=10**9)
    provider, maker = (a_hook(gateway, one, other_node, "batch.final") for one in (PROVIDER, MAKER))
    stranger = a_hook(gateway, consumer, node, "batch.final")
    work(world, now=now_ms() + 2 * 10**9)
    work(world, now=now_ms() + 2 * 10**9)
    eventually(lambda: [len(one.messages()) for one in (provider, maker)] == [1, 1])
    told = [json.loads(one.messages()[0]["body"])["data"] for one in (provider, maker)]
    earned = told[0]["earned"]
    assert told[0] == {
        "payee": to_hex(PROVIDER.address),
        "lane": to_hex(PRIVATE_LANE),
        "batch": 1,
        "header": told[1]["header"],
        "earned": earned,
        "earned_text": f"0.{int(earned):09d} AIC",
        "roles": [{"role": "compute", "earned": earned, "earned_text": f"0.{int(earned):09d} AIC"}],
    }
    for payee, said in ((PROVIDER, told[0]), (MAKER, told[1])):
        shown = gateway.of(payee).get(f"/v1/earnings/{to_hex(payee.address)}").json()
        assert said["earned"] == shown["earned"] != "0"
    assert stranger.messages() == []


HERE = "http://127.0.0.1:9/"
NO_WEBHOOKS: list[tuple[dict[str, Any], int, str]] = [
    ({"url": "http://example.com/"}, 400, "invalid_url"),
    ({"url": "ftp://example.com/"}, 400, "invalid_url"),
    ({"url": "https://user:secret@example.com/"}, 400, "invalid_url"),
    ({"url": "https://example.com/#x"}, 400, "invalid_url"),
    ({"url": "https://a b/"}, 400, "invalid_url"),
    ({"url": "https://example.com:port/"}, 400, "invalid_url"),
    ({"url": "https://nowhere.invalid/"}, 400, "invalid_url"),
    ({"url": HERE, "events": []}, 422, "invalid_request"),
    ({"url": HERE, "events": ["all"]}, 422, "invalid_request"),
    ({"url": HERE, "events": ["balance.low"]}, 400, "invalid_request"),
    ({"url": HERE, "events": ["alarm.sounded"]}, 403, "not_allowed"),
    ({"url": HERE + "x" * 512}, 422, "invalid_request"),
]


def test_what_no_webhook_can_be_is_refused_with_the_reason(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 1)
    for body, status, code in NO_WEBHOOKS:
        refused = gateway.of(consumer).post("/v1/webhooks", json={"events": ["batch.final"], **body})
        assert (refused.status_code, code_of(refused.json())) == (status, code), (body, refused.text)
        assert "secret@" not in refused.text


def test_an_account_has_at_most_eight_webhooks_and_none_before_it_has_paid_in(
    world: World, gateway: Running, consumer: Signer, other_node: Node
) -> None:
    body = {"url": other_node.url, "events": ["batch.final"]}
    refused = gateway.of(consumer).post("/v1/webhooks", json=body)
    assert (refused.status_code, code_of(refused.json())) == (403, "unknown_account")
    world.deposit(consumer.address, 1)
    made = [gateway.of(consumer).post("/v1/webhooks", json=body).status_code for _ in range(9)]
    assert made == [201] * 8 + [409]


def test_a_key_that_manages_may_and_others_may_not(
    world: World, gateway: Running, hook: Hook, consumer: Signer
) -> None:
    managing = gateway.of(consumer).post("/v1/keys", json={"rights": ["manage"]}).json()["key"]
    plain = gateway.of(consumer).post("/v1/keys", json={}).json()["key"]
    shown = {
        name: gateway.http.get("/v1/webhooks", headers={"Authorization": f"Bearer {key}"})
        for name, key in (("managing", managing), ("plain", plain))
    }
    assert [one["id"] for one in shown["managing"].json()["data"]] == [hook.id]
    assert (shown["plain"].status_code, code_of(shown["plain"].json())) == (403, "not_allowed")


def test_another_accounts_webhook_is_as_if_it_were_not_there(world: World, gateway: Running, hook: Hook) -> None:
    stranger = a_signer("stranger to webhooks")
    world.deposit(stranger.address, 1)
    other = gateway.of(stranger)
    path = f"/v1/webhooks/{hook.id}"
    tried = [
        other.patch(path, json={"url": hook.receiver.url}),
        other.delete(path),
        other.post(f"{path}/test"),
        other.get(f"{path}/messages"),
    ]
    assert [(one.status_code, code_of(one.json())) for one in tried] == [(404, "no_such_webhook")] * 4
    assert other.get("/v1/webhooks").json()["data"] == []
    assert [gateway.http.get("/v1/webhooks").status_code, gateway.http.delete(path).status_code] == [401, 401]
    assert hook.shown()["enabled"]


def test_a_deleted_webhook_is_sent_nothing_and_leaves_no_row(world: World, hook: Hook) -> None:
    hook.ended(hook.try_it())
    assert hook.http.delete(f"/v1/webhooks/{hook.id}").json()["deleted"]
    with world.engine.connect() as connection:
        for table in ("webhooks", "webhook_messages", "webhook_conditions"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0


def test_a_webhook_is_tried_ten_times_a_minute_at_most(hook: Hook) -> None:
    for _ in range(10):
        hook.try_it()
    refused = hook.http.post(f"/v1/webhooks/{hook.id}/test")
    assert (refused.status_code, code_of(refused.json())) == (429, "rate_limited")


def test_an_alarm_is_told_to_the_operator_who_chose_it(world: World, gateway: Running, other_node: Node) -> None:
    hook = a_hook(gateway, OPERATOR, other_node, "alarm.sounded", "challenge.opened")
    assert hook.shown()["events"] == ["alarm.sounded", "challenge.opened"]
    with unit_of_work(world.engine) as session:
        webhooks.tell_alarms(session, PRIVATE_LANE, [Alarm("L1", "it is short")], [], now_ms())
    (message,) = hook.got()
    assert (message["type"], message["data"]["name"], message["data"]["message"]) == (
        "alarm.sounded",
        "L1",
        "it is short",
    )


def test_an_account_asks_for_few_tests_a_day_whichever_webhooks_it_has(
    gateway: Running, hook: Hook, consumer: Signer, other_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TESTS_A_DAY == 100
    monkeypatch.setattr(gateway.gateway.outbox, "tests", Rates(2, seconds=86_400))
    hook.try_it()
    hook.http.delete(f"/v1/webhooks/{hook.id}")
    other = a_hook(gateway, consumer, other_node)
    other.try_it()
    refused = other.http.post(f"/v1/webhooks/{other.id}/test")
    assert (refused.status_code, code_of(refused.json()), refused.headers["retry-after"]) == (
        429,
        "rate_limited",
        "864",
    )


def test_a_gateway_without_a_secret_keeps_no_webhooks(world: World, consumer: Signer, other_node: Node) -> None:
    world.deposit(consumer.address, 1)
    gateway = world.gateway(secret=None)
    body = {"url": other_node.url, "events": ["batch.final"]}
    refused = gateway.of(consumer).post("/v1/webhooks", json=body)
    assert (refused.status_code, code_of(refused.json())) == (400, "no_secret")


def test_the_snippets_of_the_book_take_what_is_signed_and_nothing_else(hook: Hook, tmp_path: Path) -> None:
    hook.try_it()
    (message,) = hook.got()
    (one,) = hook.receiver.asked
    names = {name: one.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    body, later = one.body.decode(), {**names, "webhook-timestamp": str(int(names["webhook-timestamp"]) - 301)}
    sent = [(body, names), (body.replace("test", "tset"), names), (body, later), (body, {**names, "webhook-id": "x"})]

    def received(receive: Any) -> list[Any]:
        found = []
        for body, headers in sent:
            with suppress(standardwebhooks.WebhookVerificationError):
                found.append(receive(hook.secret, body, headers))
        return found

    known: dict[str, Any] = {}
    exec(book.typed("docs/webhooks.md", "from standardwebhooks").text, known)
    assert received(known["receive"]) == [message]
    script, javascript = tmp_path / "receive.mjs", book.typed("docs/webhooks.md", "timingSafeEqual(said").text
    script.write_text(
        f"{javascript}\nconst took = [];\nfor (const [body, headers] of {json.dumps(sent)})"
        f" try {{ took.push(receive({json.dumps(hook.secret)}, body, headers)); }} catch {{}}\n"
        "console.log(JSON.stringify(took));\n"
    )
    ended = subprocess.run([str(NODE), str(script)], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [message]


def test_every_event_is_in_the_book_and_in_openapi() -> None:
    rows = set(re.findall(r"^\| `([a-z.]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert rows == set(Kind)
    assert set(get_args(WebhookEvent)) == set(CHOICES)


def test_the_command_line_makes_tries_changes_and_deletes_webhooks(
    world: World, run: Run, refused: Refused, other_node: Node
) -> None:
    world.deposit(a_signer("alice").address, 1)
    made = run(f"webhook make {other_node.url}/x --threshold 5 -w alice")
    assert made["events"] == ["balance.low", "batch.final", "claim.paid"]
    assert (made["threshold"], made["secret"][:6]) == ("5000000000", "whsec_")
    sent = run(f"webhook test {made['id']} -w alice")
    assert (sent["status"], sent["answer"]) == ("delivered", 200)
    assert [one["id"] for one in run(f"webhook messages {made['id']} -w alice")] == [sent["id"]]
    assert not run(f"webhook change {made['id']} --disable --event claim.paid -w alice")["enabled"]
    (listed,) = run("webhook list -w alice")
    assert (listed["events"], listed["threshold"]) == (["claim.paid"], None)
    assert "--enable" in refused(f"webhook test {made['id']} -w alice")["remedy"]
    assert "balance.low" in refused("webhook make https://example.com --event money -w alice")["error"]
    page = book.typed("docs/webhooks.md", "tollway webhook make")
    make, *others = page.with_({"https://example.com/tollway": f"{other_node.url}/x"}).lines
    id = run(make.removeprefix("tollway "))["id"]
    tried, messages = (run(line.removeprefix("tollway ").replace("hook_1f9a", id)) for line in others)
    assert [one["id"] for one in messages] == [tried["id"]]
    run(f"webhook delete {id} -w alice")
    assert run(f"webhook delete {made['id']} -w alice")["deleted"]
    assert run("webhook list -w alice") == []
