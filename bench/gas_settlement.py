"""What each act of Settlement and Consumers costs in gas, from receipts on Anvil.

Acts are measured in a lane that has lived: 20 payees, 100 consumers, its ring of headers full, its roots set, a payee
claimed before. A first time costs 17,100 more for each slot that goes from zero. The judges are stubs: none of these
acts asks them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx

from contracts import load
from ledger.chain.abi import Interface, encode
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address
from ledger.core.values.sum_tree import Tree, Word, tree_node
from ledger.core.values.typed_data import Domain, Signer, signing_digest, word

Figures = dict[str, int | float]
FUNDS = Signer(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
PAYOUT, DEBIT = 1, 2
TERMS = (1, 1, 1, 1)
RULES = (1_000, 1, 1, 1, 0, 86_400)
BOND = 10**12
MAKER = bytes.fromhex("600a600c600039600a6000f3" + "600160005260206000f3")
"""Creation code of a contract that answers 1 to everything: a maker whose judge is nobody."""
RECEIVE = keccak256(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
NO_HEADER = (bytes(24), 0, 0, 0, *[bytes(32)] * 6)
Header = tuple[Any, ...]


def key(number: int) -> Signer:
    """The account of a small private key."""
    return Signer(number.to_bytes(32, "big"))


def party(number: int) -> Address:
    """An address nobody holds the key of, full of non-zero bytes."""
    return Address(keccak256(b"party", number.to_bytes(4, "big"))[:20])


class Chain:
    """A chain with AICoin, from Anvil's first account, which owns all tokens; each act returns its gas."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120)
        self.funds = str(self.rpc("eth_accounts")[0])
        self.token = self.deploy(load("AICoin").bytecode, ["address", "uint256"], [self.funds, 10**18])

    def rpc(self, method: str, *arguments: object) -> Any:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": arguments}
        answer = self._http.post("", json=asked).json()
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def deploy(self, code: bytes, types: Sequence[str] = (), values: Sequence[Any] = ()) -> str:
        made = {"from": self.funds, "data": "0x" + (code + encode(types, values)).hex()}
        return str(self._mined(made)["contractAddress"])

    def act(self, contract: str, where: str, function: str, *arguments: Any, sender: str = "") -> int:
        data = Interface(load(contract).abi).call_data(function, *arguments)
        return int(self._mined({"from": sender or self.funds, "to": where, "data": "0x" + data.hex()})["gasUsed"], 16)

    def now(self) -> int:
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def wait(self, seconds: int) -> None:
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def _mined(self, transaction: dict[str, str]) -> dict[str, str]:
        hash_ = self.rpc("eth_sendTransaction", {**transaction, "gas": hex(2**24)})
        while (receipt := self.rpc("eth_getTransactionReceipt", hash_)) is None:
            time.sleep(0.01)
        if receipt["status"] != "0x1":
            raise RuntimeError(f"a transaction failed: {transaction}")
        return dict(receipt)


