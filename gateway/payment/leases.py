"""Leases of consumers' deposits and of keys' budgets, spent in memory.

A call holds the most it can cost before any work is done, and gets the rest back when it is charged. What is free, held
and charged of a wallet always sums to what was leased, so calls that race cannot overspend. A wallet is filled in the
background before it is empty; the lease of a consumer that has been silent for a while goes back to the ledger.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import partial
from time import monotonic
from typing import Self
from weakref import WeakValueDictionary

import msgspec
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.clock import now_ms
from gateway.database import transact
from gateway.errors import Refusal
from ledger.core.accounts.budgets import DAY_MS, Allowance, days_of
from ledger.core.values.ids import Address, Lane
from ledger.flows import leases
from ledger.store.access import keys
from ledger.store.access.keys import Left

AHEAD = 8
"""A wallet with less than AHEAD times the last call's hold is filled in the background."""


Fetch = Callable[[int, int], Awaitable[int]]
"""Lease (least, best) atoms for a wallet; returns how many. Refused when fewer than the least are available."""


@dataclass(slots=True)
class Wallet:
    """A gateway's money of one consumer's deposit, or of one key's budget, in atoms."""

    free: int = 0
    held: int = 0
    touched: float = 0.0
    filling: bool = False
    adopted: int = 0
    """Counts `adopt`. What was fetched under an older count is discarded: the adopted balance has it already."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, amount: int) -> bool:
        if self.free < amount:
            return False
        self.free -= amount
        self.held += amount
        return True

    def is_idle(self, since: float) -> bool:
        """Whether no call has used it since then, or holds some of it."""
        return self.touched <= since and self.held == 0

    def is_done(self, since: float) -> bool:
        """Whether it is idle, and nobody fills it or returns what it has: then it may be forgotten."""
        return self.is_idle(since) and not self.filling and not self.lock.locked()

    def settle(self, held: int, charge: int) -> None:
        """A call is over: its hold ends, `charge` of it is gone."""
        assert 0 <= charge <= held <= self.held
        self.held -= held
        self.free += held - charge


class HoldState(IntEnum):
    """The state of a hold: open, perhaps charging, settled. It only goes forward."""

    open = 0
    charging = 1
    """A receipt is on its way to the receipt log: only its outcome settles the hold."""
    settled = 2


class Hold(msgspec.Struct):
    """Atoms set aside for one call, of the consumer's wallet and, if the key has a budget, of the key's."""

    consumer: Address
    amount: int
    wallet: Wallet
    budget: Wallet | None = None
    state: HoldState = HoldState.open

    def begin_charge(self) -> None:
        """Keep the hold until the receipt's outcome is known."""
        self._enter(HoldState.charging)

    def settle(self, charge: int) -> None:
        """Charge at most the hold, once; the rest is free again."""
        self._enter(HoldState.settled)
        self.wallet.settle(self.amount, charge)
        if self.budget is not None:
            self.budget.settle(self.amount, charge)

    def release(self) -> None:
        """Free everything, unless a charge is under way or the hold is settled."""
        if self.state is HoldState.open:
            self.settle(0)

    def join(self, other: Self) -> None:
        """Add an open hold of the same wallets to this one."""
        other._enter(HoldState.settled)
        self.amount += other.amount

    def _enter(self, state: HoldState) -> None:
        assert state > self.state, f"a hold that is {self.state.name} cannot be {state.name}"
        self.state = state


