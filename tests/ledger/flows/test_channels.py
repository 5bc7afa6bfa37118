"""Channels of `batch-settlement` as the worker sees them: deposits taken once, watched, and claimed as the receipts of
their calls say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from ledger import operate
from ledger.core.accounts import channels as rules
from ledger.core.accounts.channels import (
    COLLECTOR,
    CONTRACT,
    DELAY_SECONDS,
    EMPTY,
    FORGET_MS,
    FRESH_MS,
    HAS_CODE,
    IDLE_MS,
    MOST_A_PAYER,
    MOST_GAS,
    USED_BEFORE,
    Answer,
    Channel,
    Deposit,
    Seen,
    Status,
)
from ledger.core.settlement import transactions as intents
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.flows.x402 import channels
from ledger.store.access import channels as store
from ledger.store.access import debts
from ledger.store.access.channels import NO_DEPOSIT, Call, Entered, Shown, StoredChannel
from ledger.store.session import unit_of_work
from ledger.store.settlement import transactions
from tests import builders as b
from tests.fakechain import SENDER
from tests.gateway.channels import Escrow, mine, sweep

PAYER, WALLET, TOKEN = (Address(bytes((number,)) * 20) for number in (0xAA, 0xBB, 0xCC))
ADVANCER = b.ALICE
MOST, DEPOSIT = 1_000, 100_000


@pytest.fixture
def escrow() -> Escrow:
    return Escrow()


def a_channel(number: int = 0, **other: object) -> Channel:
    made = Channel(PAYER, PAYER, WALLET, SENDER, TOKEN, DELAY_SECONDS, Digest(number.to_bytes(32, "big")))
    return replace(made, **other)  # type: ignore[arg-type]  # fields by name


def shown(channel: Channel, voucher: int = MOST, deposit: int = DEPOSIT, number: int = 1) -> Shown:
    offered = Deposit(deposit, 0, 2**40, Digest(number.to_bytes(32, "big")), b"\x02" * 65) if deposit else NO_DEPOSIT
    return Shown(channel.id(31337), channel, voucher, b"\x01" * 65, offered)


def enter(engine: Engine, one: Shown, call: int = 1, *, most: int = MOST, now: int = 1) -> Entered:
    """Have a call, which is that of the builders' receipt of this number, let in."""
    asked = Call(b.a_receipt(call).call_id, ADVANCER, most, now + 1_000)
    with unit_of_work(engine) as session:
        return store.enter(session, b.LANE, one, asked, now)


def sweeps(engine: Engine, escrow: Escrow, now: int = 1, times: int = 2) -> None:
    for _ in range(times):
        sweep(engine, b.LANE, escrow, SENDER, now)


def charge(engine: Engine, number: int, charged: int = MOST, consumer: Address = ADVANCER) -> None:
    """A call's receipt, as a gateway writes it."""
    receipt = b.a_receipt(number)._replace(consumer=consumer, price=charged, charge=charged)
    with unit_of_work(engine) as session:
        b.write(session, [receipt])


def known(engine: Engine, one: Shown) -> StoredChannel:
    with unit_of_work(engine) as session:
        found = store.get(session, b.LANE, one.id)
    assert found is not None
    return found


def opened(engine: Engine, escrow: Escrow, channel: Channel | None = None) -> Shown:
    """A channel whose deposit is taken."""
    one = shown(channel or a_channel())
    assert enter(engine, one).answer is None, "the worker looks first"
    sweeps(engine, escrow)
    assert known(engine, one).status is Status.open
    return one


def intended(engine: Engine) -> list[str]:
    with unit_of_work(engine) as session:
        return [one.purpose.rpartition(" ")[0] for one in transactions.intended(session, b.LANE)]


