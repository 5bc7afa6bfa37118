"""Every call of our contracts as bytes to sign: typed arguments, no network, nothing sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, cast

from contracts import load
from ledger.chain.abi import encode, interface
from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement.header import EMPTY_HEADER, NO_BATCH, Header, Heights
from ledger.core.settlement.transactions import Call
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane, address, create2
from ledger.deployments import Deployment

if TYPE_CHECKING:
    from ledger.chain.reads import ModelOffer
    from ledger.core.disputes.proofs import FraudProof
    from ledger.core.settlement.events import BidPlaced, NamedParent


def words(header: Header) -> tuple[bytes | int, ...]:
    """A header as the ABI's tuple: its fields have the ABI's order."""
    values = [getattr(header, field.name) for field in fields(header)]
    return tuple(value.packed if isinstance(value, Heights) else value for value in values)


def header_of(values: Sequence[bytes | int]) -> Header:
    """The inverse of `words`."""
    prev, era, closed_at, heights, *rest = values
    return Header(prev, era, closed_at, Heights.unpack(cast(int, heights)), *map(Digest, rest))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What a lane's operator chooses for good. Times in seconds, amounts in atoms.

    What is at stake is at most `leverage` x bond; `min_deposit` is the least first deposit of an account.
    """

    window: int
    answer_time: int
    leverage: int = 1
    min_deposit: int = 0


@dataclass(frozen=True, slots=True)
class Authorization:
    """A deposit as its owner signs it (ERC-3009): `amount` in atoms, valid in (valid_after, valid_before), in seconds.

    `salt` is the free part of the nonce of a receive authorization, and the whole nonce of an inbox's transfer.
    """

    lane: Lane
    account: Address
    amount: int
    valid_after: int
    valid_before: int
    salt: bytes


