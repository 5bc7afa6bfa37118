"""Events of the contracts, as values. `ledger.chain` decodes them, flows act on them.

Amounts are in atoms, times in seconds; indexes start at 1. Field names follow the ABI.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement.header import Header, HeaderId
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane


@dataclass(frozen=True, slots=True)
class Block:
    """A block's number, hash and timestamp (seconds)."""

    number: int
    hash: Digest
    timestamp: int


class Event:
    """An event of one of the contracts."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LaneOpened(Event):
    """A lane was opened, with terms that never change. `window` and `answer_time` are its times for disputes."""

    lane: Lane
    operator: Address
    window: int
    answer_time: int
    leverage: int
    min_deposit: int


@dataclass(frozen=True, slots=True)
class UrlSet(Event):
    """A lane's operator said where it serves."""

    lane: Lane
    url: str


@dataclass(frozen=True, slots=True)
class BondChanged(Event):
    """A lane's bond changed to `bond`."""

    lane: Lane
    bond: int


@dataclass(frozen=True, slots=True)
class LaneActive(Event):
    """A lane was paused or resumed."""

    lane: Lane
    active: bool


@dataclass(frozen=True, slots=True)
class SessionKeySet(Event):
    """`key` may sign vouchers as `account`."""

    account: Address
    key: Address


@dataclass(frozen=True, slots=True)
class SessionKeyRevoked(Event):
    """`key` may not sign as `account` any more; what was closed before `counts_until` may still rest on it."""

    account: Address
    key: Address
    counts_until: int


@dataclass(frozen=True, slots=True)
class GatewayAdded(Event):
    """`key` signs receipts of the lane. `number` is its place in every gateways tree."""

    lane: Lane
    key: Address
    number: int


@dataclass(frozen=True, slots=True)
class GatewayRevoked(Event):
    """`key` signs no new receipts of the lane; those in batches closed before `counts_until` stand."""

    lane: Lane
    key: Address
    counts_until: int


@dataclass(frozen=True, slots=True)
class Deposited(Event):
    """`account` can spend `amount` more. `index` is its index in the debit tree."""

    lane: Lane
    account: Address
    index: int
    amount: int


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """Batch `id` of the lane was committed; it can be challenged before `until`."""

    lane: Lane
    id: int
    header: Header
    until: int


@dataclass(frozen=True, slots=True)
class Finalized(Event):
    """Batch `id` of the lane became final."""

    lane: Lane
    id: int


@dataclass(frozen=True, slots=True)
class Fell(Event):
    """The lane's batches from `first` on were voided, its bond was taken, and `era` began."""

    lane: Lane
    first: int
    era: int
    accuser: Address


@dataclass(frozen=True, slots=True)
class Claimed(Event):
    """`amount` was paid to `payee` at `index`."""

    lane: Lane
    index: int
    payee: Address
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawRequested(Event):
    """`account` asked to leave, so it must not be served from now on; or, without `leaves`, it stays after all."""

    lane: Lane
    account: Address
    leaves: bool


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """`account` left with `amount`; if it `escaped`, the lane's next era began."""

    lane: Lane
    account: Address
    amount: int
    escaped: bool


@dataclass(frozen=True, slots=True)
class PayeeRegistered(Event):
    """`payee` received `index` in all payout trees."""

    index: int
    payee: Address


class NamedParent(NamedTuple):
    """A model as its children name it: its id, the hash of its own parents, and the terms it offers."""

    id: Digest
    lineage: Digest
    terms: Digest


@dataclass(frozen=True, slots=True)
class ModelRegistered(Event):
    """A model was registered. `id` is the SHA-256 in its CID, `lineage` the hash of its parents.

    All counts from epoch `from_epoch` on. `number` counts its changes of parents and terms, `owner_number` its owners.
    """

    id: Digest
    owner: Address
    parents: tuple[NamedParent, ...]
    terms: Digest
    from_epoch: int = 0
    lineage: Digest = ZERO_DIGEST
    number: int = 1
    owner_number: int = 1


@dataclass(frozen=True, slots=True)
class OwnerChanged(Event):
    """A model changed hands. `to` is paid from epoch `from_epoch` on. `number` counts the model's owners."""

    id: Digest
    to: Address
    from_epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class TermsChanged(Event):
    """A model offers other terms to its children to come. `number` counts as in `ModelRegistered`."""

    id: Digest
    terms: Digest
    from_epoch: int = 0
    number: int = 1


