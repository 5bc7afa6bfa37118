"""Leases: how a gateway comes by money it may spend, and how what it did not spend goes back.

A lease moves a slice of `available` to `leased` for one gateway, which then spends it in memory and journals what it
charged. The sum handed out, less what came back, never passes the consumer's mandate (its voucher), so neither voucher
nor deposit can be overspent however many gateways ask at once: each takes its turn at the consumer's account.

A gateway closes its own leases. Somebody else may close them only when they were not renewed in time and nobody holds
the lock on that gateway's journal: only then is it certain that no receipt will still come.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.accounts import accounts, movements
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address
from ledger.store.access import keys, leases, vouchers
from ledger.store.access.leases import Lease
from ledger.store.money import postings
from ledger.store.receipts.appender import lock_number


@dataclass(frozen=True, slots=True)
class Means:
    """What a consumer could still hand to a gateway: deposit left, and what its mandate leaves room for."""

    available: int
    room: int

    @property
    def spendable(self) -> int:
        """The lesser of the two."""
        return min(self.available, self.room)


def means(session: Session, lane: int, consumer: Address) -> Means:
    """What is left of a consumer's deposit and mandate, not counting what gateways hold already."""
    available = postings.balance(session, accounts.available(consumer))
    room = vouchers.mandate(session, lane, consumer) - leases.committed(session, lane, consumer)
    return Means(available, max(0, room))


def lease(
    session: Session, lane: int, consumer: Address, gateway: Address, need: int, wish: int, now: int, lasts_ms: int
) -> tuple[int, Means]:
    """Hand a gateway up to `wish` atoms, at least `need` or nothing. Returns the amount and what was left before.

    A wish is cut to a quarter of what the consumer has left, so that other gateways find something too.
    """
    postings.lock(session, [accounts.available(consumer)])
    left = means(session, lane, consumer)
    amount = min(left.spendable, max(need, min(wish, left.spendable // 4)))
    if amount < need or amount == 0:
        return 0, left
    made = keccak256(b"lease", gateway, consumer, leases.count(session, consumer).to_bytes(8, "big"))
    leases.add(session, Lease(made, lane, consumer, gateway, amount, now + lasts_ms))
    postings.book(session, movements.lease(made, consumer, gateway, amount, now))
    return amount, left


def release(session: Session, consumer: Address, gateway: Address, now: int) -> int:
    """Close a gateway's leases of one consumer; returns what went back. No charge may be under way."""
    postings.lock(session, [accounts.available(consumer), accounts.leased(consumer, gateway)])
    return _close(session, consumer, leases.open_ones(session, gateway, consumer), gateway, now)


def unspent(session: Session, gateway: Address) -> dict[Address, int]:
    """What a gateway still holds of each consumer: leased, less what its journal has charged and nobody posted yet."""
    holders = leases.consumers(leases.open_ones(session, gateway))
    held = postings.lock(session, [accounts.leased(consumer, gateway) for consumer in holders])
    logged = leases.unposted(session, gateway)
    return {c: held[accounts.leased(c, gateway)] - logged.get(c, 0) for c in holders}


def held_by_gateways(session: Session, consumer: Address) -> int:
    """What gateways hold of a consumer and have not charged: leased, less what is journaled and not yet posted."""
    gateways = leases.holders(session, consumer)
    held = postings.lock(session, [accounts.leased(consumer, gateway) for gateway in gateways])
    logged = sum(leases.unposted(session, gateway).get(consumer, 0) for gateway in gateways)
    return sum(held.values()) - logged


def renew(session: Session, gateway: Address, now: int, lasts_ms: int) -> None:
    """Keep a live gateway's leases."""
    leases.renew(session, gateway, now + lasts_ms)


def reclaim(session: Session, lane: int, now: int) -> dict[Address, int]:
    """Close the expired leases of gateways that are gone; returns what went back, by gateway."""
    returned: dict[Address, int] = {}
    for gateway in leases.expired(session, lane, now):
        if not leases.gateway_is_gone(session, lock_number(gateway)):
            continue
        found = leases.open_ones(session, gateway)
        holders = leases.consumers(found)
        names = [name for c in holders for name in (accounts.available(c), accounts.leased(c, gateway))]
        postings.lock(session, names)
        returned[gateway] = sum(
            _close(session, c, [one for one in found if one.consumer == c], gateway, now) for c in holders
        )
        keys.give_back(session, gateway)
    return returned


def allot(session: Session, key: bytes, gateway: Address, need: int, wish: int) -> int:
    """Hand a gateway up to `wish` atoms of a key's budget, at least `need` or nothing."""
    left = keys.budget_left(session, key)
    if left is None:
        return wish
    granted = min(left, max(need, min(wish, left // 4)))
    if granted < need or granted == 0:
        return 0
    keys.allot(session, key, gateway, granted)
    return granted


def give_back(session: Session, key: bytes, gateway: Address) -> None:
    """A gateway keeps only what it has spent of a key's budget. No charge to the key may be under way."""
    keys.give_back(session, gateway, key)


def _close(session: Session, consumer: Address, found: list[Lease], gateway: Address, now: int) -> int:
    """Close these leases, all of one consumer's that are open, and book what was not spent back."""
    if not found:
        return 0
    held = postings.balance(session, accounts.leased(consumer, gateway))
    rest = held - leases.unposted(session, gateway).get(consumer, 0)
    back = rest
    for one in reversed(found):
        returned = min(one.amount, rest)
        leases.close(session, one, one.amount - returned)
        rest -= returned
    if back:
        postings.book(session, movements.release(found[-1].id, consumer, gateway, back, now))
    return back
