"""A bidder's history as BidBook hashes it: what proves a past bid, or that a new one raises nothing."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode

from ledger.core.settlement.events import BidPlaced
from ledger.core.values.hashes import keccak256

Words = tuple[int, list[int], int]


def words(placed: BidPlaced) -> Words:
    """A bid as the ABI's tuple."""
    return placed.bid.ratio_ppm, list(placed.bid.asks), placed.first


def history_hash(history: Sequence[BidPlaced]) -> bytes:
    """The 24 bytes BidBook keeps after these bids, oldest first; zeros before the first."""
    hashed = bytes(24)
    for placed in history:
        hashed = keccak256(encode(["bytes24", "(uint24,uint64[6],uint32)"], [hashed, words(placed)]))[:24]
    return hashed
