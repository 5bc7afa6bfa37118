"""Channels of x402's scheme `batch-settlement`: a payer deposits once with the channels' contract, and signs vouchers
that each say a total.

An account of the operator's own advances the calls. What they were charged is claimed together, by the highest voucher:
`claimable` is never more than it says, than what the receipts say, or than what the chain still holds. A payer takes
the rest out by itself, `withdraw_delay` after it asked; until then a claim comes first. So calls are made only while
the worker looks, and not on a channel that its payer is leaving.

    requested -> open       the worker has seen what the chain holds
    requested -> refused    it holds nothing, or its deposit cannot be taken. Sent again, the channel is requested again
    requested -> opening    a transaction that takes its deposit is intended
    opening   -> requested  that is confirmed, has failed, or was lost: the worker looks again
    open      -> requested  a deposit was sent with a call, or the last look is long ago
    open      -> requested  it holds nothing any more
    ...       -> leaving    a look saw that its payer asked for the rest: what was charged is claimed, and no call is
                            made. While its deposit is on its way nobody looks
    leaving   -> requested  its payer has taken that, or the last look is long ago and a call is sent: it is looked at
                            as a new one, which may owe, or be in another lane
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.core.values.atoms import Atoms
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address
from ledger.core.values.typed_data import RECEIVE_TYPEHASH, Domain, TokenAuthorization, signing_digest, word

CONTRACT: Final = address("0x4020074e9df2ce1dee5a9c1b5c3f541d02a10003")
"""Where the channels' contract is on every chain that has it."""
COLLECTOR: Final = address("0x4020806089470a89826cb9fb1f4059150b550004")
"""Where the contract is that takes a deposit by an ERC-3009 authorization: its payee."""
DELAY_SECONDS: Final = 86_400
"""How long a payer waits for what it takes out: a day, in which a person can start a worker that has stopped."""
MOST_DELAY_SECONDS: Final = 30 * 86_400
"""The longest that the contract allows."""
MOST_GAS: Final = 300_000
"""The most gas that a transaction about a channel may ask for. A claim takes about 140,000, a deposit 150,000."""
MOST_SENT: Final = 16
"""Deposits on their way at a time: what else the worker sends waits behind no more of them."""
MOST_CHANNELS: Final = 1_024
"""Channels of a lane. All are looked at in a quarter of a minute, and a deposit stays in one for a day at least: so
strangers cannot have more deposits relayed in a day.
"""
MOST_A_PAYER: Final = 2
"""Channels of a payer in a lane: one that it uses, and one that it leaves or opens."""
DEPOSIT_CLAIMS: Final = 10
"""A deposit is worth so many claims: relaying it costs the worker about as much as one."""
LOOK_MS: Final = 15_000
"""How often a channel is looked at while something of it is not claimed, or calls are made."""
FRESH_MS: Final = 60_000
"""How old the last look may be for a call to be made."""
BUSY_MS: Final = 3_600_000
"""How often a channel is claimed while calls are made, where that is worth its cost."""
IDLE_MS: Final = 86_400_000
"""After how long without a call the rest is claimed."""
FORGET_MS: Final = 7 * IDLE_MS
"""After how long without a call a channel is forgotten of which nothing worth a claim is unclaimed; one that holds
nothing for another call already after `BUSY_MS`.
"""

_CHANNEL_TYPEHASH = keccak256(
    b"ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,"
    b"uint40 withdrawDelay,bytes32 salt)"
)
_VOUCHER_TYPEHASH = keccak256(b"Voucher(bytes32 channelId,uint128 maxClaimableAmount)")


