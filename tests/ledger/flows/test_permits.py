"""Permits of `upto` as the worker sees them: judged once, counted together, settled from their call's receipt alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.event import listen, remove
from sqlmodel import Session

from ledger import operate
from ledger.core.accounts.permits import (
    HAS_CODE,
    MOST_REVERTED,
    MOST_SENT,
    PROXY,
    SETTLE_GAS,
    SETTLE_SECONDS,
    Means,
    Permit,
    Status,
    judge,
)
from ledger.core.settlement import transactions as intents
from ledger.core.settlement.events import Block
from ledger.core.settlement.transactions import ChainTransaction, Mined
from ledger.core.values.errors import Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.flows import publications
from ledger.flows import transactions as sending
from ledger.flows.x402 import permits
from ledger.store.access import deposits
from ledger.store.access import permits as store
from ledger.store.access.deposits import DepositRequest
from ledger.store.access.permits import StoredPermit
from ledger.store.chain import chain_time
from ledger.store.session import connection_of, unit_of_work
from ledger.store.settlement import transactions
from tests import book
from tests import builders as b
from tests.fakechain import SENDER, FakeChain
from tests.gateway.upto import Tokens

PAYER, WALLET, TOKEN = (Address(bytes((number,)) * 20) for number in (0xAA, 0xBB, 0xCC))
ADVANCER = b.ALICE
MOST = 100_000
REVERTED = "it reverted on chain"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


def a_permit(number: int, tokens: Tokens, amount: int = MOST, payer: Address = PAYER) -> StoredPermit:
    """A permit for the call of the builders' receipt of this number."""
    deadline = tokens.block().timestamp + 1_000
    permit = Permit(payer, WALLET, SENDER, TOKEN, amount, 0, deadline, Digest(number.to_bytes(32, "big")))
    call = b.a_receipt(number).call_id
    return StoredPermit(b.LANE, permit, b"\x01" * 65, ADVANCER, call, Digest(keccak256(call)))


def store_all(engine: Engine, *asked: StoredPermit) -> None:
    with unit_of_work(engine) as session:
        for one in asked:
            assert publications.permit(session, one, 1)


def check(engine: Engine, tokens: Tokens, now: int = 1) -> int:
    with unit_of_work(engine) as session:
        return permits.check(session, b.LANE, tokens.as_chain, SENDER, now)


def settle(engine: Engine, tokens: Tokens, now: int = 1) -> tuple[int, int, int]:
    """A sweep: charges noted, transactions followed, settlements intended."""
    with unit_of_work(engine) as session:
        noted = permits.note_charged(session, b.LANE)
    with unit_of_work(engine) as session:
        followed = permits.follow(session, b.LANE)
    with unit_of_work(engine) as session:
        return noted, followed, permits.settle(session, b.LANE, tokens.as_chain, SENDER, now)


def charge(engine: Engine, number: int, consumer: Address = ADVANCER, charged: int | None = None) -> int:
    """A call's receipt, as a gateway writes it; what it charged."""
    receipt = b.a_receipt(number)._replace(consumer=consumer)
    if charged is not None:
        receipt = receipt._replace(price=charged, charge=charged)
    with unit_of_work(engine) as session:
        b.write(session, [receipt])
    return receipt.charge


def known(engine: Engine, one: StoredPermit) -> tuple[Status, int | None, str | None] | None:
    with unit_of_work(engine) as session:
        found = store.get(session, one.lane, one.id)
    return (found.status, found.charged, found.error) if found else None


def transaction(engine: Engine, one: StoredPermit) -> intents.ChainTransaction:
    with unit_of_work(engine) as session:
        _, last = transactions.latest(session, b.LANE, one.purpose)
    assert last is not None
    return last


def end(engine: Engine, one: StoredPermit, status: intents.Status, error: str | None = None, block: int = 7) -> None:
    """What the chain says of the transaction that settles a permit."""
    last = transaction(engine, one)
    is_mined = status is intents.Status.confirmed or error == REVERTED
    mined = Mined(Digest(b"\x11" * 32), block, succeeded=error is None) if is_mined else None
    with unit_of_work(engine) as session:
        transactions.set_status(session, b.LANE, last.id, status, mined, error)
        chain_time.advance(session, Block(block, Digest(b"\x02" * 32), 1), 1)


