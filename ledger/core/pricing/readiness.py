"""What a model still needs before it can be called, in the order in which it is done.

    document       the gateway has its document
    registration   the Registry has its owner, who is paid from an epoch on
    owner's bid    as maker or OEM; it enters by the book's rules
    provider's bid likewise
    stake          the provider's covers one call at a time
    offer          the provider's stands at the gateway

`core.pricing.terms` decides whether a call is sold. This page says what is to be done until it does, and from when on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ledger.core.catalog.bids import Role
from ledger.core.pricing import epochs
from ledger.core.pricing.epochs import BidInForce
from ledger.core.pricing.routing import collateralised
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, Digest

ENTRY_EPOCHS = 2
"""A bid enters within so many epochs."""


class Need(StrEnum):
    """What is needed for a call, as it is said."""

    document = "document"
    registration = "registration"
    owner_bid = "owner's bid"
    provider_bid = "provider's bid"
    stake = "stake"
    offer = "offer"


BIDS = (Need.owner_bid, Need.provider_bid)


class Step(NamedTuple):
    """One need, and the epoch from which on it is met; None: it has yet to be done."""

    need: Need
    since: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the chain and a gateway say of one model in an epoch. Without an `owner` it is not registered."""

    subject: Digest
    epoch: int
    published: bool
    owner: Address | None
    owner_since: int
    placed: tuple[BidInForce, ...]
    """Every bid on it, in the order in which they were placed."""
    stakes: Mapping[Address, Atoms]
    stake_per_call: Atoms
    offered_by: frozenset[Address]
    """The providers whose offers stand."""


def steps(known: Known, provider: Address | None = None) -> list[Step]:
    """Every need of a model, with this provider, or without one with that which is nearest to serving it."""
    owner = known.owner
    bids = [_entry(known, role, owner) for role in (Role.maker, Role.oem)] if owner is not None else []
    own = [
        Step(Need.document, 0 if known.published else None),
        Step(Need.registration, known.owner_since if owner is not None else None),
        Step(Need.owner_bid, min((one for one in bids if one is not None), default=None)),
    ]
    bidders = dict.fromkeys(row.party for row in known.placed if row.role is Role.compute)
    served = [_served(known, one) for one in ([provider] if provider is not None else bidders)]
    return own + min(served or [_served(known, None)], key=_distance)


def opens(known: Known, needed: list[Step]) -> int:
    """The epoch in which it can be called at the earliest: if what is missing were done now."""
    last = known.epoch
    for step in needed:
        if step.since is not None:
            last = max(last, step.since)
        elif step.need in (*BIDS, Need.registration):
            last = max(last, known.epoch + 1)
    return last


def _served(known: Known, provider: Address | None) -> list[Step]:
    """What a provider adds."""
    if provider is None:
        return [Step(need, None) for need in (Need.provider_bid, Need.stake, Need.offer)]
    covers = collateralised(known.stakes.get(provider, 0), known.stake_per_call, 1)
    return [
        Step(Need.provider_bid, _entry(known, Role.compute, provider)),
        Step(Need.stake, 0 if covers else None),
        Step(Need.offer, 0 if provider in known.offered_by else None),
    ]


def _entry(known: Known, role: Role, party: Address) -> int | None:
    """The epoch, this one or a later, in which a party first has a bid in force; None if it has none."""
    theirs = [row for row in known.placed if row.key == (known.subject, role, party)]
    later = range(known.epoch, known.epoch + ENTRY_EPOCHS + 1)
    return next((epoch for epoch in later if epochs.freeze(theirs, epoch).rows), None)


def _distance(served: list[Step]) -> tuple[int, int]:
    return sum(step.since is None for step in served), max(step.since or 0 for step in served)
