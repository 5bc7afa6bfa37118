"""What webhooks are told: once for each cause, in the transaction of the cause, whatever the chain does afterwards."""

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger import tasks
from ledger.context import Context
from ledger.core.accounts.budgets import DAY_MS
from ledger.core.accounts.webhooks import KEPT_MS, Event, Kind, Webhook
from ledger.core.settlement import events
from ledger.core.settlement.troubles import Trouble
from ledger.core.values.atoms import AIC
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.flows import webhooks
from ledger.store.access import webhooks as hooks
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, troubles
from ledger.store.settlement.alarms import Alarm
from tests import builders as b
from tests.conftest import settings_for
from tests.fakechain import FakeChain
from tests.ledger.flows.test_indexer import DEPOSIT, index, see

CLAIM = events.Claimed(b.LANE, 3, b.MAKER, 100)
QUESTION = Digest(b"\x09" * 32)
ASKED = events.WordsAsked(b.LANE, 3, QUESTION, Digest(b"\x08" * 32), 1, 0, 0, b.BOB, 99)


def a_hook(engine: Engine, account: Address, *kinds: Kind, threshold: int | None = None) -> Webhook:
    """A webhook of an account's, stored."""
    name = f"hook_{account.hex()[-6:]}_{len(kinds)}"
    made = Webhook(name, account, "https://example.com/", kinds, threshold, b"n", b"e", 1)
    with unit_of_work(engine) as session:
        assert hooks.add(session, b.LANE, made)
    return made


def told(engine: Engine, hook: Webhook) -> list[Any]:
    """The data of a webhook's messages, the oldest first."""
    with unit_of_work(engine) as session:
        return [json.loads(one.body)["data"] for one in reversed(hooks.recent(session, b.LANE, hook.id, 99))]


def test_a_claim_that_the_chain_brings_again_is_told_once(engine: Engine) -> None:
    theirs, others = a_hook(engine, b.MAKER, Kind.claim_paid), a_hook(engine, b.BOB, Kind.claim_paid)
    chain, same = FakeChain(), keccak256(b"the same transaction")
    see(engine, chain, DEPOSIT)
    with unit_of_work(engine) as session:
        b.earn(session, b.ALICE, b.MAKER, 120)
    see(engine, chain, CLAIM, transaction=same)
    chain.fork(1)
    chain.mine()
    see(engine, chain, CLAIM, transaction=same)
    index(engine, chain)
    (data,) = told(engine, theirs)
    assert data == {
        "payee": to_hex(b.MAKER),
        "lane": to_hex(b.LANE),
        "amount": "100",
        "amount_text": "0.000000100 AIC",
        "transaction": to_hex(same),
    }
    assert told(engine, others) == []


def test_a_question_is_told_to_whom_the_lane_is(engine: Engine) -> None:
    hook = a_hook(engine, b.OPERATOR, Kind.challenge_opened, Kind.alarm_sounded)
    chain = FakeChain()
    see(engine, chain, ASKED, replace(ASKED, lane=b.OTHER_LANE))
    (data,) = told(engine, hook)
    assert data["question"] == to_hex(QUESTION)
    assert (data["about"], data["onchain_id"], data["deadline"]) == ("words of a tree", 3, 99_000)


def test_an_alarm_is_told_when_it_begins_and_again_when_it_comes_back(engine: Engine) -> None:
    hook = a_hook(engine, b.OPERATOR, Kind.alarm_sounded)
    law, late = Alarm("L1", "it is short"), Trouble("posting_late", "since 2 min", "start a worker")

    def look(sounded: list[Alarm], found: list[Trouble], now: int) -> int:
        with unit_of_work(engine) as session:
            return webhooks.tell_alarms(session, b.LANE, sounded, found, now)

    assert look([law], [late], 1) == 2
    assert look([law], [replace(late, message="since 3 min")], 2) == 0
    assert look([law], [], 3) == 0
    assert look([law], [late], 4) == 1
    assert sorted(one["name"] for one in told(engine, hook)) == ["L1", "posting_late", "posting_late"]


def test_balances_are_looked_at_a_few_at_a_time_each_in_its_turn(engine: Engine) -> None:
    made = [a_hook(engine, b.an_address(n), Kind.balance_low, threshold=5) for n in range(webhooks.AT_ONCE + 10)]
    seen: list[Address] = []

    def look(now: int) -> int:
        with unit_of_work(engine) as session:
            return webhooks.tell_low_balances(session, b.LANE, lambda _, __, who: seen.append(who) or 9, AIC, now)  # type: ignore[func-returns-value]

    assert [look(10**6) for _ in range(3)] == [webhooks.AT_ONCE, 10, 0]
    assert sorted(seen) == sorted(hook.account for hook in made)


def test_old_messages_are_forgotten_and_what_waits_untried_is_an_alarm(engine: Engine) -> None:
    hook = a_hook(engine, b.OPERATOR, Kind.alarm_sounded)
    with unit_of_work(engine) as session:
        webhooks.tell_alarms(session, b.LANE, [Alarm("L1", "it is short")], [], 1_000)
    with unit_of_work(engine) as session:
        assert troubles.read(session, b.LANE, 60_000, 500_000).unsent == 499_000
        hooks.take(session, b.LANE, 500_000, (8, 8))
    with unit_of_work(engine) as session:
        assert troubles.read(session, b.LANE, 60_000, 600_000).unsent == 0
        assert webhooks.forget(session, b.LANE, KEPT_MS + 1_000) == 0
        assert webhooks.forget(session, b.LANE, KEPT_MS + 1_001) == 1
    assert told(engine, hook) == []


def test_messages_that_somebody_asked_for_are_kept_for_a_day(engine: Engine) -> None:
    hook = a_hook(engine, b.MAKER, Kind.claim_paid)
    with unit_of_work(engine) as session:
        for kind in (Kind.test, Kind.claim_paid):
            hooks.write_to(session, b.LANE, hook, Event(kind, b.MAKER, kind.encode(), {"of": kind}), 1_000)
        assert webhooks.forget(session, b.LANE, DAY_MS + 1_000) == 0
        assert webhooks.forget(session, b.LANE, DAY_MS + 1_001) == 1
    assert [one["of"] for one in told(engine, hook)] == ["claim.paid"]


def test_the_workers_task_tells_of_an_alarm_and_of_a_balance(
    engine: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "here", lambda: Context(settings_for(postgres_url, lane=to_hex(b.LANE))))
    hook = a_hook(engine, b.OPERATOR, Kind.alarm_sounded, Kind.balance_low, threshold=5)
    with unit_of_work(engine) as session:
        alarms.sound(session, b.LANE, Alarm("L1", "it is short"), 1)
    for _ in range(2):
        tasks.tell.run()
    assert {one.get("name", one.get("spendable")) for one in told(engine, hook)} == {"L1", "0"}
    assert len(told(engine, hook)) == 2
