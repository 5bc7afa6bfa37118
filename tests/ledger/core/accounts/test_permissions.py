"""Who may do what with an account; until when a key is good, and which models it may call."""

from dataclasses import replace
from typing import Any

import pytest

from ledger.core.accounts.permissions import (
    Act,
    ApiKey,
    Asker,
    Right,
    Subject,
    grant,
    left,
    loosened,
    mandate,
    may,
    may_call,
    refusal,
    sub_key,
)
from ledger.core.values.ids import Address

KEY = ApiKey(b"hash", "key_1", Address(b"\x01" * 20), "mine", created_at=0)


def test_a_key_without_limits_is_good_and_calls_everything() -> None:
    assert refusal([KEY], 10**15) is None
    assert may_call([KEY], "@acme/chat", "bafkre")


def test_a_key_is_good_until_just_before_it_expires() -> None:
    key = replace(KEY, expires_at=1_000)
    assert refusal([key], 999) is None
    assert refusal([key], 1_000) == "this key has expired"


def test_a_revoked_key_is_refused_whenever_it_was_revoked() -> None:
    assert refusal([replace(KEY, revoked_at=0, expires_at=1_000)], 999) == "this key was revoked"
    assert refusal([replace(KEY, revoked_at=2_000)], 999) == "this key was revoked"


def test_a_key_calls_the_models_it_names_by_name_or_as_the_request_does() -> None:
    key = replace(KEY, models=("@acme/chat", "bafkre"))
    assert may_call([key], "@acme/chat", "@acme/chat")
    assert may_call([key], "@other/name", "bafkre")
    assert not may_call([key], "@other/name", "@other/name")
    assert not may_call([replace(KEY, models=())], "@acme/chat", "@acme/chat")


def test_a_key_is_as_good_as_the_worst_key_it_descends_from() -> None:
    fine = replace(KEY, expires_at=2_000, models=("@acme/chat", "@acme/other"))
    assert refusal([fine, replace(KEY, expires_at=1_000)], 1_000) == "this key has expired"
    assert refusal([fine, KEY, replace(KEY, revoked_at=1)], 999) == "this key was revoked"
    assert not may_call([fine, replace(KEY, models=("@acme/chat",))], "@acme/other", "@acme/other")
    assert may_call([fine, replace(KEY, models=("@acme/chat",))], "@acme/chat", "@acme/chat")


OTHER = Address(b"\x02" * 20)
ABOVE = replace(KEY, id="above", rights=(Right.delegate,))
ITSELF = replace(KEY, id="itself", made_by=("top", "above"))
ASKERS = {
    "stranger": None,
    "neighbour": Asker(OTHER),
    "neighbour's key": Asker(OTHER, replace(KEY, id="itself", consumer=OTHER, rights=(Right.manage, Right.delegate))),
    "sibling": Asker(KEY.consumer, replace(KEY, id="sibling", rights=(Right.delegate,))),
    "maker without the right": Asker(KEY.consumer, replace(ABOVE, rights=())),
    "below": Asker(
        KEY.consumer, replace(KEY, id="below", made_by=("top", "above", "itself"), rights=(Right.delegate,))
    ),
    "itself": Asker(KEY.consumer, ITSELF),
    "itself, delegating": Asker(KEY.consumer, replace(ITSELF, rights=(Right.delegate,))),
    "above": Asker(KEY.consumer, ABOVE),
    "top": Asker(KEY.consumer, replace(ABOVE, id="top")),
    "manager": Asker(KEY.consumer, replace(KEY, id="manager", rights=(Right.manage,))),
    "itself, managing": Asker(KEY.consumer, replace(ITSELF, rights=(Right.manage,))),
    "account": Asker(KEY.consumer),
}
ALL = set(Act) - {Act.make_sub_key}
OWN = {Act.read_public, Act.read_receipt, Act.read_key, Act.tighten_key, Act.rotate_key, Act.revoke_key}
OVER = {Act.read_public, Act.read_key, Act.revoke_key}
ALLOWED = {
    "itself": OWN,
    "itself, delegating": OWN | {Act.make_sub_key},
    "above": OVER,
    "top": OVER,
    "manager": ALL,
    "itself, managing": ALL,
    "account": ALL,
}


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("who", ASKERS)
def test_who_may_do_what_with_a_key(who: str, act: Act) -> None:
    subject = Subject(KEY.consumer, ITSELF.id, ITSELF.made_by)
    assert may(ASKERS[who], act, subject) == (act in ALLOWED.get(who, {Act.read_public}))


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("who", ASKERS)
def test_who_may_do_what_with_an_account(who: str, act: Act) -> None:
    ruling = ("manager", "itself, managing", "account")
    assert may(ASKERS[who], act, Subject(KEY.consumer)) == (act in (ALL if who in ruling else {Act.read_public}))


LIMITED = replace(KEY, budget=10, rate=10, expires_at=10, models=("a", "b"), rights=(Right.delegate,))


@pytest.mark.parametrize(
    ("change", "looser"),
    [
        ({}, None),
        ({"label": "other"}, None),
        ({"budget": 9, "rate": 9, "expires_at": 9, "models": ("b",), "rights": ()}, None),
        ({"models": ()}, None),
        ({"budget": 11}, "budget"),
        ({"budget": None}, "budget"),
        ({"rate": 11}, "rate"),
        ({"rate": None}, "rate"),
        ({"expires_at": 11}, "expires_at"),
        ({"expires_at": None}, "expires_at"),
        ({"models": ("a", "c")}, "models"),
        ({"models": None}, "models"),
        ({"rights": (Right.delegate, Right.manage)}, "rights"),
    ],
)
def test_a_limit_is_tightened_or_loosened(change: dict[str, Any], looser: str | None) -> None:
    assert loosened(LIMITED, replace(LIMITED, **change)) == looser
    assert loosened(KEY, replace(KEY, **{name: value for name, value in change.items() if name != "rights"})) is None


def test_a_sub_key_takes_what_is_left_where_it_names_nothing() -> None:
    parent = replace(LIMITED, id="above", made_by=("top",), spent=4)
    outer = left([parent, replace(KEY, id="top", budget=100, spent=97)])
    assert outer.budget == 3, "the key above it has less"
    made = sub_key(outer, replace(KEY, id="new", rate=5, rights=(Right.delegate,)))
    assert made == replace(LIMITED, id="new", budget=3, rate=5, made_by=("top", "above"))
    assert loosened(outer, made) is None
    assert left([replace(LIMITED, spent=11)]).budget == 0
    assert left([KEY, KEY]).budget is None


def test_a_gateway_is_granted_its_target_up_to_a_quarter_of_what_is_left_but_its_need() -> None:
    assert grant(1_000, need=10, target=200) == 200
    assert grant(1_000, need=10, target=300) == 250
    assert grant(1_000, need=600, target=300) == 600
    assert grant(1_000, need=1_000, target=1_000) == 1_000
    assert grant(1_000, need=1_001, target=2_000) == 0


@pytest.mark.parametrize(
    ("cum_max", "debit_at_exit", "paid_in", "most"),
    [
        (0, 0, 0, 0),
        (150, 0, 0, 150),
        (0, 0, 70, 70),
        (0, 100, 30, 130),
        (101, 100, 30, 131),
        (99, 100, 30, 130),
    ],
)
def test_a_mandate_is_the_higher_of_voucher_and_exit_and_what_was_paid_since(
    cum_max: int, debit_at_exit: int, paid_in: int, most: int
) -> None:
    """The numbers of contracts/test/Questions.t.sol."""
    assert mandate(cum_max, debit_at_exit, paid_in) == most
