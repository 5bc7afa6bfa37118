"""One deployment on one chain: what its contracts and their events say, as values."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from ledger.chain import logs
from ledger.chain.abi import interface
from ledger.chain.calls import Calls
from ledger.chain.rpc import At, Endpoint
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import raises
from ledger.core.settlement.events import BidPlaced, Block, Committed, Log, NamedParent
from ledger.core.settlement.header import HeaderId
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address, to_hex
from ledger.core.values.typed_data import Signer, word
from ledger.deployments import Deployment

LOG_CHUNK = 2_000
"""Blocks asked for at once."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane's life. `era` counts falls and escapes. Times in seconds."""

    operator: Address
    window: int
    answer_time: int
    leverage: int
    era: int
    active: bool


@dataclass(frozen=True, slots=True)
class Books:
    """A lane's money in atoms: deposits less withdrawals, the last final total, what payees claimed, and the bond."""

    net: int
    settled: int
    paid: int
    bond: int


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a lane's chain of batches. Times in seconds."""

    total: int
    next: int
    finalized: int
    final_closed_at: int
    last_closed_at: int
    consumers: int
    payout_height: int
    debit_height: int


@dataclass(frozen=True, slots=True)
class Life:
    """What a lane's operator did, and what befell it. Times in seconds, 0 for never; the deposit in atoms."""

    poster: Address
    fell_at: int
    active_since: int
    stopped_at: int
    min_deposit: int


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """Since when a key signs, and when it was revoked, in seconds; 0 for never."""

    since: int
    revoked_at: int

    @property
    def signs(self) -> bool:
        """Whether it signs now."""
        return bool(self.since) and not self.revoked_at


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """A consumer in a lane. Amounts in atoms, times in seconds."""

    deposited: int
    withdrawn: int
    index: int
    requested_at: int
    left_at: int
    debit_at_exit: int
    paid_in: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A batch in the ring: its header's id, the end of its window in seconds, and how many questions are open."""

    hash: HeaderId
    until: int
    open: int


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """An open question: who asked, until when it can be answered (seconds), and its fee in wei."""

    asker: Address
    deadline: int
    fee: int


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """An offer to sell a model, as the Registry has it: the price in atoms, `until` in seconds; no buyer: anybody."""

    seller: Address
    buyer: Address
    price: int
    until: int
    content: bytes
    agreement: Digest


