"""Stakes: how much a role must bond, what a slash gives to whom, and which offences can be proved.

Only what a contract can check is slashable; a late answer or an opinion of quality costs reputation, never money.
"""

from __future__ import annotations

from enum import Enum

from ledger.core.atoms import PPM, Atoms, Ppm, atoms, ceil_div
from ledger.core.errors import Rejected
from ledger.core.receipts import Receipt, struct_hash
from ledger.core.typed_data import Domain, recover, signing_digest

COVER = 2
"""Bonds are at least twice what a cheat could gain before a verdict."""


class Offence(Enum):
    """What a proof convicts of. The names are those of MECHANISM's table."""

    double_receipt = "S1"
    double_root = "S2"
    wrong_leaf = "S3"
    misrouting = "S4"
    wrong_output = "S5"
    not_delivered = "S6"
    squatted_id = "S7"


def provider_bond(ask: Atoms, *, audit_ppm: Ppm, calls_per_second: int, verdict_seconds: int) -> Atoms:
    """S >= 2 * ask * (1/p + rate * T): what cheating brings until an audit, and then until the verdict. Rounds up."""
    if not 0 < audit_ppm <= PPM:
        raise Rejected(f"an audit probability is 1 to 1000000 ppm, not {audit_ppm}", field="audit_ppm")
    exposure = ceil_div(ask * PPM, audit_ppm) + ask * calls_per_second * verdict_seconds
    return atoms(COVER * exposure, "bond")


def weaver_bond(most_per_call: Atoms, open_calls: int) -> Atoms:
    """What all-or-nothing can cost a weaver at once: its cap per call, for every call that may be open."""
    return atoms(most_per_call * open_calls, "bond")


def gateway_bond(unsettled: Atoms) -> Atoms:
    """At least twice the value of an unsettled epoch."""
    return atoms(COVER * unsettled, "bond")


def divide(slashed: Atoms) -> tuple[Atoms, Atoms]:
    """A slash as (the reporter's reward, the insurance's part): half each, so slashing oneself loses half."""
    return slashed // 2, slashed - slashed // 2


def is_double_receipt(domain: Domain, one: Receipt, first: bytes, other: Receipt, second: bytes) -> bool:
    """S1: one signer, two different receipts for one (lane, seq). Signature bytes never tell them apart, digests do."""
    digests = struct_hash(one), struct_hash(other)
    if digests[0] == digests[1] or (one.lane, one.seq) != (other.lane, other.seq):
        return False
    signers = {recover(signing_digest(domain, digest), s) for digest, s in zip(digests, (first, second), strict=True)}
    return signers == {one.gateway} == {other.gateway}
