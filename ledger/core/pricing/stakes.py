"""Stakes: how much a role must bond, and what a slash gives to whom.

Only what a contract can check is slashable; a late answer or an opinion of quality costs reputation, never money.
"""

from __future__ import annotations

from ledger.core.values.atoms import PPM, Atoms, Ppm, atoms, ceil_div
from ledger.core.values.errors import Rejected

COVER = 2
"""Bonds are at least twice what a cheat could gain before a verdict."""


def provider_bond(ask: Atoms, *, audit_ppm: Ppm, calls_per_second: int, verdict_seconds: int) -> Atoms:
    """S >= 2 * ask * (1/p + rate * T): what cheating brings until an audit, and then until the verdict. Rounds up."""
    if not 0 < audit_ppm <= PPM:
        raise Rejected(f"an audit probability is 1 to 1000000 ppm, not {audit_ppm}", field="audit_ppm")
    exposure = ceil_div(ask * PPM, audit_ppm) + ask * calls_per_second * verdict_seconds
    return atoms(COVER * exposure, "bond")


def gateway_bond(unsettled: Atoms) -> Atoms:
    """At least twice the value of an unsettled epoch."""
    return atoms(COVER * unsettled, "bond")


def divide(slashed: Atoms) -> tuple[Atoms, Atoms]:
    """A slash as (the reporter's reward, the insurance's part): half each, so slashing oneself loses half."""
    return slashed // 2, slashed - slashed // 2
