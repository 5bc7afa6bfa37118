"""One deployment on one chain: what its contracts and their events say, as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.chain import calls, logs
from ledger.chain.abi import interface
from ledger.chain.calls import Calls
from ledger.chain.rpc import At, Endpoint
from ledger.core.receipts.receipt import RECEIPT_TYPEHASH
from ledger.core.settlement.events import Log
from ledger.core.settlement.header import Header
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, address, to_hex
from ledger.core.values.sum_tree import Word, parent, receipt_leaf, tree_node
from ledger.core.values.typed_data import Domain, Signer
from ledger.deployments import Deployment

if TYPE_CHECKING:
    from ledger.core.disputes.recomputation import Answers

LOG_CHUNK = 2_000
"""Blocks asked for at once."""
RECEIPT_BYTES = 672
"""A receipt's preimage: its 21 words. All other leaves have 33 bytes or fewer."""
_CHARGE = slice(16 * 32, 17 * 32)


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
    """The head of a lane's chain of batches."""

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


class Chain(Endpoint):
    """An RPC endpoint, and our contracts behind it."""

    def __init__(
        self, rpc_url: str, deployment: Deployment, key: Signer | None = None, timeout_seconds: float = 10
    ) -> None:
        super().__init__(rpc_url, key, timeout_seconds)
        self.deployment = deployment
        self.chain_id = deployment.chain_id
        self.calls = Calls(deployment)
        self._answer_times: dict[int, int] = {}

    # ---- events

    def logs(self, first: int, last: int) -> list[Log]:
        """Our contracts' events in blocks first..last, both included, in chain order."""
        found: list[Log] = []
        times: dict[str, int] = {}
        for start in range(first, last + 1, LOG_CHUNK):
            window = {"fromBlock": hex(start), "toBlock": hex(min(last, start + LOG_CHUNK - 1))}
            for raw in self.rpc("eth_getLogs", {**window, "address": logs.watched(self.deployment)}):
                number = raw["blockNumber"]
                if number not in times:
                    times[number] = int(self.rpc("eth_getBlockByNumber", number, False)["timestamp"], 16)
                found += logs.decode(self.deployment, raw, times[number], self.answer_time)
        return sorted(found, key=lambda log: (log.block, log.index))

    def raw_logs(self, contract: str, event: str, *topics: bytes) -> list[dict[str, Any]]:
        """JSON-RPC logs of one event since the deployment, oldest first; `topics`: its first indexed arguments."""
        wanted = [interface(contract).topic(event), *topics]
        where = {"fromBlock": hex(self.deployment.block), "toBlock": "latest"}
        target = {"address": self.deployment.contracts[contract], "topics": [to_hex(topic) for topic in wanted]}
        found: list[dict[str, Any]] = self.rpc("eth_getLogs", {**where, **target})
        return found

    def committed_header(self, lane: int, batch: int) -> Header:
        """A posted batch's header, from its commit's calldata. Rejected when another contract made the call."""
        found = self.raw_logs("Settlement", "Committed", *(number.to_bytes(32, "big") for number in (lane, batch)))
        if not found:
            raise Unavailable(f"batch {batch} of lane {lane} is not on this chain any more", batch=batch)
        last = found[-1]
        sent = self.rpc("eth_getTransactionByHash", last["transactionHash"])["input"]
        header = calls.header_of(bytes.fromhex(sent[2:]))
        if to_hex(header.hash) != last["data"]:
            raise Rejected(f"the header of batch {batch} is not in its transaction's calldata", batch=batch)
        return header

    def answers(self) -> Answers:
        """Every tree node and leaf that operators ever opened on chain, under the word that was demanded. The contract
        checked each against its word."""
        from ledger.core.disputes.recomputation import Answers

        nodes: dict[Word, tuple[Word, Word]] = {}
        leaves: dict[Word, tuple[bytes, bytes]] = {}
        for said in self._arguments("NodeOpened"):
            nodes[parent(said["left"], said["right"])] = (said["left"], said["right"])
        for said in self._arguments("LeafOpened"):
            leaves[_leaf(said["preimage"])] = (said["preimage"], said["terms"])
        return Answers(nodes, leaves)

    def _arguments(self, event: str) -> Iterator[dict[str, Any]]:
        for log in self.raw_logs("Settlement", event):
            topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
            decoded = interface("Settlement").decode_log(topics, bytes.fromhex(log["data"][2:]))
            assert decoded is not None, "only this event was asked for"
            yield decoded[1]

    # ---- views

    def view(self, contract: str, function: str, *arguments: object, block: At = "latest") -> Any:
        """A view function of one of our contracts, by their ABI names."""
        return self.read(contract, self.deployment.address_of(contract), function, *arguments, block=block)

    def settlement(self, function: str, *arguments: object, block: At = "latest") -> Any:
        """A view function of Settlement."""
        return self.view("Settlement", function, *arguments, block=block)

    def token_domain(self) -> Domain:
        """The EIP-712 domain the token's authorizations are signed in."""
        token = address(self.deployment.token)
        return Domain(self.chain_id, token, str(self.view("AICoin", "name")), str(self.view("AICoin", "version")))

    def balance(self, holder: Address, block: At = "latest") -> int:
        """Tokens of a holder, in atoms."""
        return int(self.view("AICoin", "balanceOf", holder, block=block))

    def lane(self, lane: int, block: At = "latest") -> Lane:
        """A lane's state. Raises Rejected when there is no such lane."""
        operator, *rest = self.settlement("lanes", lane, block=block)
        if address(operator) == ZERO_ADDRESS:
            raise Rejected(f"there is no lane {lane}", lane=lane)
        return Lane(address(operator), *rest)

    def answer_time(self, lane: int) -> int:
        """Seconds the lane's operator has to answer; fixed when the lane was opened."""
        if lane not in self._answer_times:
            self._answer_times[lane] = self.lane(lane).answer_time
        return self._answer_times[lane]

    def head(self, lane: int, block: At = "latest") -> Head:
        return Head(*self.settlement("head", lane, block=block))

    def account(self, lane: int, account: Address, block: At = "latest") -> LaneAccount:
        """A consumer in a lane; zeros if it never deposited."""
        return LaneAccount(*self.settlement("accounts", lane, account, block=block))

    def claimed(self, lane: int, index: int, block: At = "latest") -> int:
        """The total a payee index has claimed, in atoms."""
        return int(self.settlement("claimed", lane, index, block=block))

    def claimed_by_all(self, lane: int, block: At = "latest") -> int:
        """The total all payees have claimed in a lane, in atoms; read payee by payee."""
        payees = int(self.view("Registry", "payeeCount", block=block))
        return sum(self.claimed(lane, index, block) for index in range(1, payees + 1))

    def held(self, lane: int, block: int) -> int:
        """Atoms of a lane at a block, the chain's side of law L4: deposits less withdrawals, less all claims.

        With one lane this is the token balance less bond and insurance, so that a token that moved in any other way
        shows; with several, claims are read payee by payee.
        """
        state = self.lane(lane, block)
        if int(self.settlement("laneCount", block=block)) == 1:
            return self.balance(self.calls.settlement, block) - state.bond - state.insurance
        return state.net - self.claimed_by_all(lane, block)

    def posted(self, lane: int, batch: int) -> Posted:
        return Posted(*self.settlement("posted", lane, batch))

    def challenge(self, lane: int, batch: int, header_hash: bytes, key: bytes) -> tuple[Address, int]:
        """The challenger, and until when there is time to answer; zeros without a challenge, or when it is answered."""
        challenger, deadline = self.settlement("challenge", lane, batch, header_hash[:24], key)
        return address(challenger), int(deadline)

    def payee_index(self, party: Address) -> int:
        """A party's payee index; 0 if it has none."""
        return int(self.view("Registry", "payeeIndex", party))

    def stake(self, party: Address) -> tuple[int, int, int]:
        """A party's stake: staked atoms, unbonding atoms, release time."""
        staked, unbonding, release_at = self.view("StakeVault", "stakes", party)
        return staked, unbonding, release_at


def _leaf(preimage: bytes) -> Word:
    if len(preimage) == RECEIPT_BYTES:
        return receipt_leaf(keccak256(RECEIPT_TYPEHASH, preimage), int.from_bytes(preimage[_CHARGE], "big"))
    return tree_node(keccak256(preimage), int.from_bytes(preimage[-8:], "big"))
