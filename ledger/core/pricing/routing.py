"""Routing: which provider serves a call. Integers only, so that anybody can recompute the draw.

    e_j = ceil(P_j * 10^6 / q_j), times latency / slo (rounded up) when late
    H   = e_min * (10^6 + tau) / 10^6
    w_j = capacity_j * max(0, H - e_j)^2

The weight is linear in capacity: an operator with two nodes has the same chance as with one of twice the capacity.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from ledger.core.values.atoms import PPM, Atoms, Ppm, ceil_div
from ledger.core.values.errors import Unavailable
from ledger.core.values.hashes import Digest

TAU_PPM = 350_000


class Candidate(NamedTuple):
    """A provider of a call. `price` is the most it may cost; `quality_ppm` and `latency_ms` (p50) are measured."""

    price: Atoms
    quality_ppm: Ppm
    latency_ms: int
    slo_ms: int
    capacity: int


def collateralised(stake: Atoms, kappa: Atoms, capacity: int) -> int:
    """Capacity that counts: what the stake covers at `kappa` atoms a unit, at most the given capacity."""
    return min(stake // kappa, capacity)


def effective_price(candidate: Candidate) -> Atoms:
    """The price per unit of quality, raised when late. Lower is better."""
    effective = ceil_div(candidate.price * PPM, max(1, candidate.quality_ppm))
    if candidate.latency_ms > candidate.slo_ms:
        effective = ceil_div(effective * candidate.latency_ms, max(1, candidate.slo_ms))
    return effective


def weights(candidates: Sequence[Candidate], tau_ppm: Ppm = TAU_PPM) -> list[int]:
    """One weight per candidate, in order."""
    if not candidates:
        return []
    effective = [effective_price(candidate) for candidate in candidates]
    horizon = min(effective) * (PPM + tau_ppm) // PPM
    return [c.capacity * max(0, horizon - e) ** 2 for c, e in zip(candidates, effective, strict=True)]


def pick(weighted: Sequence[int], seed: bytes) -> int:
    """The index drawn by the seed, with odds in proportion to the weights. Unavailable if all are 0.

    The draw takes 128 bits more of a SHA-256 stream than the weights need, so the bias of the modulo is below 2^-128.
    """
    total = sum(weighted)
    if total == 0:
        raise Unavailable("no candidate: none has capacity at an acceptable price", candidates=len(weighted))
    size = (total.bit_length() + 7) // 8 + 16
    blocks = (hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(size // 32 + 1))
    drawn = int.from_bytes(b"".join(blocks)[:size], "big") % total
    for index, weight in enumerate(weighted):
        if drawn < weight:
            return index
        drawn -= weight
    raise AssertionError("a draw below the total has an index")


def odds(candidates: Sequence[Candidate], tau_ppm: Ppm = TAU_PPM) -> list[int]:
    """The weights of a draw. Where rounding leaves all of them at 0, the cheapest have their capacity.

    At an effective price of 0, 1 or 2 atoms the horizon H rounds down to that price.
    """
    weighted = weights(candidates, tau_ppm)
    if any(weighted) or not candidates:
        return weighted
    effective = [effective_price(candidate) for candidate in candidates]
    return [c.capacity if e == min(effective) else 0 for c, e in zip(candidates, effective, strict=True)]


def choose(candidates: Sequence[Candidate], seed: bytes, tau_ppm: Ppm = TAU_PPM) -> int:
    """The index of the candidate that serves this call. The seed is `call_seed(root of the book, call id)`."""
    return pick(odds(candidates, tau_ppm), seed)


def call_seed(epoch_seed: bytes, call_id: Digest) -> bytes:
    return epoch_seed + call_id
