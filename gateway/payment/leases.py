"""The purse: leases of consumers' deposits, and of keys' budgets, spent in memory.

A call holds the most it can cost before anything is done for it, and keeps the rest when it is charged. What is free,
held and charged of a wallet always sums to what was leased, so no race between calls can overspend: there is no check
apart from the taking. Wallets are filled in the background before they are empty; a consumer that falls silent gets
its lease back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Engine
from sqlmodel import Session

from gateway.clock import now_ms
from gateway.database import transact
from gateway.errors import Refusal
from ledger.core.values.ids import Address
from ledger.flows import leases

AHEAD = 8
"""A wallet is filled in the background when less than so many calls like the last one fit into it."""


class Filler(Protocol):
    """Where a wallet's money comes from: at least `need`, at best `target`, or a refusal that says what is short."""

    def __call__(self, need: int, target: int) -> Awaitable[int]: ...


@dataclass(slots=True)
class Wallet:
    """What a gateway may spend of one consumer's deposit, or of one key's budget."""

    free: int = 0
    held: int = 0
    touched: float = 0.0
    filling: bool = False
    adopted: int = 0
    """How often the ledger has said anew what is free: what was fetched before that is part of it, or stays leased."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, amount: int) -> bool:
        """Hold `amount` if it is there."""
        if self.free < amount:
            return False
        self.free -= amount
        self.held += amount
        return True

    def settle(self, held: int, charge: int) -> None:
        """A call is over: its hold ends, `charge` of it is gone."""
        assert 0 <= charge <= held <= self.held
        self.held -= held
        self.free += held - charge


@dataclass(slots=True)
class Hold:
    """Atoms set aside for one call, of the consumer's wallet and, if the key has a budget, of the key's."""

    consumer: Address
    amount: int
    wallet: Wallet
    budget: Wallet | None = None
    settled: bool = False
    charging: bool = False
    """A receipt is on its way to the journal: only its outcome may settle this hold."""

    def settle(self, charge: int) -> None:
        """Charge at most the hold, once. 0 releases it."""
        assert not self.settled
        self.settled = True
        self.wallet.settle(self.amount, charge)
        if self.budget is not None:
            self.budget.settle(self.amount, charge)


class BalanceLeases:
    """All wallets of a gateway."""

    def __init__(self, engine: Engine, lane: int, gateway: Address, target: int, lasts_ms: int) -> None:
        self._engine = engine
        self._lane = lane
        self._gateway = gateway
        self._target = target
        self._lasts_ms = lasts_ms
        self._wallets: dict[Address, Wallet] = {}
        self._budgets: dict[bytes, Wallet] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, holdings: dict[Address, int]) -> None:
        """Begin, or begin again after the journal was lost, with what the ledger says is ours.

        Calls that are open keep their holds; what they hold is part of the holdings.
        """
        for consumer in {*self._wallets, *holdings}:
            wallet = self._wallets.setdefault(consumer, Wallet())
            wallet.free = holdings.get(consumer, 0) - wallet.held
            wallet.adopted += 1

    async def hold(self, consumer: Address, amount: int, key: bytes | None = None) -> Hold:
        """Set `amount` aside. Refused with 402 and the exact shortfall when deposit, voucher or budget are too small.

        `key` is the hash of a key with a budget.
        """
        wallet = self._wallets.get(consumer)
        if wallet is None:
            wallet = self._wallets.setdefault(consumer, Wallet())
        wallet.touched = asyncio.get_running_loop().time()
        if not wallet.take(amount):
            await self._fill(wallet, amount, lambda need, target: self._lease(consumer, need, target, amount, wallet))
        elif wallet.free < AHEAD * amount and not wallet.filling:
            self._fill_ahead(wallet, consumer)
        if key is None:
            return Hold(consumer, amount, wallet)
        budget = self._budgets.setdefault(key, Wallet())
        budget.touched = wallet.touched
        try:
            if not budget.take(amount):
                await self._fill(budget, amount, lambda need, target: self._allot(key, need, target))
        except BaseException:
            wallet.settle(amount, 0)
            raise
        return Hold(consumer, amount, wallet, budget)

    def outstanding(self) -> int:
        """Atoms held by open calls."""
        return sum(wallet.held for wallet in self._wallets.values())

    def free(self, consumer: Address) -> int:
        """What is leased here and not held."""
        wallet = self._wallets.get(consumer)
        return wallet.free if wallet else 0

    async def renew(self) -> None:
        """Keep our leases."""
        await transact(self._engine, lambda session: leases.renew(session, self._gateway, now_ms(), self._lasts_ms))

    async def return_idle(self, idle_seconds: float) -> None:
        """Give back the leases of consumers that have been silent for so long and have no call open."""
        before = asyncio.get_running_loop().time() - idle_seconds
        for consumer, wallet in list(self._wallets.items()):
            if wallet.touched <= before and wallet.held == 0:
                await self.give_back(consumer)
        for key, budget in list(self._budgets.items()):
            if budget.touched <= before and budget.held == 0:
                await self._give_back_budget(key, budget)

    async def give_back(self, consumer: Address) -> None:
        """Return a consumer's lease, unless a call of it is open."""
        wallet = self._wallets.get(consumer)
        if wallet is not None:
            await self._return(wallet, lambda session: leases.release(session, consumer, self._gateway, now_ms()))

    async def _give_back_budget(self, key: bytes, budget: Wallet) -> None:
        await self._return(budget, lambda session: leases.give_back(session, key, self._gateway))

    async def _return(self, wallet: Wallet, book: Callable[[Session], object]) -> None:
        """Empty a wallet nothing is held of. What could not be booked is in it again, unless it was told anew."""
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

    async def _fill(self, wallet: Wallet, amount: int, fill: Filler) -> None:
        """Wait for our turn, look again, then fill. Waiters find what an earlier turn left.

        While a filler works, other calls take from the wallet and settle into it: what it brings is added to what is
        there afterwards, and when that was taken meanwhile, it is asked again.
        """
        async with wallet.lock:
            while not wallet.take(amount):
                adopted = wallet.adopted
                granted = await fill(amount - wallet.free, max(self._target, amount))
                assert granted > 0, "a filler brings something or refuses"
                if wallet.adopted == adopted:
                    wallet.free += granted

    def _fill_ahead(self, wallet: Wallet, consumer: Address) -> None:
        async def ahead() -> None:
            try:
                async with wallet.lock:
                    if wallet.held or wallet.free:
                        adopted = wallet.adopted
                        granted = await transact(
                            self._engine, lambda session: self._granted(session, consumer, 1, self._target)[0]
                        )
                        if wallet.adopted == adopted:
                            wallet.free += granted
            finally:
                asyncio.get_running_loop().call_later(1.0, setattr, wallet, "filling", False)

        wallet.filling = True
        task = asyncio.create_task(ahead())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lease(self, consumer: Address, need: int, target: int, amount: int, wallet: Wallet) -> int:
        granted, left = await transact(self._engine, lambda session: self._granted(session, consumer, need, target))
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

    async def _allot(self, key: bytes, need: int, target: int) -> int:
        granted = await transact(self._engine, lambda session: leases.allot(session, key, self._gateway, need, target))
        if not granted:
            raise Refusal(
                402,
                "key_budget_exhausted",
                "this key's budget is too small for the call",
                facts={"required": str(need), "short_of": "budget"},
            )
        return granted

    def _granted(self, session: Session, consumer: Address, need: int, target: int) -> tuple[int, leases.Means]:
        asked = leases.LeaseRequest(self._lane, consumer, self._gateway, need, target, self._lasts_ms)
        return leases.lease(session, asked, now_ms())