class BalanceLeases:
    """All wallets of a gateway. `target` is what to lease ahead, in atoms."""

    def __init__(self, engine: Engine, lane: Lane, gateway: Address, target: int, lasts_ms: int) -> None:
        self._engine = engine
        self._lane = lane
        self._gateway = gateway
        self._target = target
        self._lasts_ms = lasts_ms
        self._wallets: defaultdict[Address, Wallet] = defaultdict(Wallet)
        self._budgets: defaultdict[Allowance, Wallet] = defaultdict(Wallet)
        self._lines = WeakValueDictionary[str, asyncio.Lock]()
        """One for the keys that descend of one: they wait for its row, and would do so in all threads."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: frozenset[Address] = frozenset()

    def adopt(self, holdings: dict[Address, int]) -> None:
        """Set the wallets to what the ledger says is leased to us, at start and after the receipt log was lost.

        Open calls keep their holds, which are part of the holdings.
        """
        for consumer in {*self._wallets, *holdings}:
            wallet = self._wallets[consumer]
            wallet.free = holdings.get(consumer, 0) - wallet.held
            wallet.adopted += 1

    async def hold(self, consumer: Address, amount: int, allowance: Allowance | None = None) -> Hold:
        """Set `amount` aside. Refused with 402 and the exact shortfall when deposit, voucher or budget are too small,
        and while a lease ends: a consumer that always has a call open would spend all of it.

        `allowance` is what else it is taken of, where a key's budget bounds it.
        """
        assert amount >= 0, "a hold below 0 would make money"
        if consumer in self._ending:
            said = (
                "this account asked to leave its lane, or revoked the key of its voucher: what is leased here goes back"
            )
            raise Refusal(402, "lease_ended", said)
        wallet = self._wallets[consumer]
        wallet.touched = monotonic()
        if not wallet.take(amount):
            await self._fill(wallet, amount, lambda need, target: self._lease(consumer, wallet, need, target, amount))
        elif wallet.free < AHEAD * amount and not wallet.filling:
            self._fill_ahead(wallet, consumer)
        if allowance is None:
            return Hold(consumer, amount, wallet)
        budget = self._budgets[allowance]
        budget.touched = wallet.touched
        try:
            if not budget.take(amount):
                await self._fill(budget, amount, lambda need, target: self._allot(allowance, need, target))
        except BaseException:
            wallet.settle(amount, 0)
            raise
        return Hold(consumer, amount, wallet, budget)

    def outstanding(self) -> int:
        """Atoms held by open calls."""
        return sum(wallet.held for wallet in self._wallets.values())

    def free(self, consumer: Address) -> int:
        """Atoms of a consumer leased here and not held."""
        wallet = self._wallets.get(consumer)
        return wallet.free if wallet else 0

    async def renew(self) -> None:
        await transact(
            self._engine,
            lambda session: leases.renew(session, self._lane, self._gateway, now_ms(), self._lasts_ms),
        )

    async def return_idle(self, idle_seconds: float) -> None:
        """Return the leases of consumers and keys without a call for `idle_seconds`, and without an open one."""
        before = monotonic() - idle_seconds
        for consumer, wallet in list(self._wallets.items()):
            if wallet.is_idle(before):
                await self.give_back(consumer)
                if wallet.is_done(before):
                    del self._wallets[consumer]
        for allowance, budget in list(self._budgets.items()):
            if budget.is_idle(before):
                book = partial(keys.give_back, lane=self._lane, gateway=self._gateway, allowance=allowance)
                await self._return(budget, book)
                if budget.is_done(before):
                    del self._budgets[allowance]

    async def end(self, consumers: set[Address]) -> None:
        """Hold nothing more for these consumers, and return their leases: now, or when their last call is over."""
        self._ending = frozenset(consumers)
        for consumer in self._ending & self._wallets.keys():
            await self.give_back(consumer)

    async def give_back(self, consumer: Address) -> None:
        """Return a consumer's lease, unless a call of it is open."""
        wallet = self._wallets.get(consumer)
        if wallet is not None:
            lane, gateway = self._lane, self._gateway
            await self._return(wallet, lambda session: leases.release(session, lane, consumer, gateway, now_ms()))

    async def _return(self, wallet: Wallet, book: Callable[[Session], object]) -> None:
        """Return an idle wallet's balance to the ledger. On failure restore it, unless it was adopted meanwhile."""
        async with wallet.lock:
            if wallet.held:
                return
            free, wallet.free, adopted = wallet.free, 0, wallet.adopted
            try:
                await transact(self._engine, book)
            except BaseException:
                if wallet.adopted == adopted:
                    wallet.free += free
                raise

    async def _fill(self, wallet: Wallet, amount: int, fetch: Fetch) -> None:
        """Hold `amount`, filling the wallet first unless an earlier turn has done so.

        Other calls hold and settle meanwhile, so what is fetched is added to the balance of then, and if that is still
        too little more is fetched.
        """
        async with wallet.lock:
            while not wallet.take(amount):
                await self._add(wallet, fetch(amount - wallet.free, max(self._target, amount)))

    @staticmethod
    async def _add(wallet: Wallet, fetching: Awaitable[int]) -> None:
        adopted = wallet.adopted
        granted = await fetching
        if wallet.adopted == adopted:
            wallet.free += granted

    def _fill_ahead(self, wallet: Wallet, consumer: Address) -> None:
        async def ahead() -> None:
            try:
                async with wallet.lock:
                    if wallet.held or wallet.free:
                        await self._add(wallet, self._lease(consumer, wallet, 1, self._target, 1))
            except Refusal:
                pass  # a call that needs more says what is short
            finally:
                asyncio.get_running_loop().call_later(1.0, setattr, wallet, "filling", False)

        wallet.filling = True
        task = asyncio.create_task(ahead())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lease(self, consumer: Address, wallet: Wallet, need: int, target: int, amount: int) -> int:
        request = leases.LeaseRequest(self._lane, consumer, self._gateway, need, target, self._lasts_ms)
        granted, left = await transact(self._engine, lambda session: leases.lease(session, request, now_ms()))
        if granted:
            return granted
        here = wallet.free
        shortfall = need - left.spendable
        short_of = "deposit" if left.available <= left.room else "voucher"
        raise Refusal(
            402,
            "insufficient_balance" if short_of == "deposit" else "voucher_exhausted",
            f"this call may cost {amount} atoms; {amount - shortfall} are left: {shortfall} atoms short of {short_of}",
            facts={
                "required": str(amount),
                "available": str(here + left.available),
                "voucher_room": str(here + left.room),
                "shortfall": str(shortfall),
                "short_of": short_of,
            },
        )

    async def _allot(self, allowance: Allowance, need: int, target: int) -> int:
        async with self._lines.setdefault(allowance.line[0], asyncio.Lock()):
            granted, left = await transact(
                self._engine,
                lambda session: leases.allot(session, self._lane, allowance, self._gateway, (need, target), now_ms()),
            )
        if not granted:
            assert left is not None, "without a budget the target is granted"
            raise _exhausted(allowance, left, need, self._budgets[allowance].free)
        return granted


def _exhausted(allowance: Allowance, left: Left, need: int, here: int) -> Refusal:
    """The refusal of a call above a budget: what it needs, what is left, until when, and what to lower or raise."""
    budget, rest, required = left.budget, here + left.atoms, here + need
    if budget is None:
        return Refusal(401, "invalid_api_key", "this key was revoked")
    _, end = days_of(budget.period, allowance.day)
    again = {"resets_at": end * DAY_MS} if budget.period is not None else {}
    until = f" until {datetime.fromtimestamp(end * DAY_MS / 1000, UTC):%Y-%m-%d %H:%M} UTC" if again else ""
    whose = "this key" if left.key_id == allowance.line[-1] else f"key {left.key_id}, of which this key was made,"
    return Refusal(
        402,
        "key_budget_exhausted",
        f"this call may cost {required} atoms; {whose} has {rest} left of its budget of {budget}{until}: "
        "ask for less output (max_tokens), or raise the budget",
        facts={
            "required": str(required),
            "available": str(rest),
            "shortfall": str(required - rest),
            "short_of": "budget",
            "key": left.key_id,
            "budget": str(budget.amount),
            **again,
        },
    )