class Chain(Endpoint):
    """An RPC endpoint, and our contracts behind it."""

    def __init__(
        self, rpc_url: str, deployment: Deployment, key: Signer | None = None, timeout_seconds: float = 10
    ) -> None:
        super().__init__(rpc_url, key, timeout_seconds)
        self.deployment = deployment
        self.chain_id = deployment.chain_id
        self.calls = Calls(deployment)

    # ---- events

    def logs(self, first: int, last: int) -> list[Log]:
        """Our contracts' events in blocks first..last, both included, in chain order.

        Unavailable when the chain is reorganised meanwhile.
        """
        found: list[Log] = []
        times: dict[str, int] = {}
        for start in range(first, last + 1, LOG_CHUNK):
            window = {"fromBlock": hex(start), "toBlock": hex(min(last, start + LOG_CHUNK - 1))}
            for raw in self.rpc("eth_getLogs", {**window, "address": logs.watched(self.deployment)}):
                number = raw["blockNumber"]
                if number not in times:
                    mined = self.rpc("eth_getBlockByNumber", number, False)
                    if mined is None:
                        raise Unavailable(f"block {int(number, 16)} went away while its logs were read")
                    times[number] = int(mined["timestamp"], 16)
                found += logs.decode(self.deployment, raw, times[number])
        return sorted(found, key=lambda log: (log.block, log.index))

    def raw_logs(self, contract: str, event: str, *topics: bytes | None) -> list[dict[str, Any]]:
        """JSON-RPC logs of one event since the deployment, oldest first; `topics`: its first indexed arguments, None
        for any.
        """
        wanted = [interface(contract).topic(event), *topics]
        where = {"fromBlock": hex(self.deployment.block), "toBlock": "latest"}
        target = {
            "address": self.deployment.contracts[contract],
            "topics": [topic and to_hex(topic) for topic in wanted],
        }
        found: list[dict[str, Any]] = self.rpc("eth_getLogs", {**where, **target})
        return found

    def committed(self, lane: Address, batch: int) -> Committed:
        """A posted batch, as its event says: whatever contract the operator committed through."""
        found = self.raw_logs("Settlement", "Committed", word(lane), word(batch))
        if not found:
            raise Unavailable(f"batch {batch} of lane {to_hex(lane)} is not on this chain any more", batch=batch)
        event = logs.decode(self.deployment, found[-1], 0)[0].event
        assert isinstance(event, Committed), "only this event was asked for"
        return event

    # ---- views

    def view(self, contract: str, function: str, *arguments: object, block: At = "latest") -> Any:
        """A view function of one of our contracts, by their ABI names."""
        return self.read(contract, self.deployment.address_of(contract), function, *arguments, block=block)

    def settlement(self, function: str, *arguments: object, block: At = "latest") -> Any:
        """A view function of Settlement."""
        return self.view("Settlement", function, *arguments, block=block)

    def balance(self, holder: Address, block: At = "latest") -> int:
        """Tokens of a holder, in atoms."""
        return int(self.view("AICoin", "balanceOf", holder, block=block))

    def lane(self, lane: Address, block: At = "latest") -> LaneState:
        """A lane's state. Raises Rejected when there is no such lane."""
        operator, *rest = self.settlement("lanes", lane, block=block)
        if address(operator) == ZERO_ADDRESS:
            raise Rejected(f"there is no lane {to_hex(lane)}", lane=to_hex(lane))
        return LaneState(address(operator), *rest)

    def lane_of(self, operator: Address) -> Address | None:
        """The first lane that an operator opened; None without one."""
        any_lane = "LaneOpened"
        opened = self.raw_logs("Settlement", any_lane)
        ours = [raw for raw in opened if raw["topics"][2][-40:] == operator.hex()]
        return address("0x" + ours[0]["topics"][1][-40:]) if ours else None

    def books(self, lane: Address, block: At = "latest") -> Books:
        return Books(*self.settlement("books", lane, block=block))

    def head(self, lane: Address, block: At = "latest") -> Head:
        return Head(*self.settlement("heads", lane, block=block))

    def account(self, lane: Address, account: Address, block: At = "latest") -> LaneAccount:
        """A consumer in a lane; zeros if it never deposited."""
        return LaneAccount(*self.settlement("accounts", lane, account, block=block))

    def life(self, lane: Address) -> Life:
        poster, *rest = self.settlement("lives", lane)
        return Life(address(poster), *rest)

    def gateway_key(self, lane: Address, key: Address) -> KeyTimes:
        """A gateway key of a lane."""
        _, since, revoked_at = self.view("Keys", "gateways", lane, key)
        return KeyTimes(since, revoked_at)

    def gateway_keys(self, lane: Address) -> frozenset[Address]:
        """The keys that sign for a lane now: added and not revoked."""
        added, revoked = (
            {address("0x" + raw["topics"][2][-40:]) for raw in self.raw_logs("Keys", event, word(lane))}
            for event in ("GatewayAdded", "GatewayRevoked")
        )
        return frozenset(added - revoked)

    def session_key(self, account: Address, key: Address) -> KeyTimes:
        """A key that signs vouchers of an account."""
        return KeyTimes(*self.view("Keys", "sessionKeys", account, key))

    def as_parent(self, model: Digest) -> NamedParent:
        """A registered model as its children name it, from its last events. Rejected when it is not registered."""
        registered = self.raw_logs("Registry", "ModelRegistered", model)
        if not registered:
            raise Rejected(f"{to_hex(model)} is not registered on this chain", model=to_hex(model))
        said = _arguments("Registry", registered[-1])
        changed = [
            raw for raw in self.raw_logs("Registry", "TermsChanged", model) if _place(raw) > _place(registered[-1])
        ]
        terms = _arguments("Registry", changed[-1])["terms"] if changed else said["terms"]
        return NamedParent(model, Digest(said["lineage"]), Digest(terms))

    def model_offer(self, model: Digest) -> ModelOffer | None:
        """The offer by which a model can be bought; None without one. It may have expired."""
        offered = self.raw_logs("Registry", "ModelOffered", model)
        if not offered:
            return None
        seller, buyer, price, until, content, agreement = _arguments("Registry", offered[-1])["offer"]
        offer = ModelOffer(address(seller), address(buyer), price, until, content, Digest(agreement))
        return offer if self.view("Registry", "isOffered", model, astuple(offer)) else None

    def organisation_keys(self, organisation: Digest) -> list[Address]:
        """The keys that speak for an organisation beside its owner."""
        logged = self.raw_logs("Registry", "OrganisationKeySet", organisation)
        named = [address("0x" + raw["topics"][2][-40:]) for raw in logged]
        return [key for key in dict.fromkeys(named) if self.view("Registry", "speaksFor", organisation, key)]

    def last_bid(self, subject: Digest, role: Role, party: Address) -> BidPlaced | None:
        """A bidder's last bid for a role on a subject, in force or not."""
        return next((bid for bid in reversed(self.bids(subject, party)) if bid.role == role), None)

    def bids(self, subject: Digest | None, party: Address | None = None) -> list[BidPlaced]:
        """The bids on a subject, of a party, or both, in the order in which they were placed."""
        logged = self.raw_logs("BidBook", "BidPlaced", subject, word(party) if party is not None else None)
        placed = [one.event for raw in logged for one in logs.decode(self.deployment, raw, 0)]
        return [event for event in placed if isinstance(event, BidPlaced)]

    def bid(self, subject: Digest, role: Role, party: Address, bid: Bid) -> Call:
        """The call by which a party bids so that the bid enters as early as the rules allow."""
        last = self.last_bid(subject, role, party)
        frozen = int(self.view("BidBook", "frozenEpoch"))
        if last is None or last.until <= frozen or raises(last.bid, bid):
            return self.calls.place_bid(subject, role, bid)
        return self.calls.lower_bid(last, bid)

    def claimed(self, lane: Address, index: int, block: At = "latest") -> int:
        """The total a payee index has claimed, in atoms."""
        return int(self.settlement("claimed", lane, index, block=block))

    def held(self, lane: Address, block: Block) -> int:
        """Atoms that a lane's books hold at a block, the chain's side of law L4: deposits less withdrawals and claims.

        Raises Rejected when fewer lie at the lane's address; more may: payments that nobody booked yet. Unavailable
        when the chain has another block of this number now, or none.
        """
        try:
            books, tokens = self.books(lane, block.number), self.balance(lane, block.number)
        finally:
            here = self.block(block.number)
            if here is None or here.hash != block.hash:
                raise Unavailable(f"block {block.number} went away while it was read")
        due = books.net - books.paid
        if tokens < due:
            raise Rejected(f"lane {to_hex(lane)} holds {tokens} atoms, its books say {due}", lane=to_hex(lane))
        return due

    def posted(self, lane: Address, batch: int) -> Posted:
        return Posted(*self.settlement("batches", lane, batch))

    def question(self, question: Digest) -> OpenQuestion:
        """An open question; no asker if there is none."""
        asker, deadline, gwei = self.view("Questions", "questions", question)
        return OpenQuestion(address(asker), deadline, gwei * 10**9)

    def question_fee(self, kind: int) -> int:
        """The fee of a question of a kind at the newest block's base fee, in wei."""
        base = int(self.rpc("eth_getBlockByNumber", "latest", False).get("baseFeePerGas", "0x0"), 16)
        return int(self.view("Questions", "feeAt", kind, base))

    def payee_index(self, party: Address) -> int:
        """A party's payee index; 0 if it has none."""
        return int(self.view("Registry", "payeeIndex", party))

    def stake(self, party: Address) -> tuple[int, int, int]:
        """A party's stake: staked atoms, unbonding atoms, release time."""
        staked, unbonding, release_at = self.view("StakeVault", "stakes", party)
        return staked, unbonding, release_at


def _arguments(contract: str, raw: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one of a contract's logs."""
    topics = [bytes.fromhex(topic[2:]) for topic in raw["topics"]]
    decoded = interface(contract).decode_log(topics, bytes.fromhex(raw["data"][2:]))
    assert decoded is not None, "only logs of this contract were asked for"
    return decoded[1]


def _place(raw: dict[str, Any]) -> tuple[int, int]:
    return int(raw["blockNumber"], 16), int(raw["logIndex"], 16)