def test_a_deposit_is_taken_once_and_pays_many_calls_by_one_claim(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    for number in range(1, 4):
        let_in = enter(engine, replace(one, voucher=number * MOST), number)
        assert let_in.answer is Answer.admitted
        charge(engine, number)
        with unit_of_work(engine) as session:
            left = store.leave(session, b.LANE, one.id, b.a_receipt(number).call_id, 1)
        assert (left.totals.charged, left.totals.held) == (number * MOST, 0)
    sweeps(engine, escrow, IDLE_MS + 1)
    assert escrow.held[one.id] == Seen(DEPOSIT, 3 * MOST)
    assert (escrow.paid[WALLET], escrow.balances[PAYER]) == (3 * MOST, 10**6 - DEPOSIT)
    sweeps(engine, escrow, 2 * IDLE_MS)
    assert escrow.paid[WALLET] == known(engine, one).totals.claimed == 3 * MOST


def test_calls_at_once_are_let_in_by_higher_vouchers_and_what_is_not_charged_is_free_again(
    engine: Engine, escrow: Escrow
) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    refused = enter(engine, one, 2)
    assert (refused.answer, refused.channel and refused.channel.totals.promised) == (Answer.voucher, MOST)
    assert enter(engine, replace(one, voucher=2 * MOST), 2).answer is Answer.admitted
    with unit_of_work(engine) as session:
        left = store.leave(session, b.LANE, one.id, b.a_receipt(1).call_id, 1)
    assert (left.totals.charged, left.totals.held) == (0, MOST)
    assert enter(engine, one, 3).answer is Answer.admitted, "the highest voucher covers both"
    assert enter(engine, one, 4).answer is Answer.voucher


def test_a_receipt_counts_also_where_its_gateway_ended(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1)
    assert enter(engine, one, 3).answer is Answer.voucher, "it is counted before the next call"
    sweeps(engine, escrow)
    assert known(engine, one).totals.charged == MOST


def test_a_receipt_that_somebody_else_paid_for_is_none_of_the_channels(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1, consumer=PAYER)
    sweeps(engine, escrow)
    assert known(engine, one).totals.charged == 0


def test_one_claim_of_a_channel_is_on_its_way_at_a_time(engine: Engine, escrow: Escrow) -> None:
    one, late = opened(engine, escrow), 2 * IDLE_MS
    for number in (1, 2):
        enter(engine, replace(one, voucher=number * MOST), number)
    charge(engine, 1)
    made = []
    for number in (1, 2):
        with unit_of_work(engine) as session:
            channels.note_charged(session, b.LANE)
            made.append(channels.claim(session, b.LANE, SENDER, late * number))
        if number == 1:
            charge(engine, 2)
    assert (made, known(engine, one).claiming) == ([1, 0], MOST)
    sweeps(engine, escrow, late * 3, times=3)
    assert escrow.paid[WALLET] == 2 * MOST


def test_never_more_than_the_highest_voucher_is_claimed(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1, 3 * MOST)
    sweeps(engine, escrow, IDLE_MS + 1)
    assert (escrow.paid[WALLET], known(engine, one).totals.lost) == (MOST, 2 * MOST)
    with unit_of_work(engine) as session:
        assert store.debt(session, PAYER, Digest(bytes(32))) == 2 * MOST
    other = shown(a_channel(9))
    enter(engine, other, 9)
    sweeps(engine, escrow)
    assert known(engine, other).status is Status.refused
    assert f"{2 * MOST} atoms that" in str(known(engine, other).error)


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["look", "mine the deposit", "follow the deposit", "claim", "mine", "follow"])
def test_a_crash_before_a_commit_neither_loses_a_deposit_or_a_claim_nor_makes_one_twice(
    engine: Engine, escrow: Escrow, step: str
) -> None:
    one, late = shown(a_channel()), IDLE_MS + 1
    enter(engine, one)
    steps: dict[str, Callable[[Session], object]] = {
        "look": lambda session: channels.look(session, b.LANE, escrow.as_chain, SENDER, 0, 1),
        "mine the deposit": lambda session: mine(session, b.LANE, escrow),
        "follow the deposit": lambda session: channels.follow(session, b.LANE),
        "look again": lambda session: channels.look(session, b.LANE, escrow.as_chain, SENDER, 0, 2),
        "call": lambda session: store.enter(session, b.LANE, one, Call(b.a_receipt(1).call_id, ADVANCER, MOST, 99), 3),
        "charge": lambda session: b.write(session, [b.a_receipt(1)._replace(price=MOST, charge=MOST)]),
        "note": lambda session: channels.note_charged(session, b.LANE),
        "claim": lambda session: channels.claim(session, b.LANE, SENDER, late),
        "mine": lambda session: mine(session, b.LANE, escrow),
        "follow": lambda session: channels.follow(session, b.LANE),
    }
    for name, work in steps.items():
        if name == step:
            with suppress(Crash), unit_of_work(engine) as session:
                if "mine" not in name:  # what is in a block stays there
                    work(session)
                raise Crash
        with unit_of_work(engine) as session:
            work(session)
    sweeps(engine, escrow, late)
    assert escrow.held[one.id] == Seen(DEPOSIT, MOST)
    assert (escrow.paid[WALLET], known(engine, one).totals.claimed) == (MOST, MOST)
    with unit_of_work(engine) as session:
        assert [transactions.count(session, b.LANE, known(engine, one).claims(MOST))] == [1]