def test_a_good_permit_is_settled_once_for_what_its_calls_receipt_charged(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens, 10**9)
    tokens.balances[PAYER] = 10**9
    store_all(engine, one)
    assert check(engine, tokens) == 1
    assert known(engine, one) == (Status.good, None, None)
    assert settle(engine, tokens) == (0, 0, 0), "without a receipt nothing is sent"
    charged = charge(engine, 1)
    assert settle(engine, tokens) == (1, 0, 1)
    assert settle(engine, tokens) == (0, 0, 0)
    sent = transaction(engine, one)
    assert (sent.target, sent.sender) == (PROXY, SENDER)
    assert charged.to_bytes(32, "big") in sent.data
    end(engine, one, intents.Status.confirmed)
    assert settle(engine, tokens, 10**6) == (0, 1, 0)
    assert known(engine, one) == (Status.settled, charged, None)
    assert settle(engine, tokens, 10**9) == (0, 0, 0)


def test_a_call_that_cost_nothing_is_settled_without_a_transaction(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charge(engine, 1, charged=0)
    assert settle(engine, tokens) == (1, 0, 0)
    assert known(engine, one) == (Status.settled, 0, None)


def test_what_costs_more_to_settle_than_it_brings_is_not_asked_for(engine: Engine, tokens: Tokens) -> None:
    small, enough = (replace(a_permit(number, tokens), least=50) for number in (1, 2))
    store_all(engine, small, enough)
    charge(engine, 1, charged=49)
    charge(engine, 2, charged=50)
    assert settle(engine, tokens) == (2, 0, 1)
    assert known(engine, enough) == (Status.sent, 50, None)
    assert known(engine, small) == (
        Status.settled,
        49,
        "not asked for: settling costs more, which is said to be 50 atoms",
    )
    with unit_of_work(engine) as session:
        assert store.debt(session, PAYER) == 0


def test_a_receipt_of_a_call_whose_permit_was_replaced_by_a_smaller_one_is_a_debt_at_once(
    engine: Engine, tokens: Tokens
) -> None:
    first, second = a_permit(1, tokens), replace(a_permit(2, tokens, amount=10), call=b.a_receipt(1).call_id)
    second = replace(second, request=first.request)
    store_all(engine, first)
    with unit_of_work(engine) as session:
        assert store.set_status(session, first, Status.released)
    store_all(engine, second)
    charge(engine, 1, charged=11)
    assert settle(engine, tokens) == (1, 0, 0), "no transaction could take it"
    said = "its call was charged 11 atoms, and it permits 10: it came after the charged one"
    assert known(engine, second) == (Status.failed, 11, said)


def test_another_payers_receipt_of_the_same_call_settles_nothing(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charge(engine, 1, consumer=PAYER)
    assert settle(engine, tokens) == (0, 0, 0)


@pytest.mark.parametrize("status", [Status.requested, Status.good, Status.refused, Status.released])
def test_a_receipt_counts_wherever_the_gateway_or_the_worker_stopped(
    engine: Engine, tokens: Tokens, status: Status
) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    if status is not Status.requested:
        with unit_of_work(engine) as session:
            assert store.set_status(session, one, status)
    charged = charge(engine, 1)
    assert settle(engine, tokens) == (1, 0, 1)
    assert known(engine, one) == (Status.sent, charged, None)


class Crash(Exception):
    """The process ends here."""


def crash(engine: Engine, work: Callable[[Session], int]) -> None:
    """End after a step's work, before its commit."""
    with suppress(Crash), unit_of_work(engine) as session:
        assert work(session) == 1
        raise Crash


@pytest.mark.parametrize("step", ["note_charged", "settle", "follow"])
def test_a_crash_before_a_commit_neither_loses_a_payment_nor_makes_one_twice(
    engine: Engine, tokens: Tokens, step: str
) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charged = charge(engine, 1)
    steps: dict[str, Callable[[Session], int]] = {
        "note_charged": lambda session: permits.note_charged(session, b.LANE),
        "settle": lambda session: permits.settle(session, b.LANE, tokens.as_chain, SENDER, 1),
        "follow": lambda session: permits.follow(session, b.LANE),
    }
    for name, work in steps.items():
        if name == "follow":
            end(engine, one, intents.Status.confirmed)
        if name == step:
            crash(engine, work)
        with unit_of_work(engine) as session:
            assert work(session) == 1, "the same again"
        with unit_of_work(engine) as session:
            assert work(session) == 0, "and once"
    assert known(engine, one) == (Status.settled, charged, None)
    with unit_of_work(engine) as session:
        assert transactions.count(session, b.LANE, one.purpose) == 1


def test_a_settlement_that_failed_is_a_debt_and_is_tried_again_until_it_succeeds(
    engine: Engine, tokens: Tokens
) -> None:
    one, other = a_permit(1, tokens), a_permit(2, tokens)
    store_all(engine, one, other)
    charged = charge(engine, 1)
    settle(engine, tokens)
    end(engine, one, intents.Status.failed, "TRANSFER_FROM_FAILED")
    assert settle(engine, tokens, now=1) == (0, 1, 0), "not at once"
    assert known(engine, one) == (Status.owed, charged, "TRANSFER_FROM_FAILED")
    check(engine, tokens)
    refused = known(engine, other)
    assert refused is not None
    assert refused[0] is Status.refused
    assert f"{charged} atoms" in str(refused[2])
    assert settle(engine, tokens, now=10**6) == (0, 0, 1)
    with unit_of_work(engine) as session:
        assert store.debt(session, PAYER) == charged, "until it is settled"
        assert [row.id for row in store.in_debt(session, b.LANE)] == [one.id]
    end(engine, one, intents.Status.confirmed)
    settle(engine, tokens)
    assert known(engine, one) == (Status.settled, charged, None)
    store_all(engine, other)
    check(engine, tokens)
    assert known(engine, other) == (Status.good, None, None)


def test_what_was_not_settled_before_the_deadline_stays_a_debt(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charged = charge(engine, 1)
    tokens.ahead = 2_000
    assert settle(engine, tokens) == (1, 0, 0)
    assert known(engine, one) == (Status.failed, charged, "it expired before it was settled")
    assert settle(engine, tokens, 10**9) == (0, 0, 0)
    with unit_of_work(engine) as session:
        assert permits.forget(session, b.LANE, tokens.as_chain, 1) == 0
        assert store.debt(session, PAYER) == charged
        assert not store.is_due(session, b.LANE)


def test_an_account_with_code_is_refused_before_its_call(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    tokens.coded.add(PAYER)
    store_all(engine, one)
    assert check(engine, tokens) == 1
    assert known(engine, one) == (Status.refused, None, HAS_CODE)


def test_a_permit_whose_settlement_asks_for_much_gas_is_refused(engine: Engine, tokens: Tokens) -> None:
    one, other = a_permit(1, tokens), a_permit(2, tokens, payer=WALLET)
    tokens.needs[PAYER], tokens.needs[WALLET] = SETTLE_GAS + 1, SETTLE_GAS
    store_all(engine, one, other)
    assert check(engine, tokens) == 2
    refused = known(engine, one)
    assert refused is not None
    assert refused[0] is Status.refused
    assert "it asks for too much gas: 250001" in str(refused[2])
    assert known(engine, other) == (Status.good, None, None)


def test_who_delegates_to_code_after_its_call_owes_until_it_has_none(engine: Engine, tokens: Tokens) -> None:
    one, other = a_permit(1, tokens), a_permit(2, tokens, payer=WALLET)
    store_all(engine, one, other)
    charged = charge(engine, 1)
    charge(engine, 2)
    tokens.coded.add(PAYER)
    assert settle(engine, tokens) == (2, 0, 1), "the other's alone"
    assert known(engine, one) == (Status.owed, charged, HAS_CODE)
    with unit_of_work(engine) as session:
        assert store.debt(session, PAYER) == charged
    assert settle(engine, tokens, 10**6) == (0, 0, 0)
    tokens.coded.clear()
    assert settle(engine, tokens, 10**6) == (0, 0, 1)
    end(engine, one, intents.Status.confirmed)
    settle(engine, tokens, 10**6)
    assert known(engine, one) == (Status.settled, charged, None)


def test_who_is_asked_at_great_cost_when_it_is_mined_costs_no_more_than_two_attempts(
    engine: Engine, tokens: Tokens
) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charged = charge(engine, 1)
    for number in range(1, MOST_REVERTED + 1):
        settle(engine, tokens, number * 10**6)
        end(engine, one, intents.Status.failed, REVERTED, block=number)
    settle(engine, tokens, 10**9)
    assert known(engine, one) == (Status.failed, charged, REVERTED)
    assert settle(engine, tokens, 10**12) == (0, 0, 0)
    with unit_of_work(engine) as session:
        assert transactions.count(session, b.LANE, one.purpose) == MOST_REVERTED == 2
        assert store.debt(session, PAYER) == charged
        transactions.reopen(session, 1)
        store.reopen(session, 1)
    assert known(engine, one) == (Status.sent, charged, REVERTED), "the block of the second is gone"
    end(engine, one, intents.Status.confirmed)
    settle(engine, tokens, 10**12)
    assert known(engine, one) == (Status.settled, charged, None)


class Estimating(FakeChain):
    """A chain that estimates what a settlement needs as the tokens say."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens

    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
        if target != PROXY:
            return super().gas(sender, target, data)
        return self.tokens.gas(sender, target, data, most=most)


def intend(engine: Engine, name: str, now: int) -> Digest:
    """Something else that the worker sends."""
    made = ChainTransaction(keccak256(name.encode()), name, SENDER, WALLET, b"", intents.Status.intended, now)
    with unit_of_work(engine) as session:
        assert transactions.intend(session, b.LANE, made)
    return made.id


def sign_all(engine: Engine, wire: FakeChain) -> list[Digest]:
    """Sign what is intended, as a sweep does; in which order it was looked at."""
    signed: list[Digest] = []
    while True:
        with unit_of_work(engine) as session:
            done = sending.sign_next(session, b.LANE, wire, SENDER, 1)
        if done is None:
            return signed
        signed.append(done)


def test_what_strangers_cause_is_sent_last_and_stops_nothing_else(engine: Engine, tokens: Tokens) -> None:
    silent, dear, good = (a_permit(n, tokens, payer=Address(bytes((n,)) * 20)) for n in (1, 2, 3))
    store_all(engine, silent, dear, good)
    for number in (1, 2, 3):
        charge(engine, number)
    assert settle(engine, tokens, 1) == (3, 0, 3)
    others = [intend(engine, "answer", 2), intend(engine, "commit", 3)]
    tokens.silent.add(silent.permit.payer)
    tokens.needs[dear.permit.payer] = SETTLE_GAS + 1
    order = sign_all(engine, Estimating(tokens))
    assert order[:2] == others
    assert len(order) == 5
    with unit_of_work(engine) as session:
        nonces = [found.nonce for name in others if (found := transactions.get(session, b.LANE, name)) is not None]
    assert nonces == [0, 1]
    assert (transaction(engine, good).nonce, transaction(engine, good).gas) == (2, 100_000)
    assert transaction(engine, dear).status is intents.Status.failed
    assert transaction(engine, silent).status is intents.Status.lost
    settle(engine, tokens, 1)
    ends = [known(engine, one) for one in (silent, dear, good)]
    assert [end[0] for end in ends if end is not None] == [Status.owed, Status.owed, Status.sent]
    with unit_of_work(engine) as session:
        assert store.debt(session, silent.permit.payer) == 0, "the chain's silence is no debt"
        assert store.debt(session, dear.permit.payer) > 0
    tokens.silent.clear()
    assert settle(engine, tokens, 10**6) == (0, 0, 2), "later both are tried again"


def test_what_else_is_not_estimated_ends_the_sweep_as_ever(engine: Engine, tokens: Tokens) -> None:
    class Silent(FakeChain):
        def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
            raise Unavailable("it does not answer in time")

    name = intend(engine, "commit", 1)
    with pytest.raises(Unavailable):
        sign_all(engine, Silent())
    with unit_of_work(engine) as session:
        found = transactions.get(session, b.LANE, name)
    assert found is not None
    assert found.status is intents.Status.intended


def test_few_settlements_are_on_their_way_at_a_time_and_debts_come_last(engine: Engine, tokens: Tokens) -> None:
    owed = [a_permit(number, tokens, payer=Address(bytes((number,)) * 20)) for number in range(1, MOST_SENT + 4)]
    owed[0] = replace(owed[0], permit=replace(owed[0].permit, deadline=owed[0].permit.deadline - 10))
    store_all(engine, *owed)
    for number in range(1, len(owed) + 1):
        charge(engine, number)
    tokens.coded.add(owed[0].permit.payer)
    assert settle(engine, tokens, 1) == (len(owed), 0, MOST_SENT - 1), "it was asked, and is a debt"
    assert settle(engine, tokens, 2) == (0, 0, 1), "one place was left"
    assert settle(engine, tokens, 3) == (0, 0, 0)
    end(engine, owed[1], intents.Status.confirmed)
    assert settle(engine, tokens, 4) == (0, 1, 1)
    end(engine, owed[2], intents.Status.confirmed)
    tokens.coded.clear()
    assert settle(engine, tokens, 5) == (0, 1, 1)
    left = [one for one in owed if (known(engine, one) or (None,))[0] is Status.owed]
    assert left == [owed[0]], "debts come last"
    tokens.ahead = 2_000
    settle(engine, tokens, 6)
    assert known(engine, owed[0]) == (Status.failed, charge_of(1), HAS_CODE), "a deadline is seen without a place"


def charge_of(number: int) -> int:
    return b.a_receipt(number).charge


def test_one_payer_that_the_chain_says_nothing_of_stops_no_other(engine: Engine, tokens: Tokens) -> None:
    silent, other = a_permit(1, tokens), a_permit(2, tokens, payer=WALLET)
    tokens.silent.add(PAYER)
    store_all(engine, silent, other)
    assert check(engine, tokens) == 1
    assert [known(engine, one) for one in (silent, other)] == [
        (Status.requested, None, None),
        (Status.good, None, None),
    ]


def test_who_has_no_tokens_is_asked_about_nothing_else(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    tokens.balances[PAYER] = 0
    store_all(engine, one)
    check(engine, tokens)
    assert tokens.asked == 3, "the code of both contracts, and its balance"


def test_a_reorganisation_that_drops_a_settlement_has_it_followed_again(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charged = charge(engine, 1)
    settle(engine, tokens)
    end(engine, one, intents.Status.confirmed, block=7)
    settle(engine, tokens)
    with unit_of_work(engine) as session:
        store.reopen(session, 7)
    assert known(engine, one) == (Status.settled, charged, None), "its block is the last that stays"
    with unit_of_work(engine) as session:
        transactions.reopen(session, 6)
        store.reopen(session, 6)
    assert known(engine, one) == (Status.sent, charged, None)
    end(engine, one, intents.Status.failed, "the payer used the nonce")
    settle(engine, tokens)
    assert known(engine, one) == (Status.owed, charged, "the payer used the nonce")


def test_what_a_payer_promised_counts_in_every_lane_and_beside_its_exact_payments(
    engine: Engine, tokens: Tokens
) -> None:
    tokens.balances[PAYER] = 3 * MOST
    first, second, third = (a_permit(number, tokens) for number in (1, 2, 3))
    store_all(engine, replace(first, lane=b.OTHER_LANE))
    with unit_of_work(engine) as session:
        permits.check(session, b.OTHER_LANE, tokens.as_chain, SENDER, 1)
        deposit = DepositRequest(Digest(bytes(32)), b.LANE, PAYER, MOST, 0, 1, Digest(bytes(32)), b"", "inbox")
        deposits.request(session, deposit, 1)
    store_all(engine, second)
    assert check(engine, tokens) == 1
    store_all(engine, third)
    assert check(engine, tokens) == 0, "all three would be too much"
    assert known(engine, third) == (Status.requested, None, None)
    with unit_of_work(engine) as session:
        assert store.set_status(session, second, Status.released)
    assert check(engine, tokens) == 1
    assert known(engine, third) == (Status.good, None, None)


def test_what_each_sweep_asks_for_is_found_by_an_index(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    charge(engine, 1)
    settle(engine, tokens)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    with unit_of_work(engine) as session:
        listen(engine, "before_cursor_execute", note)
        assert transactions.count(session, b.LANE, one.purpose) == 1
        assert transactions.count(session, b.LANE, one.purpose[:-1]) == 0, "words, and no beginnings of them"
        assert store.is_due(session, b.LANE)
        remove(engine, "before_cursor_execute", note)
        session.execute(text("SET LOCAL enable_seqscan = off"))
        cursor = connection_of(session).cursor()
        plans = [
            "".join(str(row[0]) for row in cursor.execute(f"EXPLAIN {said}".encode(), with_)) for said, with_ in asked
        ]
    used = ["ix_chain_transactions_purpose", "ix_chain_transactions_purpose", "ix_permits_live"]
    assert [name in plan for name, plan in zip(used, plans, strict=True)] == [True, True, True], plans


def test_a_permit_is_good_in_one_lane_of_a_database(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, replace(one, lane=b.OTHER_LANE), one)
    check(engine, tokens)
    assert known(engine, one) == (Status.refused, None, "this permit was sent to another lane")


def test_who_waits_takes_nobodys_turn(engine: Engine, tokens: Tokens) -> None:
    tokens.balances[PAYER] = MOST
    waiting = [a_permit(number, tokens) for number in range(1, permits.AT_ONCE + 3)]
    store_all(engine, *waiting)
    other = a_permit(100, tokens, payer=WALLET)
    assert check(engine, tokens, 1) == 1, "one of the payer's, the others wait"
    store_all(engine, other)
    assert check(engine, tokens, 2) == 1
    assert known(engine, other) == (Status.good, None, None)


def test_one_worker_looks_at_a_time(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one)
    with unit_of_work(engine) as session:
        assert permits.check(session, b.LANE, tokens.as_chain, SENDER, 1) == 1
        assert check(engine, tokens) == 0


def test_permits_are_forgotten_after_their_deadline_unless_they_were_charged(engine: Engine, tokens: Tokens) -> None:
    charged, idle = a_permit(1, tokens), a_permit(2, tokens)
    store_all(engine, charged, idle)
    charge(engine, 1)
    settle(engine, tokens)
    with unit_of_work(engine) as session:
        assert permits.forget(session, b.LANE, tokens.as_chain, 1) == 0
        tokens.ahead = 1_001
        assert permits.forget(session, b.LANE, tokens.as_chain, 1) == 1
    assert known(engine, idle) is None
    assert known(engine, charged) is not None


def test_who_signs_for_nothing_leaves_nothing(engine: Engine, tokens: Tokens) -> None:
    left, refused, released = (a_permit(number, tokens) for number in (1, 2, 3))
    store_all(engine, released)
    check(engine, tokens, 1)
    tokens.balances[PAYER] = 0
    store_all(engine, refused)
    check(engine, tokens, 1)
    store_all(engine, left)
    with unit_of_work(engine) as session:
        for one in (left, released):
            store.release(session, one, 1)
        assert [store.get(session, b.LANE, one.id) is None for one in (left, refused, released)] == [True, False, False]
        for now, gone in ((60_001, 0), (60_002, 1), (600_001, 0), (600_002, 1)):
            assert permits.forget(session, b.LANE, tokens.as_chain, now) == gone


def test_a_nonce_pays_for_one_call_and_a_call_has_one_permit(engine: Engine, tokens: Tokens) -> None:
    one = a_permit(1, tokens)
    store_all(engine, one, one)
    permit, other = one.permit, a_permit(2, tokens)
    worse = [
        replace(one, call=other.call, request=other.request),
        replace(one, request=other.request),
        replace(one, permit=replace(permit, amount=permit.amount + 1)),
        replace(one, permit=replace(permit, deadline=permit.deadline + 1)),
        replace(other, call=one.call, request=one.request),
    ]
    with unit_of_work(engine) as session:
        assert not any(publications.permit(session, bad, 1) for bad in worse)
        assert store.set_status(session, one, Status.released)
        assert publications.permit(session, worse[-1], 1), "the first one is done with"
        assert store.get(session, b.LANE, one.id) is None
    charge(engine, 1)
    settle(engine, tokens)
    with unit_of_work(engine) as session:
        assert not publications.permit(session, worse[-1], 1), "it is charged"


def test_the_operator_sees_a_debt_by_command_and_forgives_it_after_its_deadline(
    engine: Engine,
    postgres_url: str,
    tokens: Tokens,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEDGER_DATABASE_URL", postgres_url)
    monkeypatch.setenv("LEDGER_LANE", to_hex(b.LANE))

    show = book.typed("docs/runbook.md", "python -m ledger.operate permits")
    forgive = book.typed("docs/runbook.md", "python -m ledger.operate permits --forgive ID")

    def said(page: book.Block = show) -> tuple[int, Any]:
        (line,) = page.lines
        code = operate.main(line.removeprefix("python -m ledger.operate ").split())
        return code, json.loads(capsys.readouterr().out)

    assert said() == (0, {"permits": {}, "debts": []})
    one = a_permit(1, tokens)
    store_all(engine, one)
    charged = charge(engine, 1)
    settle(engine, tokens)
    end(engine, one, intents.Status.failed, "TRANSFER_FROM_FAILED")
    settle(engine, tokens)
    code, shown = said()
    assert (code, shown["permits"]) == (1, {"owed": {"permits": 1, "atoms": str(charged)}})
    [debt] = shown["debts"]
    assert (debt["payer"], debt["atoms"], debt["error"]) == (to_hex(PAYER), str(charged), "TRANSFER_FROM_FAILED")
    with pytest.raises(SystemExit):
        said(forgive.with_({"ID": debt["id"]}))
    assert "its deadline has to pass first" in capsys.readouterr().err
    tokens.ahead = 2_000
    settle(engine, tokens, 10**9)
    assert said()[1]["debts"][0]["status"] == "failed"
    assert said(forgive.with_({"ID": debt["id"]})) == (
        0,
        {"permits": {"settled": shown["permits"]["owed"]}, "debts": []},
    )


A_PERMIT = Permit(PAYER, WALLET, SENDER, TOKEN, MOST, 10, 10_000, Digest(bytes(32)))
FINE = Means(MOST, MOST, nonce_used=False, time=100)


@pytest.mark.parametrize(
    ("means", "status"),
    [
        (FINE, Status.good),
        (replace(FINE, balance=MOST - 1), Status.refused),
        (replace(FINE, allowance=MOST - 1), Status.refused),
        (replace(FINE, nonce_used=True), Status.refused),
        (replace(FINE, debt=1), Status.refused),
        (replace(FINE, time=9), Status.refused),
        (replace(FINE, time=10), Status.good),
        (replace(FINE, time=10_000 - SETTLE_SECONDS - 1), Status.good),
        (replace(FINE, time=10_000 - SETTLE_SECONDS), Status.refused),
        (replace(FINE, promised=1), Status.requested),
        (replace(FINE, balance=2 * MOST, promised=MOST), Status.requested),
        (replace(FINE, balance=2 * MOST, allowance=2 * MOST, promised=MOST), Status.good),
    ],
)
def test_a_payer_has_allows_and_has_not_promised_what_it_permits(means: Means, status: Status) -> None:
    assert judge(A_PERMIT, means, SENDER).status is status


def test_a_permit_that_another_settles_is_refused() -> None:
    assert judge(A_PERMIT, FINE, WALLET).status is Status.refused
