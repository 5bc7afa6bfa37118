"""Carve-outs: what one sponsor's own line gives to a curator, the consumer, a surface and the treasury.

The price never changes: the same call costs the same with or without a referral, so nobody has a reason to strip it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.core.atoms import PPM, Atoms, Ppm
from ledger.core.bids import Carve
from ledger.core.ids import ZERO_ADDRESS

CAP_PPM = 900_000
"""A sponsor keeps at least 10 % of its line."""
SURFACE_PPM = 700_000
"""A promotion's part for the surface that showed it; the rest is the treasury's."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A sponsor's line, taken apart: `kept + curator + rebate + surface + treasury` is the line, exactly."""

    kept: Atoms
    curator: Atoms
    rebate: Atoms
    surface: Atoms
    treasury: Atoms


def cut(line: Atoms, carve: Carve, surface_ppm: Ppm = SURFACE_PPM) -> Cut:
    """Take a sponsor's line apart. Everything rounds down except what the sponsor, rebate and treasury keep.

    A commission above 90 % of the line is cut to it; the promotion has what is left below that.
    """
    cap = line * CAP_PPM // PPM
    referred, shown = carve.curator != ZERO_ADDRESS, carve.surface != ZERO_ADDRESS
    commission = min(line * carve.offer_ppm // PPM, cap) if referred else 0
    curator = commission * carve.keep_ppm // PPM
    promotion = min(carve.promotion, cap - commission) if shown else 0
    surface = promotion * surface_ppm // PPM
    return Cut(line - commission - promotion, curator, commission - curator, surface, promotion - surface)
