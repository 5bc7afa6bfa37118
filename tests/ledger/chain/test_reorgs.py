"""The chain takes back its last blocks at every stage of a batch's life: contract and ledger agree again each time."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from ledger.chain.calls import LaneTerms
from ledger.chain.errors import Reverted
from ledger.chain.reads import Chain
from ledger.core.accounts.accounts import CUSTODY
from ledger.core.accounts.postings import balance
from ledger.core.disputes.proofs import ask_words
from ledger.core.disputes.questions import RECEIPTS, subject_of_words
from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import NO_HEADER
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Lane
from ledger.core.values.typed_data import Signer
from ledger.flows import audits
from ledger.flows import batches as settling
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches, proofs, transactions
from tests import builders as b
from tests.ledger.chain.conftest import ANSWER, BOND, DEPOSIT, FUNDS, WINDOW, Stage, open_lane, stage
from tests.ledger.flows.test_on_a_chain import Operator

__all__ = ["stage"]
LAWS = {"L1", "L3", "L4", "L5", "L6", "L7", "L8", "L9"}
"""Not those of leases and vouchers: here nobody has any."""
DAY = 86_400
"""Between a fall and the lane's next life, in seconds."""
FEE = 10**17
"""Wei sent with a question. What is above its fee is owed back."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Life:
    """A batch's life, one transaction a stage; each is mined, taken back, and sent again."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.chain, self.stage = operator, operator.chain, operator.stage

    def twice(self, sender: Signer | None, call: Call, value: int = 0) -> None:
        """Do it, see it gone with its block, do it again. The ledger follows on its own."""
        before, stood, tip = self.state(), self.booked(), self.chain.tip()
        key = FUNDS if sender is None else self.stage.key(sender)
        self.chain.transact(key, call, value)
        done = self.state()
        assert done != before, "it did something"
        self.agrees()
        booked = self.booked()
        self.chain.rpc("anvil_reorg", self.chain.tip() - tip, [])
        assert self.state() == before, "as if it had never been"
        with pytest.raises(Unavailable, match="went away"):
            self.broken()  # it has not been indexed: the chain is not compared with what it does not say any more
        self.agrees()
        assert self.booked() == stood
        self.chain.transact(key, call, value)
        assert self.state() == done
        self.agrees()
        assert self.booked() == booked

    def state(self) -> tuple[object, ...]:
        """What the contract says of the lane."""
        lane, chain = self.stage.lane, self.chain
        accounts = [chain.account(lane, who.address) for who in self.stage.consumers]
        exits = [(one.deposited, one.withdrawn, one.requested_at != 0) for one in accounts]
        head, books = chain.head(lane), chain.books(lane)
        claimed = [chain.claimed(lane, index) for index in (1, 2)]
        state = chain.lane(lane)
        asked = chain.posted(lane, 1).open
        return head.next, head.finalized, head.total, exits, claimed, state.era, books, asked

    def booked(self) -> tuple[list[tuple[int, Status]], dict[str, int]]:
        """What the ledger says: its batches, and every account with a balance."""
        with unit_of_work(self.operator.engine) as session:
            balances = {
                name: balance(name, entries) for name, entries in postings.entries(session, self.stage.lane).items()
            }
        return self.standing(), {name: amount for name, amount in balances.items() if amount}

    def standing(self) -> list[tuple[int, Status]]:
        """Every batch the ledger built, and where it stands."""
        with unit_of_work(self.operator.engine) as session:
            found = batches.with_status(session, self.stage.lane, *Status)
            return [(one.number, one.status) for one in found]

    def agrees(self) -> None:
        """The ledger's custody is what the contract holds for the lane, and no law is broken."""
        self.operator.index()
        with unit_of_work(self.operator.engine) as session:
            assert postings.balance(session, self.stage.lane, CUSTODY) == held(self.chain, self.stage.lane)
        assert self.broken() == []

    def broken(self) -> list[alarms.Alarm]:
        """The laws that an audit finds broken."""
        scope = audits.Scope(self.stage.lane, self.stage.domain, self.chain.held)
        with unit_of_work(self.operator.engine) as session:
            return [alarm for alarm in audits.reconcile(session, scope, 1, thorough=True) if alarm.law in LAWS]


