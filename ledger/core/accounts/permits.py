"""Permits of x402's scheme `upto`: a payer lets a wallet of the operator's be paid at most an amount, once, by Permit2.

An account of the operator's own advances the call; afterwards its price is settled by the permit. Until then the payer
can move its tokens away, take back its allowance or use the nonce: what is advanced is the operator's risk, which the
budget of the advancing key bounds.

    requested -> good       the worker has seen that the payer has, allows, and has not promised, so much
    requested -> refused    it has not; sent again, the permit is requested again
    good      -> released   the call was not charged; sent again, the permit is requested again. One that is requested
                            still is deleted: its call was not made
    ...       -> owed       the call has a receipt, whatever was thought before
    owed      -> settled    the charge is less than what settling it costs, and nothing is sent
    owed      -> sent       a transaction that settles it is intended
    sent      -> settled    it is confirmed
    sent      -> owed       it failed or was lost, and is tried again until the deadline
    owed      -> failed     the deadline has passed, or its call was charged more than it permits
    sent      -> failed     it reverted on chain too often, which costs gas. Failed is a debt, until the operator
                            forgives it
    settled   -> sent       a reorganisation dropped its block; of a failed one, too
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.core.values.atoms import Atoms
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, to_hex
from ledger.core.values.typed_data import word

PERMIT2: Final = address("0x000000000022d473030f116ddee9f6b43ac78ba3")
"""Where Permit2 is on every chain that has it."""
PROXY: Final = address("0x4020a4f3b7b90cca423b9fabcc0ce57c6c240002")
"""Where x402's contract for `upto` is on every chain that has it: the spender that a permit names."""
SETTLE_SECONDS: Final = 300
"""How long the worker has, after the longest call, to settle a permit before its deadline."""
SETTLE_GAS: Final = 250_000
"""The most gas that a settlement may ask for. One takes about 120,000; Permit2 calls a payer that has code, which could
burn all that it is given, at the cost of the worker's key.
"""
MOST_SENT: Final = 16
"""Settlements on their way at a time: what else the worker sends waits behind no more of them."""
MOST_REVERTED: Final = 2
"""Settlements of one permit that may revert on chain: each costs gas. One whose estimate fails costs none."""

_DOMAIN_TYPEHASH = keccak256(b"EIP712Domain(string name,uint256 chainId,address verifyingContract)")
_TOKENS_TYPE = b"TokenPermissions(address token,uint256 amount)"
_WITNESS_TYPE = b"Witness(address to,address facilitator,uint256 validAfter)"
_PERMIT_TYPEHASH = keccak256(
    b"PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"
    b"Witness witness)" + _TOKENS_TYPE + _WITNESS_TYPE
)


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit as its payer signs it: tokens to `payee`, at most `amount` atoms, in (valid_after, deadline) (seconds).

    Only the `facilitator` can settle it. `nonce` is a number of 32 bytes that the payer uses once.
    """

    payer: Address
    payee: Address
    facilitator: Address
    token: Address
    amount: Atoms
    valid_after: int
    deadline: int
    nonce: Digest

    @property
    def id(self) -> Digest:
        """Names its whole cause: Permit2 takes a payer's nonce once, whatever it was signed for."""
        return keccak256(b"upto", PERMIT2, self.payer, self.nonce)

    def signing_digest(self, chain_id: int) -> Digest:
        """The EIP-712 digest to sign. Permit2's domain has no version."""
        domain = keccak256(_DOMAIN_TYPEHASH, keccak256(b"Permit2"), word(chain_id), word(PERMIT2))
        tokens = keccak256(keccak256(_TOKENS_TYPE), word(self.token), word(self.amount))
        witness = keccak256(keccak256(_WITNESS_TYPE), word(self.payee), word(self.facilitator), word(self.valid_after))
        hashed = keccak256(_PERMIT_TYPEHASH, tokens, word(PROXY), self.nonce, word(self.deadline), witness)
        return keccak256(b"\x19\x01", domain, hashed)


class Status(StrEnum):
    """How far a permit has come."""

    requested = "requested"
    good = "good"
    refused = "refused"
    released = "released"
    owed = "owed"
    sent = "sent"
    settled = "settled"
    failed = "failed"


UNCHARGED: Final = (Status.requested, Status.good, Status.refused, Status.released)
"""Where a permit is while its call has no receipt: it may be sent again, and is forgotten after its deadline."""
NEXT: Final[Mapping[Status, frozenset[Status]]] = {
    Status.requested: frozenset((Status.good, Status.refused, Status.released, Status.owed)),
    Status.good: frozenset((Status.requested, Status.released, Status.owed)),
    Status.refused: frozenset((Status.requested, Status.owed)),
    Status.released: frozenset((Status.requested, Status.owed)),
    Status.owed: frozenset((Status.sent, Status.settled, Status.failed)),
    Status.sent: frozenset((Status.settled, Status.owed, Status.failed)),
    Status.settled: frozenset((Status.sent,)),
    Status.failed: frozenset((Status.settled, Status.sent)),
}
"""What may follow. A failed permit counts as settled when the operator forgives it."""


def before(status: Status) -> tuple[Status, ...]:
    """Where a permit may come from to this status."""
    return tuple(one for one, following in NEXT.items() if status in following)


@dataclass(frozen=True, slots=True)
class Means:
    """What is known of a payer, in atoms: its tokens, what Permit2 may move of them, what it has promised otherwise,
    and what of its debts could not be settled. `time` (seconds) is the last block's. Nothing else was asked where its
    tokens or its code decide.
    """

    balance: Atoms
    allowance: Atoms = 0
    nonce_used: bool = False
    time: int = 0
    has_code: bool = False
    promised: Atoms = 0
    debt: Atoms = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Good, refused, or requested still: the payer has enough for this permit, but not beside its others."""

    status: Status
    why: str | None = None


HAS_CODE: Final = "its account has code, which Permit2 would ask whether it signed: pay by `exact`"
"""Why no permit of a contract, or of an account that delegated to one, is taken or settled: by EIP-7702 who holds an
account's key can do that at any time.
"""


def refused(why: str) -> Verdict:
    return Verdict(Status.refused, why)


def judge(permit: Permit, means: Means, facilitator: Address) -> Verdict:
    """Whether a call may be made on a permit that the worker settles as `facilitator`."""
    why, most = None, min(means.balance, means.allowance)
    if means.balance < permit.amount:
        why = f"its account has {means.balance} atoms, the permit is of {permit.amount}"
    elif means.has_code:
        why = HAS_CODE
    elif means.debt:
        why = (
            f"{means.debt} atoms that {to_hex(permit.payer)} used could not be settled: pay by `exact`, "
            "and ask the operator what becomes of the debt"
        )
    elif permit.facilitator != facilitator:
        why = (
            f"the permit names the facilitator {to_hex(permit.facilitator)}, this lane settles as {to_hex(facilitator)}"
        )
    elif means.nonce_used:
        why = "the permit's nonce was used: sign another"
    elif not permit.valid_after <= means.time < permit.deadline - SETTLE_SECONDS:
        why = (
            f"the permit is valid from {permit.valid_after} until {permit.deadline}; the chain's clock says "
            f"{means.time}, and settling it needs {SETTLE_SECONDS} s"
        )
    elif means.allowance < permit.amount:
        why = (
            f"Permit2 may move {means.allowance} atoms of its account, the permit is of {permit.amount}: "
            f"approve {to_hex(PERMIT2)} on the token {to_hex(permit.token)} once"
        )
    elif most - means.promised < permit.amount:
        return Verdict(Status.requested)
    return refused(why) if why is not None else Verdict(Status.good)
