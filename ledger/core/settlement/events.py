"""What the chain says happened, as values. `ledger.chain` decodes logs into these; flows act on them.

Amounts are atoms, times are seconds, indices start at 1. A log's id is (chain, transaction, index in its block).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ledger.core.catalog.bids import Bid, Role
from ledger.core.values.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class Block:
    """A block's number, hash and timestamp (seconds)."""

    number: int
    hash: Digest
    timestamp: int


@dataclass(frozen=True, slots=True)
class LaneOpened:
    """A lane exists."""

    lane: int
    operator: Address
    window: int
    answer_time: int
    bond: int


@dataclass(frozen=True, slots=True)
class BondChanged:
    """A lane's bond is this much now."""

    lane: int
    bond: int


@dataclass(frozen=True, slots=True)
class LaneActive:
    """A lane was paused or resumed."""

    lane: int
    active: bool


@dataclass(frozen=True, slots=True)
class SessionKeySet:
    """`key` may (or may no longer) sign as `account`."""

    account: Address
    key: Address
    active: bool


@dataclass(frozen=True, slots=True)
class Deposited:
    """`amount` more is spendable by `account`, whose place in the debit tree is `index`."""

    lane: int
    account: Address
    index: int
    amount: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Batch `id` of the lane is posted; its window runs."""

    lane: int
    id: int
    header_hash: Digest


@dataclass(frozen=True, slots=True)
class Finalized:
    """Batch `id` of the lane is final."""

    lane: int
    id: int


@dataclass(frozen=True, slots=True)
class Voided:
    """Batch `id` of the lane and all after it are void."""

    lane: int
    id: int
    accuser: Address


@dataclass(frozen=True, slots=True)
class Claimed:
    """`amount` was paid to `payee` at `index`."""

    lane: int
    index: int
    payee: Address
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawRequested:
    """`account` asked to leave; it must not be served from here on."""

    lane: int
    account: Address


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """`account` left with `amount`; `escaped` when by the escape exit."""

    lane: int
    account: Address
    amount: int
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class PayeeRegistered:
    """`payee` has place `index` in every payout tree."""

    index: int
    payee: Address


@dataclass(frozen=True, slots=True)
class ModelRegistered:
    """A model (its id is the sha256 in its CID) has an owner, parents and terms of lineage."""

    id: Digest
    owner: Address
    parents: tuple[Digest, ...]
    terms: Digest


@dataclass(frozen=True, slots=True)
class BidPlaced:
    """A party bids in a role on a subject, for epochs [first, until)."""

    subject: Digest
    role: Role
    party: Address
    bid: Bid
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class StakeChanged:
    """What a party has at stake, what is leaving, and from when it may leave."""

    party: Address
    active: int
    unbonding: int
    release_at: int


@dataclass(frozen=True, slots=True)
class LaneSlashed:
    """A lane lost its bond of `bond`; `accuser` got `reward` of it, the lane's insurance the rest."""

    lane: int
    bond: int
    accuser: Address
    reward: int


@dataclass(frozen=True, slots=True)
class StakeSlashed:
    """A party lost all its stake; `accuser` got `reward` of it."""

    party: Address
    amount: int
    accuser: Address
    reward: int


@dataclass(frozen=True, slots=True)
class DebitChallenged:
    """The operator must show, by `deadline`, a voucher for this debit. `key` names the challenge."""

    lane: int
    id: int
    key: Digest
    index: int
    account: Address
    cumulative: int
    deadline: int


@dataclass(frozen=True, slots=True)
class NodeDemanded:
    """The operator must open, by `deadline`, the node at (`depth`, `index`) of a tree of batch `id`.

    `tree`: 0 receipts, 1 payouts, 2 debits, 3 lines.
    """

    lane: int
    id: int
    key: Digest
    tree: int
    node: Digest
    index: int
    depth: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A challenge was answered in time."""

    lane: int
    id: int
    key: Digest


Event: TypeAlias = (
    LaneOpened
    | BondChanged
    | LaneActive
    | SessionKeySet
    | Deposited
    | Committed
    | Finalized
    | Voided
    | Claimed
    | WithdrawRequested
    | Withdrawn
    | PayeeRegistered
    | ModelRegistered
    | BidPlaced
    | StakeChanged
    | LaneSlashed
    | StakeSlashed
    | DebitChallenged
    | NodeDemanded
    | Answered
)


@dataclass(frozen=True, slots=True)
class Log:
    """An event and where it stands: its block, its transaction's hash, its index in the block."""

    event: Event
    block: int
    transaction: Digest
    index: int
    timestamp: int
    """The block's timestamp, in seconds."""


class Blocks(Protocol):
    """A chain to read. Every method may raise Unavailable."""

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip; None if there is none."""

    def logs(self, first: int, last: int) -> list[Log]:
        """The network's events in blocks first..last, in order."""


def read(chain: Blocks, first: int, last: int, span: int) -> list[Log]:
    """Events of many blocks, `span` of them at a time."""
    return [log for at in range(first, last + 1, span) for log in chain.logs(at, min(at + span - 1, last))]


def placed(logs: Iterable[Log]) -> list[tuple[Log, int]]:
    """Logs in their order, each with its place among its transaction's: what a reorganisation does not change."""
    counts: dict[Digest, int] = {}
    found = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        found.append((log, counts.setdefault(log.transaction, 0)))
        counts[log.transaction] += 1
    return found
