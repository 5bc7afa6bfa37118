"""What the chain says that a batch can contradict, as values: accounts, keys, bids, and what was shown of the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ledger.core.catalog.bids import LAPSING, Bid, Role
from ledger.core.disputes.questions import Answers
from ledger.core.pricing.epochs import MAX_EPOCHS
from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement.header import Header
from ledger.core.values.ids import Address, Digest

RECEIPT_LIFE = 30 * 86_400
"""Seconds after its end in which a receipt can be charged."""


@dataclass(frozen=True, slots=True)
class PlacedBid:
    """Bid number `number` of a party, in a role on a subject, in force from epoch `first` on."""

    bid: Bid
    first: int
    number: int


BidKey = tuple[Digest, Role, Address]
History = Sequence[PlacedBid]
"""A party's bids in one role on one subject, oldest first. Of two with one number, the later one counts."""


def latest_bid(history: History, epoch: int) -> PlacedBid | None:
    """The last bid that had entered at an epoch, lapsed or not."""
    entered = {one.number: one for one in history}
    return max((one for one in entered.values() if one.first <= epoch), key=lambda one: one.number, default=None)


def bid_in_force(history: History, role: Role, epoch: int) -> Bid | None:
    """The bid of a history that is in force at an epoch."""
    last = latest_bid(history, epoch)
    if last is None or (role in LAPSING and epoch >= last.first + MAX_EPOCHS):
        return None
    return last.bid


@dataclass(frozen=True, slots=True)
class Consumer:
    """An account in the lane. Amounts in atoms, times in seconds; `requested_at` 0 if it stays."""

    index: int
    deposited: int
    withdrawn: int = 0
    requested_at: int = 0
    left_at: int = 0
    debit_at_exit: int = 0
    paid_in: int = 0

    @property
    def covered(self) -> int:
        """The most that it may be debited in all without a voucher."""
        return self.debit_at_exit + self.paid_in


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts on chain that a batch of a lane can contradict."""

    treasury: Address
    operator: Address
    payees: Mapping[int, Address]
    consumers: Mapping[Address, Consumer]
    gateways: Mapping[int, Address]
    """Gateway keys by their numbers in the lane."""
    epoch_seconds: int = 3_600
    exit_notice: int = 0
    bids: Mapping[BidKey, History] | None = None
    """Whole histories. None: do not compare lines with bids."""
    answers: Answers = field(default_factory=Answers)
    """What was shown of this batch on chain so far."""

    def about(self, answers: Answers) -> "Facts":
        """The same facts with what was shown of another batch."""
        return replace(self, answers=answers)


def is_barred(receipt: Receipt, header: Header, previous: Header | None, facts: Facts) -> bool:
    """Whether a batch leaves a receipt out: it is too old, or its account leaves or left. `Bars` has the rule, too."""
    ended = receipt.ended_at // 1_000
    if ended + RECEIPT_LIFE < header.closed_at:
        return True
    consumer = facts.consumers.get(receipt.consumer)
    if consumer is None:
        return False
    noticed = consumer.requested_at + facts.exit_notice
    is_leaving = consumer.requested_at != 0 and previous is not None and noticed < previous.closed_at
    return ended < consumer.left_at or (is_leaving and ended <= noticed)