def held(chain: Chain, lane: Lane) -> int:
    """What the contract holds for a lane at the tip."""
    tip = chain.block()
    assert tip is not None
    return chain.held(lane, tip)


@pytest.fixture
def operator(engine: Engine, stage: Stage) -> Operator:
    return Operator(engine, stage)


def rise(operator: Operator) -> None:
    """A day after a fall the lane has a bond again, and goes on."""
    boss, calls = operator.stage.key(operator.stage.operator), operator.chain.calls
    operator.chain.transact(boss, calls.to_settlement("addBond", operator.stage.lane, BOND))
    operator.stage.wait(DAY + 1)
    operator.chain.transact(boss, calls.to_settlement("setActive", operator.stage.lane, True))
    operator.index()


def test_a_batch_lives_through_a_reorganisation_at_every_stage(operator: Operator) -> None:
    life, calls = Life(operator), operator.chain.calls
    lane, boss = operator.stage.lane, operator.stage.operator
    life.twice(None, calls.deposit(lane, operator.caller, 1_000))
    operator.serve(3)
    with unit_of_work(operator.engine) as session:
        batch = settling.close(session, operator.lane, 0, 1)
        assert batch is not None
        settling.commit(session, operator.lane, calls, 1)
    with unit_of_work(operator.engine) as session:
        (commit,) = transactions.intended(session, lane)
        session.execute(text("UPDATE chain_transactions SET status = 'confirmed'"))
    life.twice(boss, (commit.target, commit.data))
    life.twice(operator.stage.auditor, calls.prove(lane, 1, batch.header, ask_words(RECEIPTS, 0, 0)), FEE)
    life.twice(boss, operator.answer())
    with unit_of_work(operator.engine) as session:
        earned = proofs.payout(session, batch, b.MAKER)
    operator.stage.wait(WINDOW)
    life.twice(None, calls.finalize(lane, 1, batch.header))
    assert earned is not None
    life.twice(None, calls.claim(lane, earned.index, b.MAKER, earned.cumulative, list(earned.siblings)))
    life.twice(operator.stage.consumers[1], calls.to("Consumers", "requestWithdraw", lane))


def test_a_conviction_that_is_taken_back_is_sent_again(operator: Operator) -> None:
    """Three batches fall, all that are not final, and stand again, and fall again: the bond is taken once."""
    life, chain, calls = Life(operator), operator.chain, operator.chain.calls
    lane, auditor = operator.stage.lane, operator.stage.auditor
    made = []
    for _ in range(3):
        operator.serve(3)
        made.append(operator.settle())
    chain.transact(operator.stage.key(auditor), calls.prove(lane, 2, made[1].header, ask_words(RECEIPTS, 0, 0)), FEE)
    operator.stage.wait(ANSWER + 1)
    life.twice(None, calls.to("Questions", "close", lane, 2, made[1].header.id, subject_of_words(RECEIPTS, 0, 0)))
    assert int(chain.settlement("owed", auditor.address)) == BOND // 2
    assert [status.value for _, status in life.standing()] == ["void", "void", "void"]
    rise(operator)
    again = operator.settle()
    assert (again.header.calls, again.header.prev, again.header.era) == (9, NO_HEADER, 2)
    life.agrees()
    operator.stage.wait(WINDOW + 1)
    life.twice(None, calls.finalize(lane, 1, again.header))


def test_a_conviction_that_is_gone_for_good_leaves_the_batches_it_struck(operator: Operator) -> None:
    """What was built in their place gives way, also on chain; the batches become final and are paid once."""
    life, chain, calls = Life(operator), operator.chain, operator.chain.calls
    lane = operator.stage.lane
    operator.serve(3)
    first = operator.settle()
    question = ask_words(RECEIPTS, 0, 0)
    chain.transact(operator.stage.key(operator.stage.auditor), calls.prove(lane, 1, first.header, question), FEE)
    operator.stage.wait(ANSWER - 60)
    tip, stood = chain.tip(), life.booked()
    chain.rpc("evm_increaseTime", 120)
    chain.transact(FUNDS, calls.to("Questions", "close", lane, 1, first.header.id, question.subject))
    rise(operator)
    second = operator.settle()
    assert (second.number, second.header.calls) == (2, 3)
    life.agrees()
    chain.rpc("anvil_reorg", chain.tip() - tip, [])
    life.agrees()
    assert life.standing() == [(1, Status.posted), (2, Status.void)]
    assert life.booked()[1] == stood[1]
    with unit_of_work(operator.engine) as session:
        earned = proofs.payout(session, first, b.MAKER)
    assert earned is not None
    life.twice(operator.stage.operator, operator.answer())
    operator.stage.wait(WINDOW)
    life.twice(None, calls.finalize(lane, 1, first.header))
    before = chain.balance(b.MAKER)
    life.twice(None, calls.claim(lane, earned.index, b.MAKER, earned.cumulative, list(earned.siblings)))
    assert chain.balance(b.MAKER) == before + earned.cumulative


