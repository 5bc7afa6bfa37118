"""The battery in small: outcomes of every kind, and the judge of all outcomes, who must see each of the faults."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from ledger.core.receipts.receipt import EndReason
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.store.receipts.receipts import Signed
from tests import builders as b
from tests.attacks.battery import driver
from tests.attacks.battery.clients import Heard
from tests.attacks.battery.kinds import KINDS
from tests.attacks.battery.verdict import FREE, PART, WHOLE, WINDOW, Facts, classify

GATEWAY, OTHER = Address(b"\x6a" * 20), Address(b"\x6b" * 20)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="has an address of 127.0.0.0/8 for each outcome, as Linux has them")
def test_no_outcome_is_charged_twice_or_without_an_answer() -> None:
    judged = driver.run(100, "tests")
    assert judged.differences == []
    assert {kind: sum(row.values()) for kind, row in judged.table.items() if not row} == {}
    assert set(judged.table) == {kind.name for kind in KINDS}
    assert judged.kills > 0
    assert judged.resets > 0
    assert judged.paid_atoms == judged.charged_atoms > 0


def a_receipt(end: EndReason = EndReason.normal) -> Signed:
    """Of the gateway, for 115 atoms, written at 1,000 ms."""
    receipt = b.a_receipt(1, gateway=GATEWAY, ended_at=1_000)._replace(end=end, charge=115)
    return Signed(receipt, ZERO_DIGEST, bytes(65), None)


def some_facts(**more: Any) -> Facts:
    """An outcome under way from 500 to 2,000 ms."""
    plain = Facts(1, "a kind", Heard.whole, frozenset(), (a_receipt(),), began=500, ended=2_000)
    return replace(plain, **more)


KILLED_AFTER, KILLED_BEFORE = {GATEWAY: [1_001]}, {GATEWAY: [999]}


@pytest.mark.parametrize(
    ("facts", "place"),
    [
        (some_facts(), WHOLE),
        (some_facts(told=frozenset({115})), WHOLE),
        (some_facts(heard=Heard.part, receipts=(a_receipt(EndReason.client_abort),)), PART),
        (some_facts(heard=Heard.nothing, receipts=()), FREE),
        (some_facts(heard=Heard.part, receipts=(), kills=KILLED_AFTER), FREE),
        (some_facts(heard=Heard.nothing, unkept=True, kills=KILLED_AFTER), WINDOW),
        (some_facts(heard=Heard.part, unkept=True, kills=KILLED_AFTER), WINDOW),
    ],
)
def test_an_outcome_that_is_as_it_ought_to_be_is_counted(facts: Facts, place: str) -> None:
    assert classify(facts) == (place, "")


@pytest.mark.parametrize(
    "facts",
    [
        some_facts(receipts=(a_receipt(), a_receipt())),
        some_facts(receipts=()),
        some_facts(heard=Heard.part, receipts=()),
        some_facts(told=frozenset({114})),
        some_facts(told=frozenset({115, 0})),
        some_facts(heard=Heard.nothing),
        some_facts(heard=Heard.part),
        some_facts(heard=Heard.nothing, receipts=(a_receipt(EndReason.client_abort),)),
        some_facts(heard=Heard.nothing, unkept=True),
        some_facts(heard=Heard.nothing, unkept=True, kills=KILLED_BEFORE),
        some_facts(heard=Heard.nothing, unkept=True, kills={OTHER: [1_001]}),
        some_facts(heard=Heard.nothing, unkept=True, kills={GATEWAY: [2_001]}),
        some_facts(heard=Heard.nothing, kills=KILLED_AFTER),
        some_facts(heard=Heard.nothing, receipts=(), unkept=True),
    ],
)
def test_an_outcome_that_is_not_is_a_difference(facts: Facts) -> None:
    assert classify(facts)[1]