def test_who_asks_for_the_rest_is_claimed_at_once_and_makes_no_call(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1, 1)
    escrow.held[one.id] = Seen(DEPOSIT, 0, leaving=77)
    sweeps(engine, escrow, 60_000)
    assert (escrow.paid[WALLET], known(engine, one).status) == (1, Status.leaving)
    assert enter(engine, replace(one, voucher=2 * MOST), 2, now=60_000).answer is Answer.deposit
    escrow.held[one.id] = Seen(1, 1)
    sweeps(engine, escrow, 120_000)
    assert known(engine, one).status is Status.open
    assert enter(engine, replace(one, voucher=2 * MOST), 3, now=120_000).answer is Answer.deposit, "nothing is left"
    more = replace(shown(a_channel(), 2 * MOST, number=2), voucher=2 * MOST)
    assert enter(engine, more, 3, now=120_000).answer is None
    sweeps(engine, escrow, 120_000)
    assert enter(engine, more, 3, now=120_000).answer is Answer.admitted


def test_an_empty_channel_that_is_in_use_stops_no_look(engine: Engine, escrow: Escrow) -> None:
    one, other = opened(engine, escrow), opened(engine, escrow, a_channel(1))
    escrow.held[one.id] = Seen(0, 0)
    for now in (20_000, 40_000):
        enter(engine, other, now=now)
        sweeps(engine, escrow, now, times=1)
        assert known(engine, other).checked_at == now


def test_a_channel_of_an_atom_whose_payer_leaves_takes_no_place(engine: Engine, escrow: Escrow) -> None:
    one = replace(shown(a_channel(), deposit=0), least=10)
    escrow.held[one.id] = Seen(1, 0, leaving=77)
    enter(engine, one)
    sweeps(engine, escrow)
    assert (known(engine, one).status, known(engine, one).error) == (Status.refused, EMPTY)


def test_who_has_taken_out_what_it_asked_for_is_checked_as_a_new_one(engine: Engine, escrow: Escrow) -> None:
    one = shown(a_channel(), deposit=0)
    with unit_of_work(engine) as session:
        store.enter(session, b.OTHER_LANE, one, Call(Digest(bytes(32)), ADVANCER, MOST, 9), 1)
    escrow.held[one.id] = Seen(DEPOSIT, 0, leaving=77)
    enter(engine, one)
    sweeps(engine, escrow)
    assert known(engine, one).status is Status.leaving
    escrow.held[one.id] = Seen(DEPOSIT - 1, 0)
    sweeps(engine, escrow, 20_000)
    assert known(engine, one).status is Status.refused, "another lane has it"


