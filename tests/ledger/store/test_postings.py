"""Postings in a real database: once per cause, never overdrawn, balances from entries."""

from collections.abc import Callable
from threading import Thread

import pytest
from sqlalchemy import Engine

from ledger.core.accounts import movements
from ledger.core.accounts.accounts import CUSTODY, available
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import PRIVATE_LANE, Address
from ledger.store.money import postings
from ledger.store.session import unit_of_work

ALICE = Address(b"\xa1" * 20)
GATEWAY = Address(b"\x90" * 20)


def test_a_deposit_is_booked_once_however_often_it_is_told(engine: Engine) -> None:
    deposit = movements.deposit(PRIVATE_LANE, b"log 1", ALICE, 100, at=1)
    with unit_of_work(engine) as session:
        assert postings.book(session, deposit)
    with unit_of_work(engine) as session:
        assert not postings.book(session, deposit)
        assert postings.balances(session, PRIVATE_LANE, [available(ALICE), CUSTODY]) == {
            available(ALICE): 100,
            CUSTODY: 100,
        }
        assert postings.get(session, PRIVATE_LANE, deposit.id) == deposit


def test_the_same_cause_with_another_amount_is_a_conflict(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        postings.book(session, movements.deposit(PRIVATE_LANE, b"log 1", ALICE, 100, at=1))
    with pytest.raises(Conflict, match="other content"), unit_of_work(engine) as session:
        postings.book(session, movements.deposit(PRIVATE_LANE, b"log 1", ALICE, 101, at=2))


def test_an_overdraft_leaves_no_trace(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        postings.book(session, movements.deposit(PRIVATE_LANE, b"log 1", ALICE, 100, at=1))
    with pytest.raises(Rejected, match="short by 1 atoms"), unit_of_work(engine) as session:
        postings.book(session, movements.lease(PRIVATE_LANE, b"lease 1", ALICE, GATEWAY, 101, at=2))
    with unit_of_work(engine) as session:
        assert postings.balance(session, PRIVATE_LANE, available(ALICE)) == 100
        assert [t.kind.value for t in postings.all_transactions(session, PRIVATE_LANE)] == ["deposit"]


def test_racing_leases_never_overdraw_a_deposit(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        postings.book(session, movements.deposit(PRIVATE_LANE, b"log 1", ALICE, 100, at=1))
    refused: list[str] = []

    def lease(number: int) -> Callable[[], None]:
        def work() -> None:
            try:
                with unit_of_work(engine) as session:
                    postings.book(
                        session, movements.lease(PRIVATE_LANE, b"lease %d" % number, ALICE, GATEWAY, 30, at=2)
                    )
            except Rejected as error:
                refused.append(error.message)

        return work

    threads = [Thread(target=lease(number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with unit_of_work(engine) as session:
        assert postings.balance(session, PRIVATE_LANE, available(ALICE)) == 10
    assert len(refused) == 5
