"""Budgets of referrals and slots: shared by gateways, never passed together, not used up by calls that never end."""

from __future__ import annotations

from sqlalchemy import Engine

from ledger.core.values.ids import PRIVATE_LANE, Digest
from ledger.flows.receipt_log import tail_of
from ledger.store.receipts import referral_budgets as budgets
from ledger.store.receipts.appender import Appender
from ledger.store.receipts.referral_budgets import Claim
from ledger.store.session import unit_of_work
from tests.gateway.test_receipt_log import SIGNER, a_draft, write

BUDGET = Digest(b"\x0b" * 32)


def a_claim(call: int, amount: int = 1, until: int = 100) -> Claim:
    """What a call takes of a budget of 3."""
    return Claim(PRIVATE_LANE, Digest(call.to_bytes(32, "big")), BUDGET, amount, 3, until)


def take(engine: Engine, claim: Claim, before: int = 0, now: int = 1) -> bool:
    with unit_of_work(engine) as session:
        return budgets.take(session, claim, lambda: before, now)


def used(engine: Engine) -> int:
    with unit_of_work(engine) as session:
        return budgets.used(session, PRIVATE_LANE, [BUDGET])[BUDGET]


def end(engine: Engine, call: int, *, paid: bool) -> None:
    with unit_of_work(engine) as session:
        budgets.end(session, PRIVATE_LANE, BUDGET, Digest(call.to_bytes(32, "big")), paid=paid)


def test_a_budget_is_never_passed_and_what_was_used_before_counts(engine: Engine) -> None:
    assert [take(engine, a_claim(call), before=1) for call in (1, 2, 3)] == [True, True, False]
    assert take(engine, a_claim(1), before=9), "the same call again changes nothing"
    assert used(engine) == 3


def test_what_is_paid_stays_used_and_the_rest_is_given_back_once(engine: Engine) -> None:
    assert take(engine, a_claim(1, 2))
    assert take(engine, a_claim(2))
    for _ in range(2):
        end(engine, 1, paid=False)
        end(engine, 2, paid=True)
    assert used(engine) == 1


def test_the_claim_of_a_gateway_that_died_ends_at_its_time(engine: Engine, postgres_url: str) -> None:
    assert take(engine, a_claim(1, 2))
    assert take(engine, a_claim(2))
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE)
    write(appender, tail_of(appender), [(a_draft(2),)])
    appender.close()
    assert not take(engine, a_claim(3, 2), now=99)
    assert take(engine, a_claim(3, 2, until=200), now=100), "of the first call there is no receipt"
    assert not take(engine, a_claim(4), now=100), "of the second there is one"
    assert used(engine) == 3