def domain(chain_id: int) -> Domain:
    """The EIP-712 domain of the channels' contract."""
    return Domain(chain_id, CONTRACT, "x402 Batch Settlement", "1")


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel is, for ever: who deposits, whose key signs its vouchers, who is paid, who may claim, in which
    token, and how long (seconds) its payer waits for what it takes out.
    """

    payer: Address
    payer_authorizer: Address
    receiver: Address
    receiver_authorizer: Address
    token: Address
    withdraw_delay: int
    salt: Digest

    def id(self, chain_id: int) -> Digest:
        """Its name on a chain."""
        parties = (self.payer, self.payer_authorizer, self.receiver, self.receiver_authorizer, self.token)
        words = (*map(word, parties), word(self.withdraw_delay), self.salt)
        return signing_digest(domain(chain_id), keccak256(_CHANNEL_TYPEHASH, *words))


def voucher_digest(chain_id: int, channel: Digest, most: Atoms) -> Digest:
    """What is signed to let `most` be claimed of a channel, in all."""
    return signing_digest(domain(chain_id), keccak256(_VOUCHER_TYPEHASH, channel, word(most)))


@dataclass(frozen=True, slots=True)
class Deposit:
    """An ERC-3009 authorization that brings tokens into a channel, good in (valid_after, valid_before) (seconds)."""

    amount: Atoms
    valid_after: int
    valid_before: int
    salt: Digest
    signature: bytes

    def signing_digest(self, token: Domain, payer: Address, channel: Digest) -> Digest:
        nonce = keccak256(channel, self.salt)
        signed = TokenAuthorization(payer, COLLECTOR, self.amount, self.valid_after, self.valid_before, nonce)
        return signing_digest(token, signed.hash(RECEIVE_TYPEHASH))


class Status(StrEnum):
    """How far a channel has come."""

    requested = "requested"
    opening = "opening"
    open = "open"
    refused = "refused"
    leaving = "leaving"


class CallStatus(StrEnum):
    """How far a call on a channel has come."""

    held = "held"
    """It is under way: the most that it may cost counts as promised."""
    released = "released"
    """It was not charged, as far as its gateway knows. A receipt that comes late still counts, for a while."""
    charged = "charged"


NEXT: Final[Mapping[Status, frozenset[Status]]] = {
    Status.requested: frozenset((Status.open, Status.refused, Status.opening, Status.leaving)),
    Status.opening: frozenset((Status.requested,)),
    Status.open: frozenset((Status.requested, Status.open, Status.leaving)),
    Status.refused: frozenset((Status.requested, Status.refused, Status.leaving)),
    Status.leaving: frozenset((Status.requested, Status.leaving)),
}
"""What may follow. A look may find the same again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain says of a channel, in atoms: what was deposited less what was taken out, and what was claimed of
    that. `leaving` (seconds) is when its payer asked for the rest, 0 where it did not.
    """

    balance: Atoms
    claimed: Atoms
    leaving: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """A channel's totals in atoms: what the chain holds and what was claimed of it, the highest voucher, what the
    receipts of its calls say, and the most that the calls under way may cost.
    """

    balance: Atoms
    claimed: Atoms
    voucher: Atoms
    charged: Atoms
    held: Atoms = 0
    published: Atoms = 0
    """The highest voucher that a claim has shown to everybody, with its signature."""

    @property
    def promised(self) -> Atoms:
        """What was charged, and what is under way."""
        return self.charged + self.held

    @property
    def base(self) -> Atoms:
        """What a next voucher comes on top of: one that is public opens nothing, so its payer signs a higher one."""
        return max(self.charged, self.published)

    @property
    def next(self) -> Atoms:
        """The same beside the calls under way."""
        return max(self.promised, self.published)

    @property
    def claimable(self) -> Atoms:
        """The total that may be claimed."""
        return min(self.voucher, self.charged, self.balance)

    @property
    def unclaimed(self) -> Atoms:
        return max(0, self.claimable - self.claimed)

    @property
    def lost(self) -> Atoms:
        """What was charged, and neither was claimed nor can be: a debt of the payer's, until a deposit or a voucher
        covers it.
        """
        return max(0, self.charged - max(self.claimable, self.claimed))


class Answer(StrEnum):
    """What becomes of a call on a channel."""

    admitted = "admitted"
    deposit = "deposit"
    """The deposit does not cover it."""
    voucher = "voucher"
    """No voucher covers it beside what was charged and is under way: its payer signs again."""


def admit(totals: Totals, shown: Atoms, most: Atoms) -> Answer:
    """Whether a call that may cost `most` is made for who shows a voucher of `shown`.

    The highest voucher covers as many calls at once as it can. The one that is shown covers what was charged and this
    call at least, and was in no claim: an old one, which somebody else may have read, opens nothing.
    """
    if totals.promised + most > totals.balance:
        return Answer.deposit
    if (
        shown <= totals.published
        or shown < totals.charged + most
        or max(totals.voucher, shown) < totals.promised + most
    ):
        return Answer.voucher
    return Answer.admitted


def is_deposit_due(totals: Totals, answer: Answer, shown: Atoms, offered: Atoms) -> bool:
    """Whether to take a deposit that came with a call: when the call needs it, or its payer reckons with it; and only
    if more comes than is there, calls under way counted in, which may cost nothing in the end. Relaying one is the
    operator's gas, so nobody has many small ones relayed.
    """
    is_needed = answer is Answer.deposit or shown > totals.balance
    return is_needed and offered > totals.balance - totals.charged


def is_claim_due(totals: Totals, status: Status, least: Atoms, idle_ms: int, since_claim_ms: int) -> bool:
    """Whether to claim: at once when the payer leaves, seldom while calls are made, and the rest when none comes. Never
    less than `least`, which is what a claim costs.
    """
    if totals.unclaimed < least:
        return False
    if status is Status.leaving or idle_ms >= IDLE_MS:
        return True
    return since_claim_ms >= BUSY_MS and totals.unclaimed >= DEPOSIT_CLAIMS * least


HAS_CODE: Final = "its account has code, which the token would ask whether it signed: pay by `exact`"
USED_BEFORE: Final = (
    "claims have shown vouchers of this channel that are not known here any more: take out what it holds "
    "(initiateWithdraw), and open one with another salt"
)
EMPTY: Final = "the chain holds no deposit of this channel that is worth a claim: send one with the call"


def min_deposit(least: Atoms) -> Atoms:
    """The least deposit that is taken, and that a new channel holds to be watched, where a claim costs `least`."""
    return DEPOSIT_CLAIMS * least


def holder(stored: Totals, seen: Seen, least: Atoms) -> Status:
    """How far a channel has come that the chain was asked about. One that was open before may be empty; a new one may
    not, even if its payer leaves: strangers would fill the lane with channels of one atom.
    """
    if not stored.balance and seen.balance - seen.claimed < min_deposit(least):
        return Status.refused
    return Status.leaving if seen.leaving else Status.open


def wrong(channel: Channel, payee: Address, claimer: Address, token: Address) -> str | None:
    """Why no call is made on a channel like this; None where one may be."""
    if (channel.token, channel.receiver, channel.receiver_authorizer) != (token, payee, claimer):
        return "the channel is not in the token, to the receiver, and claimed by the authorizer, that are asked for"
    if ZERO_ADDRESS in (channel.payer, channel.payer_authorizer):
        return "a channel names its payer, and the key (payerAuthorizer) that signs its vouchers"
    if not DELAY_SECONDS <= channel.withdraw_delay <= MOST_DELAY_SECONDS:
        return f"the channel's withdrawDelay is {channel.withdraw_delay} s, and has to be {DELAY_SECONDS} s at least"
    return None
