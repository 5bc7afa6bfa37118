"""What the chain says that a batch can contradict, as values: accounts, keys, bids, models, and what was shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ledger.core.accounts.permissions import mandate
from ledger.core.catalog.bids import LAPSING, Bid, Role
from ledger.core.catalog.lineage import Royalty
from ledger.core.disputes.questions import Answers
from ledger.core.pricing.epochs import MAX_EPOCHS
from ledger.core.receipts.receipt import Receipt, pack, receipt_digest
from ledger.core.settlement.bars import Bars, Exit
from ledger.core.settlement.events import NamedParent
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane
from ledger.core.values.typed_data import Domain, Mandate, Voucher, recover, signed_by, signing_digest, voucher_hash


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
class Owned:
    """Change of ownership `number` of a model: it is `owner`'s from epoch `first` on."""

    owner: Address
    first: int
    number: int


@dataclass(frozen=True, slots=True)
class Content:
    """Change `number` of a model's parents and terms, from epoch `first` on. `lineage` is the hash of its parents."""

    lineage: Digest
    terms: Digest
    first: int
    number: int


NOBODY = Owned(ZERO_ADDRESS, 0, 0)
"""Whose a model is before it is registered."""


@dataclass(frozen=True, slots=True)
class Models:
    """What the Registry's events say of models, oldest first; and the royalties that somebody showed, by digest."""

    owners: Mapping[Digest, Sequence[Owned]] = field(default_factory=dict)
    contents: Mapping[Digest, Sequence[Content]] = field(default_factory=dict)
    parents: Mapping[Digest, tuple[NamedParent, ...]] = field(default_factory=dict)
    """Parents, by the hash that names them."""
    royalties: Mapping[Digest, Royalty] = field(default_factory=dict)

    def owner_at(self, model: Digest, epoch: int) -> Owned:
        """Who is paid for a model in an epoch."""
        held = {one.number: one for one in self.owners.get(model, ()) if one.first <= epoch}
        return held[max(held)] if held else NOBODY

    def content_at(self, model: Digest, epoch: int) -> Content | None:
        """A model's parents and terms in an epoch; None before it was registered."""
        held = {one.number: one for one in self.contents.get(model, ()) if one.first <= epoch}
        return held[max(held)] if held else None


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
class SignedReceipt:
    """A receipt that somebody holds, and its signature."""

    receipt: Receipt
    signature: bytes

    def is_signed(self, domain: Domain) -> bool:
        """Whether its gateway signed it."""
        return signed_by(receipt_digest(domain, self.receipt), self.signature, self.receipt.gateway)

    @property
    def shown(self) -> tuple[bytes, bytes]:
        """As a proof shows it."""
        return pack(self.receipt), self.signature


@dataclass(frozen=True, slots=True)
class Life:
    """What became of a lane. Times in seconds, 0 for never; `active_since` is its first activation after its fall."""

    active: bool = True
    fell_at: int = 0
    active_since: int = 0
    stopped_at: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether its operator paused it, on the way out. A lane that fell is not paused."""
        return not self.active and self.stopped_at > self.fell_at


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts on chain that a batch of a lane can contradict."""

    domain: Domain
    treasury: Address
    operator: Address
    payees: Mapping[int, Address]
    consumers: Mapping[Address, Consumer]
    gateways: Mapping[int, Address]
    """Gateway keys by their numbers in the lane."""
    revoked: Mapping[Address, int] = field(default_factory=dict)
    """Until when the gateway keys count that were revoked, in seconds."""
    sessions: Mapping[Address, Mapping[Address, int | None]] = field(default_factory=dict)
    """Keys that sign vouchers, by account: until when each counts, in seconds, None if it was not revoked."""
    life: Life = Life()
    epoch_seconds: int = 3_600
    exit_notice: int = 0
    day: int = 86_400
    held: Sequence[SignedReceipt] = ()
    """Receipts that their gateways signed, whether or not a batch has them."""
    bids: Mapping[BidKey, History] | None = None
    """Whole histories. None: do not compare lines with bids and owners."""
    models: Models = field(default_factory=Models)
    answers: Answers = field(default_factory=Answers)
    """What was shown of this batch on chain so far."""

    def number_of(self, gateway: Address, time: int) -> int | None:
        """The number of a gateway key that counts at a time, in seconds."""
        if time >= self.revoked.get(gateway, time + 1):
            return None
        return next((number for number, key in self.gateways.items() if key == gateway), None)

    def mandate(self, account: Address, lane: Lane, shown: Mandate | None, closed_at: int) -> int:
        """The most that a batch may debit an account, in all: by the voucher shown and by what the chain knows.

        `Questions.answerMandate` has the same rule.
        """
        one, most = self.consumers[account], 0
        if shown is not None:
            try:
                hashed = voucher_hash(Voucher(lane, account, shown.cum_max))
                signer = recover(signing_digest(self.domain, hashed), shown.signature)
            except Rejected:
                signer = ZERO_ADDRESS
            most = shown.cum_max if self._speaks(account, signer, closed_at) else 0
        return mandate(most, one.debit_at_exit, one.paid_in)

    def _speaks(self, account: Address, key: Address, time: int) -> bool:
        """Whether a key signs vouchers for an account, as of a time in seconds."""
        until = self.sessions.get(account, {}).get(key, 0)
        return key == account or until is None or time < until

    def due_at(self, receipt: Receipt) -> int:
        """A batch closed after this second holds a receipt, unless it is barred. `LogProofs` has the same rule."""
        return max(receipt.ended_at // 1_000, self.life.active_since) + self.day

    def about(self, answers: Answers, royalties: Mapping[Digest, Royalty]) -> "Facts":
        """The same facts with what was shown of another batch, on chain and of its models."""
        return replace(self, answers=answers, models=replace(self.models, royalties=royalties))


def is_barred(receipt: Receipt, closed_at: int, closed_before: int, facts: Facts) -> bool:
    """Whether a batch closed then leaves a receipt out. In seconds; `closed_before` is 0 without a batch before."""
    one = facts.consumers.get(receipt.consumer)
    leaves = Exit(receipt.consumer, one.requested_at, one.left_at) if one is not None else None
    return receipt.ended_at // 1_000 <= Bars(closed_at, closed_before, facts.exit_notice).last(leaves)
