"""One deployment on one chain: typed reads, transactions signed into bytes, logs as events.

A transaction is built and signed here but sent only by `send_raw`: whoever must survive a crash stores the bytes first.
Network trouble is Unavailable; what a contract refuses is `errors.Reverted`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from eth_account import Account as Keys
from eth_account.signers.local import LocalAccount
from requests.exceptions import RequestException
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from ledger.chain import bids, calls, errors, logs
from ledger.chain.abi import interface
from ledger.chain.calls import Calls
from ledger.chain.deployments import Deployment
from ledger.chain.states import Head, Lane, LaneAccount, Posted
from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement.events import BidPlaced, Block, Log
from ledger.core.settlement.header import Header
from ledger.core.settlement.transactions import Call, Mined
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, digest, to_hex

GAS_MARGIN_PERCENT = 20
MAX_GAS = 16_777_216
"""EIP-7825: no transaction may ask for more."""
LOG_CHUNK = 2_000
"""Blocks asked for at once."""


class Chain:
    """A node, and our contracts behind it."""

    def __init__(self, rpc_url: str, deployment: Deployment, timeout_seconds: float = 10) -> None:
        self.url, self.deployment = rpc_url, deployment
        self.calls = Calls(deployment)
        self._answer_times: dict[int, int] = {}
        self._provider = HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_seconds})

    # ---- the node

    def rpc(self, method: str, *parameters: Any) -> Any:
        """One JSON-RPC call's result."""
        try:
            answer = cast(dict[str, Any], self._provider.make_request(RPCEndpoint(method), list(parameters)))
        except (RequestException, ConnectionError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from the chain's node: {error}") from error
        if answer.get("error"):
            raise errors.of_response(answer["error"])
        return answer["result"]

    def chain_id(self) -> int:
        """The chain's id as the node says it."""
        return int(self.rpc("eth_chainId"), 16)

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip; None if there is none."""
        found = self.rpc("eth_getBlockByNumber", "latest" if number is None else hex(number), False)
        return found and Block(int(found["number"], 16), digest(found["hash"]), int(found["timestamp"], 16))

    def tip(self) -> int:
        """The latest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

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

    # ---- reads

    def read(self, name: str, to: str, function: str, *arguments: object, block: int | str = "latest") -> Any:
        """A view function of contract `name` at `to`, as the ABI decodes it."""
        data = interface(name).call_data(function, *arguments)
        at = hex(block) if isinstance(block, int) else block
        result = self.rpc("eth_call", {"to": to, "data": to_hex(data)}, at)
        return interface(name).result(function, len(arguments), bytes.fromhex(result[2:]))

    def settlement(self, function: str, *arguments: object, block: int | str = "latest") -> Any:
        """A view function of Settlement."""
        return self.read("Settlement", self.deployment.settlement, function, *arguments, block=block)

    def balance(self, holder: Address, block: int | str = "latest") -> int:
        """Tokens of a holder, in atoms."""
        return int(self.read("AICoin", self.deployment.token, "balanceOf", holder, block=block))

    def lane(self, lane: int, block: int | str = "latest") -> Lane:
        """A lane's state. Raises Rejected when there is no such lane."""
        operator, *rest = self.settlement("lanes", lane, block=block)
        if int(operator, 16) == 0:
            raise Rejected(f"there is no lane {lane}", lane=lane)
        return Lane(address(operator), *rest)

    def answer_time(self, lane: int) -> int:
        """Seconds the lane's operator has to answer; fixed when the lane was opened."""
        if lane not in self._answer_times:
            self._answer_times[lane] = self.lane(lane).answer_time
        return self._answer_times[lane]

    def head(self, lane: int, block: int | str = "latest") -> Head:
        """Where a lane's batches stand."""
        return Head(*self.settlement("head", lane, block=block))

    def account(self, lane: int, account: Address, block: int | str = "latest") -> LaneAccount:
        """A consumer in a lane; zeros if it never deposited."""
        return LaneAccount(*self.settlement("accounts", lane, account, block=block))

    def claimed(self, lane: int, index: int, block: int | str = "latest") -> int:
        """What a payee index has claimed in all, in atoms."""
        return int(self.settlement("claimed", lane, index, block=block))

    def posted(self, lane: int, batch: int) -> Posted:
        """A batch in the ring."""
        return Posted(*self.settlement("posted", lane, batch))

    def committed_header(self, lane: int, batch: int) -> Header:
        """A posted batch's header, from its commit's calldata. Rejected when another contract made the call."""
        place = [to_hex(number.to_bytes(32, "big")) for number in (lane, batch)]
        where = {"fromBlock": hex(self.deployment.block), "toBlock": "latest", "address": self.deployment.settlement}
        topics = [to_hex(interface("Settlement").topic("Committed")), *place]
        found = self.rpc("eth_getLogs", {**where, "topics": topics})
        if not found:
            raise Unavailable(f"batch {batch} of lane {lane} is not on this chain any more", batch=batch)
        last = found[-1]
        sent = self.rpc("eth_getTransactionByHash", last["transactionHash"])["input"]
        header = calls.header_of(bytes.fromhex(sent[2:]))
        if to_hex(header.hash) != last["data"]:
            raise Rejected(f"the header of batch {batch} is not in its transaction's calldata", batch=batch)
        return header

    def challenge(self, lane: int, batch: int, header_hash: bytes, key: bytes) -> tuple[Address, int]:
        """Who asked, and until when there is time to answer; zeros when nobody did, or it is answered."""
        challenger, deadline = self.settlement("challenge", lane, batch, header_hash[:24], key)
        return address(str(challenger)), int(deadline)

    def payee_index(self, party: Address) -> int:
        """A party's payee index; 0 if it has none."""
        return int(self.read("Registry", self.deployment.registry, "payeeIndex", party))

    def stake(self, party: Address) -> tuple[int, int, int]:
        """A party's stake: staked atoms, unbonding atoms, release time."""
        staked, unbonding, release_at = self.read("StakeVault", self.deployment.stake_vault, "stakes", party)
        return staked, unbonding, release_at

    def epoch(self) -> int:
        """The epoch of the latest block."""
        return int(self.read("BidBook", self.deployment.bid_book, "epoch"))

    def bids(self, subject: Digest, role: Role, party: Address) -> list[BidPlaced]:
        """A bidder's whole history for a role on a subject, oldest first."""
        topics: Sequence[str] = [
            to_hex(interface("BidBook").topic("BidPlaced")),
            to_hex(subject),
            to_hex(party.rjust(32, b"\0")),
        ]
        where = {"fromBlock": hex(self.deployment.block), "toBlock": "latest", "address": self.deployment.bid_book}
        raw = self.rpc("eth_getLogs", {**where, "topics": topics})
        said = (log.event for one in raw for log in logs.decode(self.deployment, one, 0))
        return [event for event in said if isinstance(event, BidPlaced) and event.role is role]

    # ---- transactions

    def nonce(self, sender: Address, at: int | str = "pending") -> int:
        """How many transactions of the sender there are up to a block; by default, pending ones counted."""
        return int(self.rpc("eth_getTransactionCount", to_hex(sender), hex(at) if isinstance(at, int) else at), 16)

    def fee(self) -> int:
        """What a unit of gas should offer at most, in wei: the base fee may double before we are mined."""
        base = int(self.rpc("eth_getBlockByNumber", "latest", False).get("baseFeePerGas", "0x0"), 16)
        return 2 * base + int(self.rpc("eth_maxPriorityFeePerGas"), 16)

    def gas(self, sender: Address, target: Address, data: bytes, value: int = 0) -> int:
        """Gas to offer: the node's estimate and a margin. Raises Reverted when the call would fail."""
        what = {"from": to_hex(sender), "to": to_hex(target), "data": to_hex(data), "value": hex(value)}
        used = int(self.rpc("eth_estimateGas", what), 16)
        return min(MAX_GAS, used * (100 + GAS_MARGIN_PERCENT) // 100)

    def sign(
        self, key: LocalAccount, call: Call, nonce: int, gas: int, fee: int, value: int = 0
    ) -> tuple[bytes, Digest]:
        """The call as a signed transaction and its hash. Sends nothing. The tip is an eighth of the fee, so that a
        replacement that raises the fee raises both, as nodes ask."""
        target, data = call
        signed = key.sign_transaction(
            {
                "type": 2,
                "chainId": self.deployment.chain_id,
                "nonce": nonce,
                "to": target,
                "data": data,
                "value": value,
                "gas": gas,
                "maxFeePerGas": fee,
                "maxPriorityFeePerGas": fee // 8,
            }
        )
        return bytes(signed.raw_transaction), Digest(bytes(signed.hash))

    def send_raw(self, raw: bytes) -> Digest:
        """Broadcast signed bytes. Sending the same bytes twice is harmless: the node's "already known" is no error."""
        try:
            return digest(str(self.rpc("eth_sendRawTransaction", to_hex(raw))))
        except Rejected as error:
            if "already known" in error.message or "already imported" in error.message:
                return keccak256(raw)
            raise

    def mined(self, transaction: Digest) -> Mined | None:
        """Where a transaction is, or None while it is in no block."""
        found = self.rpc("eth_getTransactionReceipt", to_hex(transaction))
        if found is None:
            return None
        ok, used = found["status"] == "0x1", int(found["gasUsed"], 16)
        return Mined(transaction, int(found["blockNumber"], 16), ok, used)

    def transact(self, key: LocalAccount | bytes, call: Call, value: int = 0, timeout_seconds: float = 60) -> Mined:
        """Sign, send and wait: for people's commands. Raises Reverted, or Unavailable when it is not mined in time."""
        signer: LocalAccount = Keys.from_key(key) if isinstance(key, bytes) else key
        sender = address(signer.address)
        gas = self.gas(sender, *call, value)
        raw, _ = self.sign(signer, call, self.nonce(sender), gas, self.fee(), value)
        sent = self.send_raw(raw)
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            done = self.mined(sent)
            if done is not None and done.succeeded:
                return done
            if done is not None:
                self.gas(sender, *call, value)  # raises with the contract's reason, if it still refuses
                raise Rejected(f"transaction {to_hex(sent)} failed", transaction=to_hex(sent))
            time.sleep(0.05)
        raise Unavailable(f"transaction {to_hex(sent)} is not mined after {timeout_seconds} s")

    def bid(self, party: Address, subject: Digest, role: Role, bid: Bid) -> Call:
        """The call that places `party`'s bid: as a lower bid, which enters an epoch earlier, when it raises nothing."""
        history = self.bids(subject, role, party)
        if not history or self.epoch() >= history[-1].until:
            return self.calls.place_bid(subject, role, bid.ratio_ppm, bid.asks)
        last = history[-1]
        asks = zip(bid.asks, last.bid.asks, strict=True)
        if bid.ratio_ppm > last.bid.ratio_ppm or any(new > old for new, old in asks):
            return self.calls.place_bid(subject, role, bid.ratio_ppm, bid.asks)
        before = bids.history_hash(history[:-1])
        return self.calls.to_book("lowerBid", subject, role, bid.ratio_ppm, list(bid.asks), bids.words(last), before)
