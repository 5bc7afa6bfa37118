"""The ledger's random lives: whatever happens in whatever order, every law holds after every step."""

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ledger.core.accounts.accounts import available, claimable, leased, withdrawing
from ledger.core.settlement import events
from ledger.core.values.errors import Rejected
from ledger.flows import indexer
from ledger.settings import Settings
from ledger.store.chain import lanes
from ledger.store.session import connect, unit_of_work
from tests import builders as b
from tests.conftest import a_database
from tests.room import PAYEES, Room

CONSUMERS = st.sampled_from((b.ALICE, b.BOB))


class Lives(RuleBasedStateMachine):
    """One ledger from its first deposit on. `server` is the database server, given by the test."""

    server = ""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        url = self.stack.enter_context(a_database(self.server))
        engine = connect(Settings(database_url=url).sqlalchemy_url)
        self.stack.callback(engine.dispose)
        self.room = Room(engine)
        self.lease_number = 5_000

    @rule(consumer=CONSUMERS, amount=st.integers(1, 10**9))
    def deposit(self, consumer: bytes, amount: int) -> None:
        self.room.deposit(b.an_account(consumer), amount)

    @rule(consumer=CONSUMERS, amount=st.integers(1, 10**9))
    def lease(self, consumer: bytes, amount: int) -> None:
        with contextlib.suppress(Rejected):
            self.room.lease(b.an_account(consumer), amount)

    @rule(count=st.integers(1, 150))
    def serve(self, count: int) -> None:
        cost = b.a_receipt(1).charge * count
        if all(self.room.balance(leased(who, b.GATEWAY.address)) >= cost for who in (b.ALICE, b.BOB)):
            self.room.serve(count)

    @rule()
    def close(self) -> None:
        self.room.close()

    @rule(rounds=st.integers(1, 4))
    def sweep(self, rounds: int) -> None:
        self.room.sweep(rounds)

    @rule(seconds=st.integers(1, 120))
    def wait(self, seconds: int) -> None:
        self.room.chain.mine(seconds=seconds)
        self.room.index()
        self.room.finalize()

    @rule(payee=st.sampled_from(PAYEES), part=st.integers(1, 4))
    def claim(self, payee: bytes, part: int) -> None:
        who = b.an_account(payee)
        amount = self.room.final_claim(who) // part
        if amount:
            self.room.see(events.Claimed(b.LANE, PAYEES.index(who) + 3, who, amount))

    @rule(consumer=CONSUMERS)
    def leave(self, consumer: bytes) -> None:
        who = b.an_account(consumer)
        self.room.see(events.WithdrawRequested(b.LANE, who, True))
        with unit_of_work(self.room.engine) as session:
            indexer.set_aside(session, b.LANE, self.room.now)
        amount = self.room.balance(withdrawing(who))
        if amount:
            self.room.see(events.Withdrawn(b.LANE, who, amount, False))

    @precondition(lambda self: any(status == "posted" for _, status, _ in self.room.batches()))
    @rule()
    def void(self) -> None:
        posted = next(onchain_id for _, status, onchain_id in self.room.batches() if status == "posted")
        assert posted is not None
        with unit_of_work(self.room.engine) as session:
            lane = lanes.get(session, b.LANE)
        assert lane is not None
        self.room.see(events.Fell(b.LANE, posted, lane.era + 1, b.BOB))

    @precondition(lambda self: self.room.blocks_without_exits() > 0)
    @rule(depth=st.integers(1, 3), keep_pool=st.booleans())
    def reorganise(self, depth: int, keep_pool: bool) -> None:
        depth = min(depth, self.room.blocks_without_exits())
        self.room.fork(depth, keep_pool=keep_pool)

    @rule()
    def forget_the_pool(self) -> None:
        self.room.chain.forget()

    @invariant()
    def every_law_holds(self) -> None:
        assert self.room.laws(thorough=False) == []

    def teardown(self) -> None:
        try:
            assert self.room.laws() == []
            assert self.room.balance(claimable(b.MAKER)) >= 0
            assert self.room.balance(available(b.ALICE)) >= 0
        finally:
            self.stack.close()


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_every_law_holds_through_random_lives(postgres_server: str) -> None:
    Lives.server = postgres_server
    slow = (HealthCheck.too_slow, HealthCheck.data_too_large)
    run_state_machine_as_test(
        Lives, settings=settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=slow)
    )
