"""Sponsored slots: at most three labelled rows of a discovery answer, sold by second price, paid by the sale alone.

    rank by    bid * relevance * quality
    price_k  = ceil(rank_{k+1} / (relevance_k * quality_k)), never above the own bid; nobody below: the reserve

A slot is charged to its sponsor's line on the consumer's first paid call of the subject within a day of being shown;
being shown or clicked costs nothing. A consumer that already buys the subject is not shown the slot.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ledger.core.values.atoms import Atoms, Ppm, ceil_div
from ledger.core.values.ids import Address, Digest

MAX_SLOTS = 3
WINDOW_MS = 24 * 3_600_000
DAY_MS = 24 * 3_600_000


class Bidder(NamedTuple):
    """A sponsor's bid for a slot. Relevance and quality are measured, not declared.

    `left` is what its daily cap leaves; a bidder that cannot pay its own bid is not shown.
    """

    subject: Digest
    bid: Atoms
    left: Atoms
    relevance_ppm: Ppm
    quality_ppm: Ppm


class Slot(NamedTuple):
    """A row to show, and what its sponsor pays if it sells."""

    subject: Digest
    price: Atoms


class Impression(NamedTuple):
    """A slot as it was shown to one consumer: its price, on which surface, and when (ms)."""

    price: Atoms
    surface: Address
    shown_at: int


def auction(bidders: Sequence[Bidder], reserve: Atoms = 0, slots: int = MAX_SLOTS) -> list[Slot]:
    """The rows to show, best first, each at the least bid that keeps its place. One row per subject.

    Of two equal ranks the lower id comes first.
    """
    best: dict[Digest, Bidder] = {}
    for bidder in bidders:
        if bidder.bid < max(reserve, 1) or bidder.left < bidder.bid or not _weight(bidder):
            continue
        if bidder.subject not in best or _rank(bidder) > _rank(best[bidder.subject]):
            best[bidder.subject] = bidder
    ranked = sorted(best.values(), key=lambda bidder: (-_rank(bidder), bidder.subject))
    return [
        Slot(bidder.subject, _price(bidder, ranked[place + 1 : place + 2], reserve))
        for place, bidder in enumerate(ranked[:slots])
    ]


def sells(impression: Impression | None, bought_since: bool, now: int) -> Atoms:
    """The charge of a slot on this call: its price on the first paid call within the window, otherwise 0.

    `bought_since`: whether the consumer has already paid for the subject since the window began.
    """
    if impression is None or bought_since or not impression.shown_at <= now < impression.shown_at + WINDOW_MS:
        return 0
    return impression.price


def _price(bidder: Bidder, next_rank: Sequence[Bidder], reserve: Atoms) -> Atoms:
    least = ceil_div(_rank(next_rank[0]), _weight(bidder)) if next_rank else 0
    return min(bidder.bid, max(least, reserve))


def _rank(bidder: Bidder) -> int:
    return bidder.bid * _weight(bidder)


def _weight(bidder: Bidder) -> int:
    return bidder.relevance_ppm * bidder.quality_ppm
