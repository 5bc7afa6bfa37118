"""Leases while they are fetched: other calls hold and settle, and what was leased is neither spent twice nor lost."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.payment.leases import BalanceLeases
from ledger.flows import leases
from tests import builders as b


class SlowLedger:
    """Grants exactly what is needed, when it is told to."""

    def __init__(self) -> None:
        self.granted, self.asked, self.go = 0, threading.Event(), threading.Event()

    def lease(self, session: Session, request: leases.LeaseRequest, now: int) -> tuple[int, leases.Means | None]:
        self.asked.set()
        assert self.go.wait(5)
        self.granted += request.need
        return request.need, None


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> SlowLedger:
    slow = SlowLedger()
    monkeypatch.setattr(leases, "lease", slow.lease)
    return slow


def alices_leases(engine: Engine) -> BalanceLeases:
    """Leases with 1,000 atoms of Alice's."""
    leases = BalanceLeases(engine, b.LANE, b.GATEWAY.address, 0, 60_000)
    leases.adopt({b.ALICE: 1_000})
    return leases


async def filled(leases: BalanceLeases) -> None:
    """Wait until no wallet is being filled ahead."""
    await asyncio.gather(*leases._tasks)


async def test_a_call_held_while_a_lease_is_fetched_stays_held(engine: Engine, ledger: SlowLedger) -> None:
    leases = alices_leases(engine)
    large = asyncio.create_task(leases.hold(b.ALICE, 1_500))
    await asyncio.to_thread(ledger.asked.wait, 5)
    small = await leases.hold(b.ALICE, 600)
    ledger.go.set()
    await large
    await filled(leases)
    assert leases.free(b.ALICE) + leases.outstanding() == 1_000 + ledger.granted
    assert leases.outstanding() == 2_100
    assert small.amount == 600


async def test_a_lease_that_was_adopted_meanwhile_is_not_counted_twice(engine: Engine, ledger: SlowLedger) -> None:
    leases = alices_leases(engine)
    large = asyncio.create_task(leases.hold(b.ALICE, 1_500))
    await asyncio.to_thread(ledger.asked.wait, 5)
    leases.adopt({b.ALICE: 1_000 + 500})  # the receipt log was lost; the holdings include the new lease already
    ledger.go.set()
    await large
    await filled(leases)
    assert leases.free(b.ALICE) + leases.outstanding() == 1_500


async def test_what_a_call_gives_back_while_a_lease_is_fetched_is_not_lost(engine: Engine, ledger: SlowLedger) -> None:
    leases = alices_leases(engine)
    small = await leases.hold(b.ALICE, 600)
    large = asyncio.create_task(leases.hold(b.ALICE, 1_500))
    await asyncio.to_thread(ledger.asked.wait, 5)
    small.settle(100)
    ledger.go.set()
    await large
    await filled(leases)
    assert leases.free(b.ALICE) + leases.outstanding() == 1_000 + ledger.granted - 100


async def test_a_lease_is_returned_even_if_its_wallet_was_filled_just_now(engine: Engine, ledger: SlowLedger) -> None:
    """As when a gateway stops; only the wallet stays until its filling is over."""
    leases = alices_leases(engine)
    ledger.go.set()
    call = await leases.hold(b.ALICE, 600)  # which fills the wallet ahead
    await filled(leases)
    call.settle(100)
    assert leases.free(b.ALICE) == 900 + ledger.granted
    await leases.return_idle(-1.0)
    assert leases.free(b.ALICE) == 0