def test_an_exit_lives_through_a_reorganisation_at_every_stage(operator: Operator) -> None:
    life, chain, calls = Life(operator), operator.chain, operator.chain.calls
    lane, leaver = operator.stage.lane, operator.stage.consumers[0]
    before = chain.balance(leaver.address)
    operator.serve(3, DEPOSIT // 2)
    life.twice(leaver, calls.to("Consumers", "requestWithdraw", lane))
    operator.stage.wait(2)
    operator.index()
    batch = operator.settle()
    operator.stage.wait(WINDOW + 1)
    life.twice(None, calls.finalize(lane, 1, batch.header))
    with unit_of_work(operator.engine) as session:
        owed = proofs.debit(session, batch, leaver.address)
    assert owed is not None
    operator.release(DEPOSIT // 2 - owed.cumulative)
    life.twice(None, calls.withdraw(lane, leaver.address, owed.cumulative, list(owed.siblings)))
    assert chain.balance(leaver.address) == before + DEPOSIT - owed.cumulative


def test_consumers_move_from_a_lane_to_another(operator: Operator) -> None:
    """Leave, the last batch, withdraw, deposit in the new lane, and be charged there: nothing is lost on the way."""
    chain, calls, caller = operator.chain, operator.chain.calls, operator.stage.consumers[0]
    lane = operator.stage.lane
    key, before = operator.stage.key(caller), chain.balance(caller.address)
    operator.serve(3)
    chain.transact(key, calls.to("Consumers", "requestWithdraw", lane))
    operator.stage.wait(2)
    operator.index()
    batch = operator.settle()
    operator.stage.wait(WINDOW + 1)
    chain.transact(FUNDS, calls.finalize(lane, 1, batch.header))
    with unit_of_work(operator.engine) as session:
        owed = proofs.debit(session, batch, caller.address)
    assert owed is not None
    elsewhere = open_lane(chain, key, LaneTerms(WINDOW, ANSWER), BOND)
    chain.transact(FUNDS, calls.withdraw(lane, caller.address, owed.cumulative, list(owed.siblings)))
    left = chain.balance(caller.address) - before + BOND
    assert left == DEPOSIT - owed.cumulative
    chain.transact(key, calls.deposit(elsewhere, caller.address, left))
    assert chain.account(elsewhere, caller.address).deposited == chain.books(elsewhere).net == left
    assert chain.books(lane).net == DEPOSIT + owed.cumulative, "the other consumer's deposit, and what payees may claim"


def test_who_served_by_a_vanished_operator_escapes(operator: Operator) -> None:
    """No batch for seven days: out with everything, by the last final proof or, before any, without one."""
    chain, calls, caller = operator.chain, operator.chain.calls, operator.stage.consumers[0]
    lane, before = operator.stage.lane, chain.balance(caller.address)
    chain.transact(operator.stage.key(caller), calls.to("Consumers", "requestWithdraw", lane))
    escape = calls.withdraw(lane, caller.address, 0, [], escape=True)
    with pytest.raises(Reverted, match="TooEarly"):
        chain.transact(FUNDS, escape)
    operator.stage.wait(7 * 86_400 + 1)
    chain.transact(FUNDS, escape)
    assert chain.balance(caller.address) == before + DEPOSIT
    operator.index()
    with unit_of_work(operator.engine) as session:
        assert postings.balance(session, lane, CUSTODY) == held(chain, lane) == DEPOSIT