@dataclass(frozen=True, slots=True)
class OrganisationChanged(Event):
    """An organisation has an owner, or none: zero. All its keys end. `name`: its characters, then zeros."""

    name: Digest
    owner: Address


@dataclass(frozen=True, slots=True)
class OrganisationKeySet(Event):
    """A key speaks for an organisation, or no longer does."""

    name: Digest
    key: Address
    valid: bool


@dataclass(frozen=True, slots=True)
class NamePublished(Event):
    """A name below an organisation, version included, is this model or capsule for ever."""

    organisation: Digest
    name: str
    model: Digest


@dataclass(frozen=True, slots=True)
class BidPlaced(Event):
    """A party placed a bid in a role on a subject, for epochs [first, until). `number` counts its bids there."""

    subject: Digest
    role: Role
    party: Address
    bid: Bid
    first: int
    until: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class StakeChanged(Event):
    """A party's stake changed: `active` stays, `unbonding` can leave from `release_at` on."""

    party: Address
    active: int
    unbonding: int
    release_at: int


@dataclass(frozen=True, slots=True)
class WordsAsked(Event):
    """Somebody asks for the words up to eight levels below a node of a batch's tree, to be shown by `deadline`.

    `question` names it with its whole cause; `hash` is the header's id. `tree` is one of `disputes.questions`.
    """

    lane: Lane
    id: int
    question: Digest
    hash: HeaderId
    tree: int
    depth: int
    position: int
    asker: Address
    deadline: int


@dataclass(frozen=True, slots=True)
class ReceiptAsked(Event):
    """Somebody asks for the receipt at a place of a batch, with its terms."""

    lane: Lane
    id: int
    question: Digest
    hash: HeaderId
    place: int
    asker: Address
    deadline: int


@dataclass(frozen=True, slots=True)
class MandateAsked(Event):
    """Somebody asks for the mandate of a debit that grew in a batch: `cumulative` in all, at `index`."""

    lane: Lane
    id: int
    question: Digest
    hash: HeaderId
    index: int
    account: Address
    cumulative: int
    asker: Address
    deadline: int


@dataclass(frozen=True, slots=True)
class FinalAsked(Event):
    """Somebody asks for a word of the lane's final payout or debit tree, whichever is final when the answer comes."""

    lane: Lane
    question: Digest
    tree: int
    index: int
    asker: Address
    deadline: int


Asked = WordsAsked | ReceiptAsked | MandateAsked | FinalAsked


@dataclass(frozen=True, slots=True)
class WordsShown(Event):
    """The words that a question asked for, and the path from their common node to the root."""

    question: Digest
    words: tuple[bytes, ...]
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReceiptShown(Event):
    """The record, terms and path of a receipt that a question asked for; no record where the zero word stands."""

    question: Digest
    record: bytes
    terms: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MandateShown(Event):
    """The voucher that a question asked for; `cum_max` 0 when none was needed."""

    question: Digest
    cum_max: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class FinalShown(Event):
    """The word of a final tree that a question asked for, and its path."""

    question: Digest
    word: Digest
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """A question was answered in time; `paid` wei are owed to the answerer."""

    question: Digest
    answerer: Address
    paid: int


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """A question ended without an answer: by its deadline if `late`, otherwise with its cause."""

    question: Digest
    late: bool


@dataclass(frozen=True, slots=True)
class Log:
    """An event and its position: block, transaction hash, index in the block."""

    event: Event
    block: int
    transaction: Digest
    index: int
    timestamp: int
    """The block's timestamp, in seconds."""


class Blocks(Protocol):
    """A chain to read from. Every method may raise Unavailable."""

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip; None if there is none."""

    def logs(self, first: int, last: int) -> list[Log]:
        """The network's events in blocks first..last, in order."""


def read_logs(chain: Blocks, first: int, last: int, span: int) -> list[Log]:
    """The events in blocks first..last, read `span` blocks at a time."""
    return [log for at in range(first, last + 1, span) for log in chain.logs(at, min(at + span - 1, last))]


def number_logs(logs: Iterable[Log]) -> list[tuple[Log, int]]:
    """Sort logs, each with its number within its transaction, which a reorganisation does not change."""
    counts: Counter[Digest] = Counter()
    numbered = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        numbered.append((log, counts[log.transaction]))
        counts[log.transaction] += 1
    return numbered
