"""Budgets of keys that begin anew, of one model, and of keys made of keys: at the gateway, to the atom."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlmodel import select

from gateway.payment.auth import Caller
from gateway.payment.lane import LaneState
from ledger.core.accounts.budgets import DAY_MS, Allowance
from ledger.core.values.ids import cid
from ledger.core.values.typed_data import Signer
from ledger.store.access.tables import KeyAllowanceRow
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World

PRICE, HOLD = 115, 115
"""What a call of `@acme/chat` costs, and what is held for it: its maker takes a share of 100 atoms a call."""


@pytest.fixture
def rich(world: World, consumer: Signer) -> Signer:
    world.deposit(consumer.address, 10**9)
    return consumer


def shown(gateway: Running, key: str, **headers: str) -> dict[str, Any]:
    rows = gateway.http.get("/v1/keys", headers={"Authorization": f"Bearer {key}"}).json()["data"]
    found: dict[str, Any] = rows[-1]
    return found


def budgets(*amounts: tuple[int, str | None, str | None]) -> list[dict[str, Any]]:
    return [{"amount": str(amount), "period": period, "model": model} for amount, period, model in amounts]


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_budget_stops_hard_and_begins_anew(
    gateway: Running, rich: Signer, period: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(gateway, monkeypatch)
    key = gateway.key(rich, budgets=budgets((2 * PRICE, period, None)))
    assert [gateway.chat(key).status_code for _ in range(3)] == [200, 200, 402]
    [budget] = shown(gateway, key)["budgets"]
    assert (budget["spent"], budget["left"]) == (str(2 * PRICE), "0")
    clock.go_to(budget["resets_at"] - 60_000)
    assert gateway.chat(key).status_code == 402, "the period's last minute"
    clock.go_to(budget["resets_at"])
    assert [gateway.chat(key).status_code for _ in range(3)] == [200, 200, 402]
    assert shown(gateway, key)["budgets"][0]["starts_at"] == budget["resets_at"]


class Clock:
    """The network's clock, as far ahead of this machine's as a test says. What reads the lane's state finds it."""

    def __init__(self, gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self._state = LaneState()
        monkeypatch.setattr("gateway.payment.lane.read", lambda *_: self._state)
        eventually(lambda: gateway.gateway.lane_state is self._state)

    def go_to(self, at_ms: int) -> None:
        object.__setattr__(self._state, "clock_ms", at_ms - time.time_ns() // 1_000_000)


def test_a_call_counts_in_the_period_that_it_was_held_in(
    gateway: Running, node: Node, rich: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(gateway, monkeypatch)
    key = gateway.key(rich, budgets=budgets((PRICE, "day", None)))
    midnight = shown(gateway, key)["budgets"][0]["resets_at"]
    clock.go_to(midnight - 3_600_000)
    answers = node.behaviour

    async def while_a_day_begins(*given: Any) -> None:
        clock.go_to(midnight + 1)
        await answers(*given)

    node.behaviour = while_a_day_begins
    assert gateway.chat(key).status_code == 200
    node.behaviour = answers
    now = shown(gateway, key)["budgets"][0]
    assert (now["starts_at"], now["spent"], now["left"]) == (midnight, "0", str(PRICE))
    assert [gateway.chat(key).status_code for _ in range(2)] == [200, 402]


def test_a_model_has_a_budget_of_its_own_however_it_is_named(
    world: World, gateway: Running, node: Node, rich: Signer
) -> None:
    world.a_model_at(node.url, "@acme/other")
    first = next(one for one in gateway.gateway.catalog.by_id.values() if one.name == "@acme/chat")
    eventually(lambda: gateway.http.get("/v1/models/@acme/other").status_code == 200)
    key = gateway.key(rich, budgets=budgets((PRICE, None, "@acme/chat"), (3 * PRICE, "day", None)))
    assert gateway.chat(key).status_code == 200
    assert gateway.chat(key, cid(first.id)).status_code == 402
    assert [gateway.chat(key, "@acme/other").status_code for _ in range(3)] == [200, 200, 402]


@pytest.mark.parametrize(
    ("called", "counted"),
    [("@a/b", "@a/b"), ("@a/b@1.0.0", "@a/b"), ("@a/bc", ""), ("@a/c@1.0.0", ""), ("bafkrei", "")],
)
def test_all_versions_of_a_name_count_against_its_budget(called: str, counted: str, consumer: Signer) -> None:
    caller = Caller(consumer.address, budget=Allowance(("key_1",)), models=frozenset({"@a/b"}))
    assert caller.allowance(called, 0) == Allowance(("key_1",), 0, counted)


def test_a_402_says_what_is_needed_left_and_when_it_begins_anew(gateway: Running, rich: Signer) -> None:
    key = gateway.key(rich, budgets=budgets((PRICE - 15, "day", None)))
    refused = gateway.chat(key)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (402, "key_budget_exhausted")
    assert (error["required"], error["available"], error["shortfall"]) == (str(HOLD), str(PRICE - 15), "15")
    assert "may cost 115 atoms" in error["message"]
    assert "has 100 left of its budget of 100 atoms a day until" in error["message"]
    assert "max_tokens" in error["message"]
    assert error["resets_at"] % DAY_MS == 0


def test_what_a_chain_of_keys_spends_counts_against_all_of_them(gateway: Running, rich: Signer) -> None:
    """User, agent, sub-agent: each with a budget of another period."""
    user = gateway.key(rich, budgets=budgets((3 * PRICE, "month", None)), rights=["delegate"])

    def made_by(key: str, *amounts: tuple[int, str | None, str | None]) -> dict[str, Any]:
        body = {"budgets": budgets(*amounts), "rights": ["delegate"]}
        answer = gateway.http.post("/v1/keys", json=body, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 201, answer.text
        row: dict[str, Any] = answer.json()
        return row

    agent = made_by(user, (2 * PRICE, "day", None))
    assert {one["period"] for one in agent["budgets"]} == {"day", "month"}
    sub_agent = made_by(agent["key"], (PRICE, "week", None))
    assert [gateway.chat(sub_agent["key"]).status_code for _ in range(2)] == [200, 402]
    assert [gateway.chat(agent["key"]).status_code for _ in range(2)] == [200, 402], "2 a day, with its sub-agent's"
    assert [gateway.chat(user).status_code for _ in range(2)] == [200, 402], "3 a month, with all below"
    wider = {"budgets": budgets((4 * PRICE, "month", None))}
    refused = gateway.http.post("/v1/keys", json=wider, headers={"Authorization": f"Bearer {user}"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "budgets")


def test_a_key_cannot_lift_its_own_budgets(gateway: Running, rich: Signer) -> None:
    key = gateway.key(rich, budgets=budgets((PRICE, "day", None)))
    id = shown(gateway, key)["id"]
    own = {"Authorization": f"Bearer {key}"}
    others = ((PRICE + 1, "day", None), (PRICE, "week", None), (1, "day", "@acme/chat"))
    for wider in ([], *(budgets(one) for one in others)):
        answer = gateway.http.patch(f"/v1/keys/{id}", json={"budgets": wider}, headers=own)
        assert (answer.status_code, answer.json()["error"]["param"]) == (403, "budgets")
    tighter = {"budgets": budgets((PRICE, "day", None), (9, "week", None))}
    answer = gateway.http.patch(f"/v1/keys/{id}", json=tighter, headers=own)
    assert answer.status_code == 200
    assert gateway.of(rich).patch(f"/v1/keys/{id}", json={"budgets": []}).json()["budgets"] == []
    assert gateway.chat(key).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        [{"amount": "1"}],
        [{"amount": "-1", "period": "day"}],
        [{"amount": "1", "period": "year"}],
        [{"amount": "1", "period": "day"}] * 2,
        [{"amount": "1", "model": "x"}],
        [{"amount": "1", "model": f"@a/{n}"} for n in range(17)],
    ],
)
def test_a_budget_that_cannot_be_is_refused(gateway: Running, rich: Signer, wrong: list[Any]) -> None:
    answer = gateway.of(rich).post("/v1/keys", json={"budgets": wrong})
    assert answer.status_code in (400, 422), answer.text


def test_two_gateways_together_stay_within_a_period(world: World, gateway: Running, rich: Signer) -> None:
    other = world.gateway("gateway-2")
    key = gateway.key(rich, budgets=budgets((6 * PRICE, "day", None)))
    served = sum(one.chat(key).status_code == 200 for _ in range(5) for one in (gateway, other))
    assert served <= 6
    with unit_of_work(world.engine) as session:
        rows = session.exec(select(KeyAllowanceRow)).all()
        assert all(row.day and not row.model for row in rows)
        assert sum(row.spent for row in rows) == served * PRICE


def test_a_plain_key_reads_nothing_more_and_its_allowance_has_no_day(
    world: World, gateway: Running, rich: Signer
) -> None:
    key = gateway.key(rich, budget=str(100 * PRICE))
    assert gateway.chat(key).status_code == 200
    asked: list[str] = []
    engine: Engine = gateway.gateway.leases._engine

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "key_allowances" in statement or "api_keys" in statement:
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert [gateway.chat(key).status_code for _ in range(5)] == [200] * 5
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert [one for one in asked if "last_used_at=" not in one and "FROM api_keys" not in one] == []
    with unit_of_work(world.engine) as session:
        assert [(row.day, row.model) for row in session.exec(select(KeyAllowanceRow))] == [(0, "")]


def test_a_keys_last_use_is_shown(
    world: World, gateway: Running, rich: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = gateway.key(rich)
    assert shown_as_account(gateway, rich)["last_used_at"] is None
    before = time.time_ns() // 1_000_000
    assert gateway.chat(key).status_code == 200
    eventually(lambda: (shown_as_account(gateway, rich)["last_used_at"] or 0) >= before, 30)


def shown_as_account(gateway: Running, account: Signer) -> dict[str, Any]:
    found: dict[str, Any] = gateway.of(account).get("/v1/keys").json()["data"][0]
    return found