class Calls:
    """Call builders for one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.token = address(deployment.token)
        self.settlement = address(deployment.settlement)
        self.consumers = address(deployment.consumers)

    def to(self, contract: str, name: str, *arguments: object) -> Call:
        """Any function of one of our contracts, by their ABI names."""
        return address(self.deployment.address_of(contract)), interface(contract).call_data(name, *arguments)

    def to_settlement(self, name: str, *arguments: object) -> Call:
        """Any function of Settlement by its ABI name."""
        return self.to("Settlement", name, *arguments)

    # ---- money in a wallet

    def transfer(self, to: Address, amount: int) -> Call:
        """Move tokens."""
        return self.to("AICoin", "transfer", to, amount)

    def approve(self, spender: Address, amount: int) -> Call:
        """Let a contract take tokens."""
        return self.to("AICoin", "approve", spender, amount)

    # ---- an operator's life

    def open_lane(self, salt: Digest, terms: LaneTerms, bond: int) -> Call:
        """Open a lane; the bond must be approved to Settlement."""
        return self.to_settlement("openLane", salt, astuple(terms), bond)

    def lane_of(self, operator: Address, salt: Digest, terms: LaneTerms) -> Lane:
        """The address of the lane that `open_lane` opens: its vault's, which Settlement makes by CREATE2."""
        own = keccak256(
            encode(["address", "bytes32", "(uint24,uint24,uint8,uint64)"], [operator, salt, astuple(terms)])
        )
        code = load("LaneVault").bytecode + encode(["address", "address"], [self.token, self.consumers])
        return Lane(create2(self.settlement, own, code))

    def add_gateway(self, lane: Lane, key: Address) -> Call:
        """Let a key sign receipts of a lane; its operator sends this."""
        return self.to("Keys", "addGateway", lane, key)

    def commit(
        self, lane: Lane, header: Header, finalize_id: int = NO_BATCH, finalize_header: Header = EMPTY_HEADER
    ) -> Call:
        """Post a batch and finalize an older one if it is ripe."""
        return self.to_settlement("commit", lane, words(header), finalize_id, words(finalize_header))

    def finalize(self, lane: Lane, batch_id: int, header: Header) -> Call:
        """Make the oldest pending batch final."""
        return self.to_settlement("finalize", lane, batch_id, words(header))

    # ---- a consumer's life

    def deposit(self, lane: Lane, account: Address, amount: int) -> Call:
        """Deposit the sender's tokens, approved to Consumers."""
        return self.to("Consumers", "deposit", lane, account, amount)

    def deposit_with_authorization(self, signed: Authorization, signature: bytes) -> Call:
        """Relay an ERC-3009 receive authorization whose nonce is keccak256(abi.encode(lane, account, salt))."""
        return self.to("Consumers", "depositWithAuthorization", *astuple(signed), signature)

    def deposit_from_inbox(self, signed: Authorization, signature: bytes) -> Call:
        """Relay a plain x402 transfer authorization to the lane's address."""
        return self.to("Consumers", "depositFromInbox", *astuple(signed), signature)

    def withdraw(
        self, lane: Lane, account: Address, cumulative_debit: int, proof: Sequence[bytes], *, escape: bool = False
    ) -> Call:
        """Pay an account what is not finally debited; `escape`: of a lane whose operator vanished."""
        function = "escapeWithdraw" if escape else "withdraw"
        return self.to_settlement(function, lane, account, cumulative_debit, list(proof))

    # ---- a payee's life

    def register_payee(self, party: Address) -> Call:
        """Give a party its payee index."""
        return self.to("Registry", "registerPayee", party)

    def claim(self, lane: Lane, index: int, payee: Address, cumulative: int, proof: Sequence[bytes]) -> Call:
        """Pay a payee what is final and unclaimed."""
        return self.to_settlement("claim", lane, index, payee, cumulative, list(proof))

    def claim_range(self, lane: Lane, start: int, rows: Sequence[tuple[Address, int]], proof: Sequence[bytes]) -> Call:
        """Pay neighbours in the payout tree: (payee, cumulative) per index; the zero address for an empty place."""
        packed = [int.from_bytes(payee + cumulative.to_bytes(8, "big"), "big") for payee, cumulative in rows]
        return self.to_settlement("claimRange", lane, start, packed, list(proof))

    def place_bid(self, subject: Digest, role: Role, bid: Bid) -> Call:
        """Bid for a role on a subject: a first bid from the next epoch on, a later one from the epoch after that."""
        return self.to("BidBook", "placeBid", subject, role, bid.ratio_ppm, list(bid.asks))

    def lower_bid(self, last: BidPlaced, bid: Bid) -> Call:
        """Replace a bidder's last bid by one that raises nothing: from the next epoch on."""
        previous = (last.bid.ratio_ppm, list(last.bid.asks), last.first)
        return self.to("BidBook", "lowerBid", last.subject, last.role, bid.ratio_ppm, list(bid.asks), previous)

    def register_model(self, model: Digest, parents: Sequence[NamedParent], terms: Digest, salt: Digest) -> Call:
        """Second step of registering a model."""
        return self.to("Registry", "register", model, [tuple(parent) for parent in parents], terms, salt)

    def buy_model(self, model: Digest, offer: ModelOffer) -> Call:
        """Buy a model as it is offered; the price must be approved to Registry."""
        return self.to("Registry", "buyModel", model, astuple(offer))

    # ---- an auditor's proofs

    def prove(self, lane: Lane, batch: int, header: Header, proof: FraudProof) -> Call:
        """The call that proves a batch wrong."""
        arguments = [_spell(one) for one in proof.arguments]
        if not proof.voids:  # not about one batch
            return self.to(proof.contract, proof.function, lane, *arguments)
        return self.to(proof.contract, proof.function, lane, batch, words(header), *arguments)


def _spell(argument: object) -> object:
    """A proof's argument as the ABI wants it: headers as tuples; no header before the first batch's is an empty one."""
    if isinstance(argument, Header):
        return words(argument)
    return words(EMPTY_HEADER) if argument is None else argument
