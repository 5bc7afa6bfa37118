"""Epochs and the frozen book of bids.

An epoch is [start, end). A bid enters at the next epoch; a raise enters one later, so that the others have an epoch's
notice. A resource role's bid lapses after 24 epochs when it is not renewed; a value role's stands until it is replaced.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ledger.core.catalog.bids import LAPSING, Bid, Role, encode_asks
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Address
from ledger.core.values.meters import asks_by_unit
from ledger.core.values.sum_tree import Tree, tree_node

EPOCH_SECONDS = 3_600
MAX_EPOCHS = 24
"""A resource role's bid holds this long: BidBook's LIFE."""
NEVER = 2**32
"""`until` of a bid that does not lapse: BidBook counts epochs in 32 bits."""
BOOK_TAG = 5


@dataclass(frozen=True, slots=True)
class BidInForce:
    """A bid as placed: in force from epoch `first` until (not in) epoch `until`."""

    subject: Digest
    role: Role
    party: Address
    bid: Bid
    first: int
    until: int

    def __post_init__(self) -> None:
        if not self.first < self.until <= lapse(self.role, self.first):
            raise Rejected(
                f"a {self.role.name}'s bid is valid for 1 to {MAX_EPOCHS} epochs, not {self.until - self.first}",
                first=self.first,
                until=self.until,
            )

    @property
    def key(self) -> tuple[Digest, Role, Address]:
        """Subject, role and party: a later bid with the same key replaces an earlier one."""
        return self.subject, self.role, self.party


@dataclass(frozen=True)
class Book:
    """The bids in force in one epoch, sorted, with a Merkle root that is anchored on chain."""

    epoch: int
    rows: tuple[BidInForce, ...]
    tree: Tree = field(repr=False, compare=False)

    @property
    def root(self) -> Digest:
        """The anchored root; 32 zero bytes for an empty book."""
        return Digest(self.tree.root)

    def bid(self, subject: Digest, role: Role, party: Address) -> Bid | None:
        """A party's bid in this epoch, or None."""
        return next((row.bid for row in self.bidders(subject, role) if row.party == party), None)

    def bidders(self, subject: Digest, role: Role) -> Sequence[BidInForce]:
        """All bids of one role for one subject, by party."""
        return self._by_subject.get((subject, role), ())

    @cached_property
    def _by_subject(self) -> dict[tuple[Digest, Role], list[BidInForce]]:
        found: dict[tuple[Digest, Role], list[BidInForce]] = {}
        for row in self.rows:
            found.setdefault((row.subject, row.role), []).append(row)
        return found


@dataclass(frozen=True, slots=True)
class Calendar:
    """How a network counts epochs. A book closes `freeze_seconds` before its epoch; `private`: there is no chain."""

    epoch_seconds: int = EPOCH_SECONDS
    freeze_seconds: int = 0
    private: bool = False


def epoch_at(timestamp: int, epoch_seconds: int) -> int:
    """The epoch of a time in seconds: epoch 0 starts at timestamp 0."""
    return timestamp // epoch_seconds


def current_epoch(block_seconds: int | None, now_seconds: int, calendar: Calendar) -> int:
    """The epoch whose book counts now (`now_seconds`: the network's time). 0 while no block is indexed.

    A book closes `freeze_seconds` before its epoch. Until a block that young is indexed, the one before counts on: a
    receipt may name the epoch of its end or the one before. On a private grid the clock decides.
    """
    if calendar.private:
        return epoch_at(now_seconds, calendar.epoch_seconds)
    if block_seconds is None:
        return 0
    return epoch_at(min(now_seconds, block_seconds + calendar.freeze_seconds), calendar.epoch_seconds)


def raises(old: Bid | None, new: Bid) -> bool:
    """Whether the new bid's ratio, or what any meter's units pay, is above the old one's. False for a first bid."""
    if old is None:
        return False
    paid = zip(asks_by_unit(new.asks), asks_by_unit(old.asks), strict=True)
    return new.ratio_ppm > old.ratio_ppm or any((after or 0) > (before or 0) for after, before in paid)


def lapse(role: Role, first: int) -> int:
    """The epoch from which on a bid that entered at `first` is not in force, if nothing replaces it."""
    return first + MAX_EPOCHS if role in LAPSING else NEVER


def place(role: Role, last: BidInForce | None, new: Bid, epoch: int) -> tuple[int, int]:
    """The epochs [first, until) of a bid placed in `epoch`, after the bidder's `last` one there.

    A bid that raises nothing enters at the next epoch, or with the last one if that enters later still.
    """
    if last is None or last.until <= epoch:
        first = epoch + 1
    else:
        first = epoch + 2 if raises(last.bid, new) else max(epoch + 1, last.first)
    return first, lapse(role, first)


def freeze(placed: Iterable[BidInForce], epoch: int) -> Book:
    """The book of one epoch, from all bids in the order in which they were placed.

    Of the bids with one key, the last one that has entered counts, and none once that one has expired.
    """
    latest: dict[tuple[Digest, Role, Address], BidInForce] = {}
    for row in placed:
        if row.first <= epoch:
            latest[row.key] = row
    rows = tuple(sorted((s for s in latest.values() if epoch < s.until), key=lambda s: s.key))
    return Book(epoch, rows, Tree.build([leaf(row) for row in rows]))


def leaf(row: BidInForce) -> bytes:
    """A book's leaf: keccak256(5 | subject | role | party | ratio u24 | asks | first u64 | until u64), sum 0."""
    term = row.first.to_bytes(8, "big") + row.until.to_bytes(8, "big")
    key = row.subject + bytes((row.role,)) + row.party
    bid = row.bid.ratio_ppm.to_bytes(3, "big") + encode_asks(row.bid.asks)
    return tree_node(keccak256(bytes((BOOK_TAG,)), key, bid, term), 0)