class World(Chain):
    """Settlement around the token."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        assert bytes.fromhex(self.funds[2:]) == FUNDS.address
        maker = self.deploy(MAKER)
        types = ["address", "address", "(uint64,uint8,uint32,uint32,uint32,uint32)", "address[3]", "bytes[3]"]
        given = [self.token, "0x" + "de" * 20, RULES, [maker] * 3, [b""] * 3]
        self.settlement = self.deploy(load("Settlement").bytecode, types, given)
        self.consumers = "0x" + self.read("consumers")[-20:].hex()
        for spender in (self.settlement, self.consumers):
            self.act("AICoin", self.token, "approve", spender, 2**256 - 1)

    def read(self, function: str, *arguments: Any) -> bytes:
        data = Interface(load("Settlement").abi).call_data(function, *arguments)
        return bytes.fromhex(self.rpc("eth_call", {"to": self.settlement, "data": "0x" + data.hex()}, "latest")[2:])

    def settle(self, function: str, *arguments: Any) -> int:
        return self.act("Settlement", self.settlement, function, *arguments)


class Lane:
    """A lane in which every payee has earned the same, and every consumer spent the same."""

    def __init__(self, world: World, salt: int, payees: int, consumers: int) -> None:
        self.world, self.payees = world, [party(n) for n in range(payees)]
        world.settle("openLane", salt.to_bytes(32, "big"), TERMS, BOND)
        logs = world.rpc("eth_getLogs", {"address": world.settlement, "fromBlock": "latest"})
        topic = "0x" + Interface(load("Settlement").abi).topic("LaneOpened").hex()
        self.address = next(log["topics"][1][-40:] for log in logs if log["topics"][0] == topic)
        self.lane = "0x" + self.address
        self.consumers = [FUNDS.address, *(party(10_000 + n) for n in range(1, consumers))]
        self.deposit(9 * 10**11)
        self.last: Header | None = None
        self.posted = 0

    def deposit(self, amount: int) -> int:
        return self.world.act("Consumers", self.world.consumers, "deposit", self.lane, self.world.funds, amount)

    def tree(self, kind: int, parties: list[Address], amount: int) -> Tree:
        lane = bytes.fromhex(self.address)
        return Tree.build([bytes(32), *(self._leaf(kind, lane, n, who, amount) for n, who in enumerate(parties, 1))])

    def trees(self, unit: int) -> tuple[Tree, Tree]:
        payouts = self.tree(PAYOUT, self.payees, unit * len(self.consumers))
        return payouts, self.tree(DEBIT, self.consumers, unit * len(self.payees))

    def next(self, unit: int) -> Header:
        payouts, debits = self.trees(unit)
        charged = payouts.total - (int.from_bytes(self.last[5][24:], "big") if self.last else 0)
        prev = self.name(self.last) if self.last else bytes(24)
        salt = self.posted.to_bytes(4, "big")
        roots = [
            self._noise(b"receipts", charged, salt),
            payouts.root,
            debits.root,
            self._noise(b"lines", charged, salt),
        ]
        heights = 14 | payouts.height << 8 | debits.height << 16 | 1 << 24 | payouts.height << 32 | 10 << 40
        closed = self.world.now()
        return (prev, 1, closed, heights, *roots, self._noise(b"gateways", 10_000, salt), keccak256(b"data", salt))

    def name(self, header: Header) -> bytes:
        types = ["bytes24", "uint32", "uint40", "uint48", *["bytes32"] * 6]
        return keccak256(encode(types, list(header)))[:24]

    def commit(self, header: Header, finalize: Header | None = None) -> int:
        used = self.world.settle("commit", self.lane, header, self.posted if finalize else 0, finalize or NO_HEADER)
        self.last, self.posted = header, self.posted + 1
        self.world.wait(10)
        return used

    def settled(self, unit: int) -> Tree:
        self.commit(self.next(unit))
        self.world.settle("finalize", self.lane, self.posted, self.last)
        return self.trees(unit)[0]

    def _leaf(self, kind: int, lane: bytes, index: int, who: Address, amount: int) -> Word:
        packed = bytes([kind]) + lane + index.to_bytes(4, "big") + who + amount.to_bytes(8, "big")
        return tree_node(keccak256(packed), amount)

    def _noise(self, name: bytes, total: int, salt: bytes) -> bytes:
        return keccak256(name, salt)[:24] + total.to_bytes(8, "big")


def measure(url: str) -> Figures:
    """Every figure of the snapshot."""
    world = World(url)
    gas: Figures = {}
    _batches(world, gas)
    _claims(world, gas)
    _consumers(world, gas)
    per_batch = gas["commit_finalize"] + 20 * gas["claim_range_20_per_payee"]
    gas["per_call_10k_calls_100_consumers_20_payees"] = round(per_batch / 10_000, 3)
    gas["per_call_1m_calls_1000_consumers_20_payees"] = round(per_batch / 1_000_000, 4)
    return gas


def _batches(world: World, gas: Figures) -> None:
    lane = Lane(world, 1, 20, 100)
    for unit in range(1, 259):  # the ring turns once
        lane.commit(lane.next(unit), lane.last)
    world.settle("finalize", lane.lane, lane.posted, lane.last)
    gas["commit"] = lane.commit(lane.next(300))
    gas["commit_finalize"] = lane.commit(lane.next(400), lane.last)


def _claims(world: World, gas: Figures) -> None:
    for payees in (20, 100):
        lane = Lane(world, 10 + payees, payees, 1)
        for unit in (10**6, 2 * 10**6):  # the second time: accounts exist, slots are in use
            tree = lane.settled(unit)
            rows = [int.from_bytes(who, "big") << 64 | unit for who in lane.payees]
            used = world.settle("claimRange", lane.lane, 1, rows, tree.range_proof(1, payees))
            gas[f"claim_range_{payees}_per_payee"] = used // payees
    for payees in (1_000, 100_000):
        lane = Lane(world, 10 + payees, payees, 1)
        index = payees // 3
        for unit in (10**6, 2 * 10**6):
            tree = lane.settled(unit)
            used = world.settle("claim", lane.lane, index, lane.payees[index - 1], unit, tree.proof(index))
            gas[f"claim_{payees}"] = used


def _consumers(world: World, gas: Figures) -> None:
    lane, signer = Lane(world, 2, 20, 100), key(13)
    who = "0x" + signer.address.hex()
    world.rpc("anvil_setBalance", who, hex(10**21))
    world.act("AICoin", world.token, "transfer", who, 10**11)
    for name in ("deposit_authorization_first", "deposit_authorization_top_up"):
        gas[name] = world.act("Consumers", world.consumers, *_authorized(world, lane, signer, name.encode()))
    gas["deposit_top_up"] = lane.deposit(10**9)
    lane.consumers[1] = signer.address  # it deposited second
    lane.settled(10)
    world.rpc("anvil_impersonateAccount", who)
    gas["request_withdraw"] = world.act("Consumers", world.consumers, "requestWithdraw", lane.lane, sender=who)
    world.wait(10)
    lane.settled(20)
    debit = 20 * len(lane.payees)
    gas["withdraw"] = world.settle("withdraw", lane.lane, who, debit, lane.trees(20)[1].proof(2))


def _authorized(world: World, lane: Lane, signer: Signer, name: bytes) -> tuple[Any, ...]:
    salt, before, amount = keccak256(name), 2**40, 10**9
    at = Address(bytes.fromhex(lane.address))
    nonce = keccak256(word(at), word(signer.address), salt)
    fields = (word(signer.address), word(at), word(amount), word(0), word(before), nonce)
    chain_id = int(world.rpc("eth_chainId"), 16)
    domain = Domain(chain_id, Address(bytes.fromhex(world.token[2:])), "AI Coin", "1")
    signature = signer.sign(signing_digest(domain, keccak256(RECEIVE, *fields)))
    return "depositWithAuthorization", lane.lane, signer.address, amount, 0, before, salt, signature
