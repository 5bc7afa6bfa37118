"""Leases: money a gateway may spend, and its return when it was not spent.

A lease moves a slice of `available` to `leased` for one gateway, which then spends it in memory and writes receipts for
what it charged. What is leased, less what came back, never exceeds the consumer's mandate (its voucher) nor its
deposit, however many gateways ask at once: each locks the consumer's account.

A gateway closes its own leases. A worker may close them only when they have expired and no process holds the lock on
that gateway's receipt log: only then can no receipt follow.
"""

from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.accounts import accounts, movements, permissions, webhooks
from ledger.core.accounts.budgets import Allowance
from ledger.core.settlement.batches import AtStake, Status
from ledger.core.values.atoms import Atoms
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane
from ledger.store.access import keys, leases, vouchers
from ledger.store.access import webhooks as hooks
from ledger.store.access.keys import Left
from ledger.store.access.leases import Lease
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts.appender import lock_number
from ledger.store.settlement import batches


@dataclass(frozen=True, slots=True)
class Means:
    """The rest of a consumer's deposit that can still be leased, and the rest that its mandate allows."""

    available: int
    room: int

    @property
    def spendable(self) -> int:
        return min(self.available, self.room)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A gateway's request: at least `need` atoms of a consumer's deposit, at best `target`, for `lasts_ms`."""

    lane: Lane
    consumer: Address
    gateway: Address
    need: int
    target: int
    lasts_ms: int


def means(session: Session, lane: Lane, consumer: Address) -> Means:
    """The rest of a consumer's deposit and mandate, without what gateways hold already."""
    available = postings.balance(session, lane, accounts.available(consumer))
    room = vouchers.mandate(session, lane, consumer) - leases.committed(session, lane, consumer)
    return Means(available, max(0, room))


def at_stake(session: Session, lane: Lane) -> AtStake:
    """What the lane's bond has to cover now."""
    terms = lanes.get(session, lane)
    pending = batches.with_status(session, lane, Status.posted)
    charged = postings.total(session, lane, "accrued:") + sum(batch.total for batch in pending)
    limit = terms.bond * terms.leverage if terms is not None else 0
    return AtStake(charged, postings.total(session, lane, "leased:"), limit)


def lease(session: Session, asked: LeaseRequest, now: int) -> tuple[int, Means]:
    """Lease up to the target, and at least the need or nothing. Returns the amount, and what was left before."""
    lane, consumer, gateway = asked.lane, asked.consumer, asked.gateway
    postings.lock(session, lane, [accounts.available(consumer)])
    left = means(session, lane, consumer)
    amount = permissions.grant(left.spendable, asked.need, asked.target)
    if amount == 0:
        return 0, left
    made = keccak256(b"lease", lane, gateway, consumer, leases.count(session, lane, consumer).to_bytes(8, "big"))
    leases.add(session, Lease(lane, made, consumer, gateway, amount, now + asked.lasts_ms))
    postings.book(session, movements.lease(lane, made, consumer, gateway, amount, now))
    return amount, left


def release(session: Session, lane: Lane, consumer: Address, gateway: Address, now: int) -> int:
    """Close a gateway's leases of one consumer; returns what went back. No charge may be under way."""
    postings.lock(session, lane, [accounts.available(consumer), accounts.leased(consumer, gateway)])
    return _close(session, leases.open_ones(session, lane, gateway, consumer), now)


def unspent(session: Session, lane: Lane, gateway: Address) -> dict[Address, int]:
    """The rest a gateway can spend of each consumer: leased, less what it charged in receipts not yet posted."""
    holders = leases.consumers(leases.open_ones(session, lane, gateway))
    held = postings.lock(session, lane, [accounts.leased(consumer, gateway) for consumer in holders])
    logged = leases.unposted(session, lane, gateway)
    return {c: held[accounts.leased(c, gateway)] - logged.get(c, 0) for c in holders}


def ending(session: Session, lane: Lane, gateway: Address) -> set[Address]:
    """Whose leases a gateway may not spend any more: accounts that asked to leave, and those that revoked the session
    key whose voucher a lease stands on. Later batches cannot charge them.
    """
    revoked = leases.of_revoked_keys(session, lane, gateway)
    bare = {one for one in revoked if vouchers.mandate(session, lane, one) < leases.committed(session, lane, one)}
    return bare | {one.account for one in lanes.leaving(session, lane)}


def held_by_gateways(session: Session, lane: Lane, consumer: Address) -> int:
    """A consumer's uncharged money at gateways: leased, less the charges of receipts not yet posted."""
    gateways = leases.holders(session, lane, consumer)
    held = postings.lock(session, lane, [accounts.leased(consumer, gateway) for gateway in gateways])
    logged = sum(leases.unposted(session, lane, gateway).get(consumer, 0) for gateway in gateways)
    return sum(held.values()) - logged


def spendable(session: Session, lane: Lane, consumer: Address) -> Atoms:
    """What a consumer can still spend: of its deposit within its mandate, and of what gateways hold for it."""
    return means(session, lane, consumer).spendable + held_by_gateways(session, lane, consumer)


def renew(session: Session, lane: Lane, gateway: Address, now: int, lasts_ms: int) -> None:
    """Extend a live gateway's leases to `now + lasts_ms`."""
    leases.renew(session, lane, gateway, now + lasts_ms)


def reclaim(session: Session, lane: Lane, now: int) -> dict[Address, int]:
    """Close the expired leases of gateways that are gone; returns what went back, by gateway."""
    returned: dict[Address, int] = {}
    for gateway in leases.expired(session, lane, now):
        if not leases.gateway_is_gone(session, lock_number(gateway)):
            continue
        found = leases.open_ones(session, lane, gateway)
        holders = leases.consumers(found)
        names = [name for c in holders for name in (accounts.available(c), accounts.leased(c, gateway))]
        postings.lock(session, lane, names)
        returned[gateway] = sum(_close(session, [one for one in found if one.consumer == c], now) for c in holders)
        keys.give_back(session, lane, gateway)
    return returned


def allot(
    session: Session, lane: Lane, allowance: Allowance, gateway: Address, wanted: tuple[int, int], now: int
) -> tuple[int, Left | None]:
    """Hand a gateway of a key's budgets what is `wanted`: at least the first, at best the second, or nothing, which the
    account's webhooks are told once a period. Returns how many atoms, and what was left before.
    """
    need, target = wanted
    left = keys.budget_left(session, lane, allowance)
    if left is None:
        return target, None
    granted = permissions.grant(left.atoms, need, target)
    if granted:
        keys.allot(session, lane, allowance, gateway, granted)
    elif left.budget is not None:
        event = webhooks.budget_reached(lane, left.account, left.key_id, left.budget, allowance.day)
        hooks.write(session, lane, [event], now)
    return granted, left


def _close(session: Session, found: list[Lease], now: int) -> int:
    """Close these leases, all that one gateway has of one consumer, and book what was not spent back."""
    if not found:
        return 0
    lane, consumer, gateway = found[0].lane, found[0].consumer, found[0].gateway
    held = postings.balance(session, lane, accounts.leased(consumer, gateway))
    rest = held - leases.unposted(session, lane, gateway).get(consumer, 0)
    back = rest
    for one in reversed(found):
        returned = min(one.amount, rest)
        leases.close(session, one, one.amount - returned)
        rest -= returned
    if back:
        postings.book(session, movements.release(lane, found[-1].id, consumer, gateway, back, now))
    return back
