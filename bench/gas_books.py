"""What bids, models, names and stakes cost in gas.

The parties are registered payees and have acted before, so that an act writes the slots it always writes: a first time
costs 17,100 more for each that goes from zero.
"""

from collections.abc import Sequence
from typing import Any

from bench.gas_settlement import Chain, Figures
from contracts import load
from ledger.chain.abi import encode
from ledger.core.values.hashes import keccak256

EPOCH, FREEZE, STAKE = 3_600, 300, 1_000
COMPUTE = 3
NO_LINEAGE = keccak256(encode(["(bytes32,bytes32,bytes32)[]"], [[]]))
USUAL = [(1, 2_000_000), (4, 6_000_000)]
"""What a language model asks for: input, output. Each ask more costs 1,700."""
ALL = [(meter, 10**9 + meter) for meter in range(15)]


class Books(Chain):
    """The contracts around the token; a maker, who deployed them, and a buyer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.maker, self.buyer = self.rpc("eth_accounts")[:2]
        times = ["address", "uint64", "uint32", "uint32"]
        self.registry = self.deploy(load("Registry").bytecode, times, [self.token, STAKE, EPOCH, FREEZE])
        self.book = self.deploy(load("BidBook").bytecode, ["address"], [self.registry])
        arguments = [self.token, self.maker, "0x" + "de" * 20, 7 * 86_400]
        self.vault = self.deploy(load("StakeVault").bytecode, ["address", "address", "address", "uint40"], arguments)
        for spender in (self.registry, self.vault):
            for who in (self.maker, self.buyer):
                self.act("AICoin", self.token, "approve", spender, 2**255, sender=who)
        self.act("AICoin", self.token, "transfer", self.buyer, 10**15)

    def bid(self, subject: bytes, asks: list[tuple[int, int]]) -> int:
        return self.act("BidBook", self.book, "placeBid", subject, COMPUTE, 0, asks)

    def of_registry(self, function: str, *arguments: Any, sender: str = "") -> int:
        return self.act("Registry", self.registry, function, *arguments, sender=sender)

    def register(self, name: bytes, parents: Sequence[tuple[bytes, bytes, bytes]], sender: str = "") -> int:
        who, salt = bytes.fromhex((sender or self.maker)[2:]), keccak256(b"salt", name)
        self.of_registry("commit", keccak256(name, bytes(12), who, salt), sender=sender)
        self.wait(1)
        return self.of_registry("register", name, parents, keccak256(b"terms"), salt, sender=sender)


def measure(url: str) -> Figures:
    """Every figure of the snapshot."""
    books = Books(url)
    gas: Figures = {}
    models = [keccak256(b"model", bytes([n])) for n in range(8)]
    terms = keccak256(b"terms")
    parent = (models[0], NO_LINEAGE, terms)
    books.register(models[0], [])
    gas["register_no_parents"] = books.register(models[7], [])
    gas["register"] = books.register(models[1], [parent])
    for model in models[2:5]:
        books.register(model, [])
    parents = [(model, NO_LINEAGE, terms) for model in (models[0], *models[2:5])]
    gas["register_4_parents"] = books.register(models[5], parents)
    books.register(models[6], [], books.buyer)  # makes the buyer a payee
    books.wait(EPOCH)
    gas["change_terms"] = books.of_registry("changeTerms", models[0], NO_LINEAGE, terms, keccak256(b"others"))
    gas["transfer"] = books.of_registry("transfer", models[0], books.buyer)

    gas["bid_first"] = books.bid(models[1], USUAL)
    for _ in range(2):
        books.wait(EPOCH)
        gas["bid"] = books.bid(models[1], USUAL)
    first = int(books.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) + FREEZE
    previous = (0, USUAL, first // EPOCH + 2)
    books.wait(2 * EPOCH)
    gas["lower_bid"] = books.act("BidBook", books.book, "lowerBid", models[1], COMPUTE, 0, USUAL, previous)
    books.wait(EPOCH)
    gas["bid_15_asks"] = books.bid(models[1], ALL)

    books.wait(86_400)
    agreement = keccak256(b"agreement")
    anybody, until = "0x" + "00" * 20, books.now() + EPOCH
    lineage = keccak256(encode(["(bytes32,bytes32,bytes32)[]"], [[parent]]))
    content = keccak256(lineage, terms)[:24]
    gas["offer"] = books.of_registry("offerModel", models[1], anybody, 10**6, until, agreement)
    offer = (books.maker, anybody, 10**6, until, content, agreement)
    gas["buy"] = books.of_registry("buyModel", models[1], offer, sender=books.buyer)
    gas["collect"] = books.of_registry("collect", books.maker)
    name = b"tollway".ljust(32, b"\0")
    salt = keccak256(b"salt")
    books.of_registry("commit", keccak256(name, bytes(12), bytes.fromhex(books.maker[2:]), salt))
    books.wait(1)
    gas["register_organisation"] = books.of_registry("registerOrganisation", name, salt)
    gas["publish_name"] = books.of_registry("publishName", name, "dialog@1.0.0", models[2])
    for _ in range(2):
        gas["stake_more"] = books.act("StakeVault", books.vault, "stake", 5_000_000)
    for _ in range(2):
        gas["unbond"] = books.act("StakeVault", books.vault, "unbond", 1_000)
    return gas
