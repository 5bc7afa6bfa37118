"""Chain transactions that the ledger intends, as a state machine without input or output.

    intended -> failed      the chain says before that it would revert
    intended -> lost        the chain does not say what gas it needs, and the others do not wait for it
    intended -> signed      nonce and signed bytes are stored together; the nonce never changes afterwards
    signed   -> mined       a block contains one of its attempts
    mined    -> signed      a reorganisation dropped that block
    mined    -> confirmed   enough blocks follow, the indexer has read its block, and it succeeded
    mined    -> failed      the same, and it reverted
    signed   -> lost        another transaction used its nonce, enough blocks ago

A confirmed or failed one returns to signed when the indexer finds its block gone, however deep; a lost one, when the
chain expects its nonce again.

Every intended transaction is harmless when it runs twice (a commit names its predecessor, an authorization has a nonce,
a stale claim does nothing), so a failed or lost one may be intended again under another id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ledger.core.values.ids import Address, Digest, Lane, to_hex


class Status(Enum):
    """The state of an intended transaction."""

    intended = "intended"
    signed = "signed"
    mined = "mined"
    confirmed = "confirmed"
    failed = "failed"
    lost = "lost"


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """One intended transaction. `id` derives from its purpose, so it exists once. Times are in ms.

    `value` is in wei: 0 for all that the ledger intends, so its database has no column for it.
    """

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
    """Signed bytes of a chain transaction at one fee (wei per gas)."""

    chain_transaction: Digest
    ordinal: int
    raw: bytes
    hash: Digest
    fee: int
    signed_at: int


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that is in a block."""

    hash: Digest
    block: int
    succeeded: bool
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """The chain at one moment. `mined` is the attempt that a block contains, if any; the indexer is at `indexed`.

    `nonces_used` counts the sender's transactions at the tip, `nonces_settled` those `confirmations` blocks before it.
    """

    tip: int
    indexed: int
    mined: Mined | None
    nonces_used: int
    nonces_settled: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Times to wait and fees to pay. Fees are in wei per gas."""

    confirmations: int
    stuck_ms: int
    max_fee: int


class Step(Enum):
    """The next action for a signed or mined chain transaction."""

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


def next_step(intended: ChainTransaction, attempts: Sequence[Attempt], seen: Seen, now: int, policy: Policy) -> Step:
    """The next action for a chain transaction that has signed bytes."""
    assert intended.nonce is not None, "it has been signed"
    if seen.mined is not None:
        if seen.mined.block > min(seen.tip - policy.confirmations, seen.indexed):
            known = (intended.status, intended.mined_hash, intended.block)
            return Step.wait if known == (Status.mined, seen.mined.hash, seen.mined.block) else Step.note_mined
        return Step.note_confirmed if seen.mined.succeeded else Step.note_failed
    if intended.status is Status.mined:
        return Step.note_gone
    if seen.nonces_settled > intended.nonce:
        return Step.note_lost
    if seen.nonces_used > intended.nonce:
        return Step.wait
    signed_at = attempts[-1].signed_at
    if intended.sent_at is None or intended.sent_at < signed_at <= now:
        return Step.broadcast
    if has_passed(policy.stuck_ms, signed_at, now) and bump_fee(attempts[-1].fee, 0) <= policy.max_fee:
        return Step.replace
    return Step.broadcast if has_passed(policy.stuck_ms // 4, intended.sent_at, now) else Step.wait


def has_passed(ms: int, since: int, now: int) -> bool:
    """Whether so much time has passed. A time that is so far ahead is one of a clock that fell since: nobody waits
    until it comes again.
    """
    return abs(now - since) >= ms


def missing_nonce(used: int, ours: Mapping[int, Status]) -> int | None:
    """The nonce that the chain expects while only later ones of `ours` are signed; None if there is no such gap.

    `used` nonces are in blocks. A gap opens when a reorganisation drops another transaction that had used the nonce.
    """
    waiting = any(nonce > used and status is Status.signed for nonce, status in ours.items())
    return used if waiting and ours.get(used, Status.lost) is Status.lost else None


def may_try_again(last: ChainTransaction | None, tries: int, now: int) -> bool:
    """Whether to intend a purpose again: the last try failed and began min(2^tries, 600) s ago, or there was none."""
    if last is None:
        return True
    return last.status in (Status.failed, Status.lost) and has_passed(
        min(1_000 << tries, 600_000), last.created_at, now
    )


def finalize_purpose(lane: Lane, number: int) -> str:
    return f"finalize {to_hex(lane)} {number}"


def bump_fee(fee: int, market: int) -> int:
    """The fee of a replacement: an eighth more, rounded up, and at least the market's."""
    return max(fee + -(-fee // 8), market)
