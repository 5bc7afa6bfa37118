"""What Settlement's views say, as values."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.core.values.ids import Address


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's state. Amounts in atoms, times in seconds."""

    operator: Address
    net: int
    active: bool
    bond: int
    insurance: int
    window: int
    answer_time: int
    closed_at: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where a lane's chain of batches stands."""

    cumulative: int
    next: int
    finalized: int
    final_posted_at: int
    consumers: int
    calls: int


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """A consumer in a lane."""

    deposited: int
    withdrawn: int
    index: int
    requested_at: int
    escaped: bool


@dataclass(frozen=True, slots=True)
class Posted:
    """A batch in the ring: 24 bytes of its header's hash, when, and how many challenges are open."""

    hash: bytes
    time: int
    open: int
