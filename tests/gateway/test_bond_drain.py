"""A weaver's bond cannot be drained: who buys a workflow that fails, and serves a step of it, earns no more by that
than one call.
"""

from __future__ import annotations

import pytest

from ledger.core.values.ids import cid
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Wire
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import WEAVER, a_signer

STEP = 1_000
"""What the attacker's own step asks: it serves nothing for it."""
FAILS = "fail"


async def saying(asked: Asked, wire: Wire) -> None:
    """The attacker's paid node: it only says on what it is told."""
    await inferring(FAILS if FAILS in asked.body.decode() else "fine")(asked, wire)


async def failing_if_told(asked: Asked, wire: Wire) -> None:
    """A node of the attacker's that ends the workflow when the consumer says so."""
    if FAILS in asked.body.decode():
        wire.die()
    else:
        await inferring("joy")(asked, wire)


@pytest.fixture
def woven(loom: Loom) -> str:
    """A workflow that promises all or nothing, whose steps the attacker serves: the first one is paid."""
    first = loom.classifier("first", saying, str(STEP))
    last = loom.classifier("last", failing_if_told, "1")
    steps = pinned("a", first, {"text": LAST}), pinned("b", last, {"text": "$steps.a.output.label"})
    return cid(loom.capsule(*steps, output={"label": "$steps.b.output.label"}))


def bond_paid(loom: Loom) -> int:
    """What the weaver's bond has paid so far."""
    return sum(one.receipt.charge for one in loom.world.receipts_of(WEAVER.address))


def test_a_consumer_that_serves_a_step_drains_no_bond(loom: Loom, woven: str, consumer: Signer) -> None:
    key = loom.consumer(consumer)
    answers = [loom.gateway.chat(key, model=woven, text=FAILS) for _ in range(10)]
    assert {one.json()["error"]["code"] for one in answers} == {"workflow_failed"}
    assert [int(one.json()["error"]["charge"]) > STEP for one in answers] == [False] + [True] * 9
    assert STEP < bond_paid(loom) < 2 * STEP, "one call"
    assert "the weaver's bond" in answers[-1].json()["error"]["message"]


def test_ten_accounts_drain_no_bond_either(loom: Loom, woven: str) -> None:
    for number in range(10):
        key = loom.consumer(a_signer(f"one of ten {number}"))
        assert loom.gateway.chat(key, model=woven, text=FAILS).status_code in (409, 502)
    assert STEP < bond_paid(loom) < 2 * STEP


def test_the_bond_pays_again_once_the_weaver_was_paid_as_much(loom: Loom, woven: str, consumer: Signer) -> None:
    key = loom.consumer(consumer)

    def charge(text: str) -> int:
        answer = loom.gateway.chat(key, model=woven, text=text)
        return 0 if answer.status_code == 200 else int(answer.json()["error"]["charge"])

    assert charge(FAILS) == 0
    assert charge(FAILS) > 0
    for _ in range(10):  # its line is a tenth of the price
        charge("fine")
    before = bond_paid(loom)
    assert charge(FAILS) == 0
    assert bond_paid(loom) > before
    assert charge(FAILS) > 0
