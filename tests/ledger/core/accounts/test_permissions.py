"""What a key may do: until when it is good, and which models it may call."""

from dataclasses import replace

import pytest

from ledger.core.accounts.permissions import ApiKey, grant, mandate, may_call, refusal
from ledger.core.values.ids import Address

KEY = ApiKey(b"hash", "key_1", Address(b"\x01" * 20), "mine", created_at=0)


def test_a_key_without_limits_is_good_and_calls_everything() -> None:
    assert refusal(KEY, 10**15) is None
    assert may_call(KEY, "@acme/chat", "bafkre")


def test_a_key_is_good_until_just_before_it_expires() -> None:
    key = replace(KEY, expires_at=1_000)
    assert refusal(key, 999) is None
    assert refusal(key, 1_000) == "this key has expired"


def test_a_revoked_key_is_refused_whenever_it_was_revoked() -> None:
    assert refusal(replace(KEY, revoked_at=0, expires_at=1_000), 999) == "this key was revoked"
    assert refusal(replace(KEY, revoked_at=2_000), 999) == "this key was revoked"


def test_a_key_calls_the_models_it_names_by_name_or_as_the_request_does() -> None:
    key = replace(KEY, models=("@acme/chat", "bafkre"))
    assert may_call(key, "@acme/chat", "@acme/chat")
    assert may_call(key, "@other/name", "bafkre")
    assert not may_call(key, "@other/name", "@other/name")
    assert not may_call(replace(KEY, models=()), "@acme/chat", "@acme/chat")


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