def test_without_a_late_look_of_the_worker_no_call_is_made(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, now=FRESH_MS + 2).answer is None
    assert known(engine, one).status is Status.requested
    sweeps(engine, escrow, FRESH_MS + 2)
    assert enter(engine, one, now=FRESH_MS + 2).answer is Answer.admitted


def test_a_deposit_that_a_reorganisation_took_back_is_not_spent(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    escrow.held[one.id] = Seen(0, 0)
    sweeps(engine, escrow, 60_000)
    assert enter(engine, one, now=60_000).answer is Answer.deposit


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("poor", "its account has 99999 atoms, the deposit is of 100000"),
        ("coded", HAS_CODE),
        ("dear", "it asks for too much gas: 300001"),
        ("reverts", "it reverts"),
        ("undeployed", "there is no contract for `batch-settlement`"),
    ],
)
def test_a_deposit_that_cannot_be_taken_costs_no_transaction(
    engine: Engine, escrow: Escrow, broken: str, said: str
) -> None:
    one = shown(a_channel())
    enter(engine, one)
    escrow.balances[PAYER] = DEPOSIT - (broken == "poor")
    escrow.coded |= {PAYER} if broken == "coded" else set()
    escrow.needs[CONTRACT] = MOST_GAS + (broken == "dear")
    escrow.reverts, escrow.deployed = broken == "reverts", broken != "undeployed"
    with unit_of_work(engine) as session:
        assert channels.look(session, b.LANE, escrow.as_chain, SENDER, 0, 1) == 1
    assert (known(engine, one).status, intended(engine)) == (Status.refused, [])
    assert said in str(known(engine, one).error)
    assert enter(engine, one).answer is Answer.deposit
    assert enter(engine, shown(a_channel(), number=2)).answer is None, "another one is looked at"


