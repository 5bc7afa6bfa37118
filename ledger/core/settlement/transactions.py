"""Chain transactions the ledger intends, and what to do next about each: a state machine without input or output.

    intended -> signed      a nonce and signed bytes are stored together; the nonce never changes afterwards
    signed   -> mined       one of its attempts is in a block
    mined    -> signed      that block is gone: a reorganisation
    mined    -> confirmed   enough blocks on top, and the indexer has seen its block: it succeeded
    mined    -> failed      the same, and it reverted
    signed   -> lost        its nonce was used, deep enough, by something that is none of its attempts

A confirmed or failed one goes back to signed when the indexer finds its block gone, however deep; a lost one when the
chain waits for its nonce again.

All that is intended is harmless when done twice on chain (a commit names its predecessor, an authorization has a nonce,
a stale claim does nothing), so a failed or lost intention may be intended again under another id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ledger.core.values.ids import Address, Digest


class Status(Enum):
    """Where an intention stands."""

    intended = "intended"
    signed = "signed"
    mined = "mined"
    confirmed = "confirmed"
    failed = "failed"
    lost = "lost"


@dataclass(frozen=True, slots=True)
class Transmission:
    """One intended transaction. `id` comes from its purpose, so an intention exists once. Times are ms. `value` is in
    wei: 0 for all that the ledger intends, so its database has no column for it."""

    id: Digest
    purpose: str
    sender: Address
    target: Address
    data: bytes
    status: Status
    created_at: int
    nonce: int | None = None
    gas: int | None = None
    sent_at: int | None = None
    mined_hash: Digest | None = None
    block: int | None = None
    error: str | None = None
    value: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes of a transmission at one fee (wei per gas)."""

    transmission: Digest
    ordinal: int
    raw: bytes
    hash: Digest
    fee: int
    signed_at: int


@dataclass(frozen=True, slots=True)
class Mined:
    """What the chain says of a transaction that is in a block."""

    hash: Digest
    block: int
    succeeded: bool
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain says at one moment: its tip, which attempt is in a block, how many of the sender's nonces are used
    by the tip and how many were used `confirmations` blocks ago. The indexer has seen blocks up to `indexed`."""

    tip: int
    indexed: int
    mined: Mined | None
    nonces_used: int
    nonces_settled: int


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient to be. Fees in wei per gas; a replacement must offer at least an eighth more."""

    confirmations: int
    stuck_ms: int
    max_fee: int


class Step(Enum):
    """What to do about a signed or mined transmission now."""

    wait = "wait"
    broadcast = "broadcast"
    replace = "replace"
    note_mined = "note_mined"
    note_gone = "note_gone"
    note_confirmed = "note_confirmed"
    note_failed = "note_failed"
    note_lost = "note_lost"


Call: TypeAlias = tuple[Address, bytes]
"""A contract and what to call it with."""


def next_step(transmission: Transmission, attempts: Sequence[Attempt], seen: Seen, now: int, policy: Policy) -> Step:
    """What to do about a transmission that has signed bytes, given what the chain says."""
    assert transmission.nonce is not None, "it has been signed"
    if seen.mined is not None:
        if seen.mined.block > min(seen.tip - policy.confirmations, seen.indexed):
            known = (transmission.status, transmission.mined_hash, transmission.block)
            return Step.wait if known == (Status.mined, seen.mined.hash, seen.mined.block) else Step.note_mined
        return Step.note_confirmed if seen.mined.succeeded else Step.note_failed
    if transmission.status is Status.mined:
        return Step.note_gone
    if seen.nonces_settled > transmission.nonce:
        return Step.note_lost
    if seen.nonces_used > transmission.nonce:
        return Step.wait
    if transmission.sent_at is None or transmission.sent_at < attempts[-1].signed_at:
        return Step.broadcast
    if now - attempts[-1].signed_at >= policy.stuck_ms and raised(attempts[-1].fee, 0) <= policy.max_fee:
        return Step.replace
    return Step.broadcast if now - transmission.sent_at >= policy.stuck_ms // 4 else Step.wait


def missing_nonce(used: int, ours: Mapping[int, Status]) -> int | None:
    """The nonce the chain waits for while later ones of ours are signed, if nothing of ours is on its way with it.

    `used` nonces are in blocks. Something else used this one, and a reorganisation took that away.
    """
    waiting = any(nonce > used and status is Status.signed for nonce, status in ours.items())
    return used if waiting and ours.get(used, Status.lost) is Status.lost else None


def may_try_again(last: Transmission | None, tries: int, now: int) -> bool:
    """Whether to intend a purpose again: its last intention came to nothing, 2^tries seconds (up to 600) ago."""
    if last is None:
        return True
    return last.status in (Status.failed, Status.lost) and now - last.created_at >= min(1_000 << tries, 600_000)


def finalize_purpose(lane: int, number: int) -> str:
    """What the making final of a batch is called: who claims asks whether one is under way."""
    return f"finalize {lane} {number}"


def raised(fee: int, market: int) -> int:
    """The fee of a replacement: an eighth more, rounded up, and at least what the market asks."""
    return max(fee + -(-fee // 8), market)