def test_what_cannot_be_taken_does_not_close_a_channel_that_holds_something(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    more = shown(a_channel(), voucher=2 * DEPOSIT, deposit=DEPOSIT + 1, number=2)
    assert enter(engine, more).answer is None
    escrow.balances[PAYER] = 0
    sweeps(engine, escrow)
    assert (known(engine, one).status, "its account has 0 atoms" in str(known(engine, one).error)) == (
        Status.open,
        True,
    )
    assert enter(engine, one).answer is Answer.admitted


@pytest.mark.parametrize(
    ("status", "error"), [(intents.Status.lost, None), (intents.Status.failed, "it reverted on chain")]
)
def test_a_deposit_that_is_lost_is_sent_again_and_one_that_reverted_is_not(
    engine: Engine, escrow: Escrow, status: intents.Status, error: str | None
) -> None:
    one = shown(a_channel())
    enter(engine, one)
    with unit_of_work(engine) as session:
        channels.look(session, b.LANE, escrow.as_chain, SENDER, 0, 1)
        [sent] = transactions.intended(session, b.LANE)
        transactions.set_status(session, b.LANE, sent.id, status, error=error)
        assert channels.follow(session, b.LANE) == 1
    sweeps(engine, escrow, 10**6)
    assert (escrow.held[one.id].balance, known(engine, one).status) == (
        (DEPOSIT, Status.open) if error is None else (0, Status.refused)
    )


def test_a_channel_without_a_deposit_of_ours_is_open_if_its_payer_made_one(engine: Engine, escrow: Escrow) -> None:
    empty, own = shown(a_channel(1), deposit=0), shown(a_channel(2, payer=WALLET), voucher=MOST + 20, deposit=0)
    escrow.held[own.id] = Seen(DEPOSIT, 0)
    for one in (empty, own):
        enter(engine, one)
    sweeps(engine, escrow)
    assert (known(engine, empty).status, known(engine, empty).error) == (Status.refused, EMPTY)
    assert enter(engine, own).answer is Answer.admitted


def test_strangers_open_a_bounded_number_of_channels(
    engine: Engine, escrow: Escrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [shown(a_channel(number)) for number in range(MOST_A_PAYER + 1)]
    assert [enter(engine, one).channel is None for one in many] == [False] * MOST_A_PAYER + [True]
    monkeypatch.setattr(store, "MOST_CHANNELS", MOST_A_PAYER)
    assert enter(engine, shown(a_channel(9, payer=WALLET))).channel is None
    escrow.balances[PAYER] = 0
    sweeps(engine, escrow)
    assert enter(engine, shown(a_channel(9, payer=WALLET))).channel is not None, "who was refused takes no place"


def test_whom_strangers_name_as_their_payer_may_open_channels(engine: Engine, escrow: Escrow) -> None:
    for number in range(2 * MOST_A_PAYER):
        enter(engine, shown(a_channel(number + 1, payer_authorizer=WALLET), deposit=0))
    opened(engine, escrow)


def test_strangers_who_ask_for_looks_leave_half_of_them_to_who_is_watched(engine: Engine, escrow: Escrow) -> None:
    watched = opened(engine, escrow)
    for number in range(1, 9):
        enter(engine, shown(a_channel(number, payer=Address(bytes((number,)) * 20)), deposit=0), now=20_000)
    with unit_of_work(engine) as session:
        looked_at = store.to_look_at(session, b.LANE, 5_000, 2)
        assert (watched.id in [one.id for one in looked_at], len(looked_at)) == (True, 2)
        assert len(store.to_look_at(session, b.LANE, 5_000, 64)) == 9


def test_no_call_waits_for_a_channel_while_the_chain_is_asked_about_others(
    engine: Engine, escrow: Escrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [shown(a_channel(number, payer=Address(bytes((number + 1,)) * 20))) for number in range(3)]
    for one in many:
        enter(engine, one)
    asked = list[Address]()

    def balance(payer: Address) -> int:
        asked.append(payer)
        with unit_of_work(engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            session.execute(text("SELECT id FROM channels FOR UPDATE"))
        return 0

    monkeypatch.setattr(escrow, "balance", balance)
    sweeps(engine, escrow, times=1)
    assert len(asked) == 3


def test_deposits_on_their_way_are_few(engine: Engine, escrow: Escrow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_SENT", 1)
    many = [shown(a_channel(number, payer=Address(bytes((number,)) * 20))) for number in (1, 2)]
    for one in many:
        enter(engine, one)
    with unit_of_work(engine) as session:
        assert channels.look(session, b.LANE, escrow.as_chain, SENDER, 0, 1) == 1
    assert len(intended(engine)) == 1
    sweeps(engine, escrow, times=3)
    assert [known(engine, one).status for one in many] == [Status.open] * 2


def test_a_channel_is_used_in_one_lane_and_claimed_by_one_key(engine: Engine, escrow: Escrow) -> None:
    one = shown(a_channel())
    with unit_of_work(engine) as session:
        store.enter(session, b.OTHER_LANE, one, Call(Digest(bytes(32)), ADVANCER, MOST, 9), 1)
    other = shown(a_channel(1, receiver_authorizer=WALLET))
    enter(engine, one)
    enter(engine, other)
    sweeps(engine, escrow)
    assert known(engine, one).error == "this channel was used in another lane"
    assert "this lane claims as" in str(known(engine, other).error)


def test_many_channels_are_looked_at_by_one_question(engine: Engine, escrow: Escrow) -> None:
    many = [shown(a_channel(number, payer=Address(bytes((number + 1,)) * 20)), deposit=0) for number in range(8)]
    for one in many:
        escrow.held[one.id] = Seen(DEPOSIT, 0)
        enter(engine, one)
    sweeps(engine, escrow, times=1)
    assert (escrow.questions, {known(engine, one).status for one in many}) == (1, {Status.open})
    sweeps(engine, escrow, rules.LOOK_MS)
    assert escrow.questions == 1, "not again so soon"
    sweeps(engine, escrow, 10**6)
    assert escrow.questions == 1, "nor where no call is made and nothing is unclaimed"


def test_what_nobody_uses_is_forgotten_and_its_vouchers_which_claims_have_shown_open_nothing(
    engine: Engine, escrow: Escrow
) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1)
    sweeps(engine, escrow, IDLE_MS + 1)
    refused = shown(a_channel(1), deposit=0)
    enter(engine, refused, 2)
    sweeps(engine, escrow)
    with unit_of_work(engine) as session:
        assert channels.forget(session, b.LANE, 60_002) == 1
        assert store.get(session, b.LANE, refused.id) is None
        assert channels.forget(session, b.LANE, FORGET_MS) == 0
        assert channels.forget(session, b.LANE, FORGET_MS + 2) == 1
    later = FORGET_MS + 3
    again = replace(one, voucher=2 * MOST)
    for _ in range(2):
        assert enter(engine, again, 3, now=later).answer in (None, Answer.deposit)
        sweeps(engine, escrow, later)
        again = shown(again.channel, 2 * MOST, number=2)
    assert (known(engine, one).status, known(engine, one).error) == (Status.refused, USED_BEFORE)
    with unit_of_work(engine) as session:
        assert store.debt(session, PAYER, Digest(bytes(32))) == 0, "and is no debt"


def test_a_voucher_that_a_claim_has_shown_to_everybody_opens_no_call(engine: Engine, escrow: Escrow) -> None:
    one = replace(opened(engine, escrow), voucher=5 * MOST)
    assert enter(engine, one, 1).answer is Answer.admitted
    charge(engine, 1)
    sweeps(engine, escrow, IDLE_MS + 1)
    assert (known(engine, one).totals.claimed, known(engine, one).totals.published) == (MOST, 5 * MOST)
    later = IDLE_MS + 2
    assert enter(engine, one, 2, now=later).answer is Answer.voucher
    assert enter(engine, replace(one, voucher=5 * MOST + 1), 2, now=later).answer is Answer.admitted


def test_a_call_whose_gateway_ended_is_over_when_it_would_be(engine: Engine, escrow: Escrow) -> None:
    one = opened(engine, escrow)
    assert enter(engine, one, 1).answer is Answer.admitted
    for now, held in ((1_001, MOST), (1_002, 0)):
        with unit_of_work(engine) as session:
            channels.forget(session, b.LANE, now)
        assert known(engine, one).totals.held == held
    charge(engine, 1)
    sweeps(engine, escrow, 1_003)
    assert known(engine, one).totals.charged == MOST, "its receipt came late"


def test_the_operator_sees_channels_and_what_is_lost_by_command(
    engine: Engine,
    escrow: Escrow,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEDGER_DATABASE_URL", postgres_url)
    monkeypatch.setenv("LEDGER_LANE", to_hex(b.LANE))
    one = opened(engine, escrow)
    assert operate.main(["permits"]) == 0
    [said] = json.loads(capsys.readouterr().out)["channels"]
    assert (said["id"], said["balance"], said["lost"]) == (to_hex(one.id), str(DEPOSIT), "0")
    enter(engine, one)
    charge(engine, 1, MOST + 5)
    sweeps(engine, escrow)
    assert operate.main(["permits"]) == 1
    [said] = json.loads(capsys.readouterr().out)["channels"]
    assert (said["charged"], said["lost"]) == (str(MOST + 5), "5")
    with unit_of_work(engine) as session:
        assert debts.of_payer(session, PAYER) == 5, "it is refused permits, too"
    assert operate.main(["permits", "--forgive", to_hex(one.id)]) == 0
    with pytest.raises(SystemExit):
        operate.main(["permits", "--forgive", to_hex(one.id)])


def test_the_contracts_of_others_are_where_the_stock_client_says() -> None:
    from x402.mechanisms.evm.batch_settlement import constants

    assert bytes.fromhex(constants.BATCH_SETTLEMENT_ADDRESS[2:]) == CONTRACT
    assert bytes.fromhex(constants.ERC3009_DEPOSIT_COLLECTOR_ADDRESS[2:]) == COLLECTOR
