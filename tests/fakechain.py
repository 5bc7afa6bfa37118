"""A chain in memory, for tests that need it to misbehave: it forks, forgets, refuses and answers ambiguously.

It satisfies `ledger.chain.sender.Wire`. Blocks are mined by `mine`; what a transaction does is up to `contract`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ledger.core.settlement.events import Block, Event, Log
from ledger.core.settlement.transactions import Call, Mined
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest

SENDER = Address(b"\x5e" * 20)
Contract = Callable[[Address, bytes], list[Event] | None]
"""What a call of a target with some data emits; None when it reverts."""


@dataclass(frozen=True)
class Sent:
    """A transaction as signed: its bytes, and what they say."""

    raw: bytes
    hash: Digest
    nonce: int
    fee: int
    target: Address
    data: bytes


@dataclass
class Mining:
    """A block and what is in it."""

    block: Block
    logs: list[Log] = field(default_factory=list)
    mined: dict[Digest, Mined] = field(default_factory=dict)
    nonces: int = 0


class FakeChain:
    """One sender, one contract, any number of forks."""

    def __init__(self, contract: Contract = lambda target, data: []) -> None:
        self.contract = contract
        self.blocks: list[Mining] = []
        self.pool: dict[int, Sent] = {}
        self.salt = 0
        self.base_fee = 100
        self.down = False
        self.sends = 0
        self.mine()

    # ------------------------------------------------------------------ what a test does to it

    def mine(self, *events: Event, seconds: int = 12, transaction: Digest | None = None) -> Block:
        """Mine a block with what the pool holds, and a transaction that emits `events`."""
        number = len(self.blocks)
        before = self.blocks[-1] if self.blocks else None
        timestamp = before.block.timestamp + seconds if before else 1_000
        parent = before.block.hash if before else b""
        block = Block(number, keccak256(parent, number.to_bytes(8, "big"), self.salt.to_bytes(8, "big")), timestamp)
        made = Mining(block, nonces=before.nonces if before else 0)
        while (sent := self.pool.get(made.nonces)) is not None and sent.fee >= self.base_fee:
            del self.pool[made.nonces]
            made.nonces += 1
            emitted = self.contract(sent.target, sent.data)
            made.mined[sent.hash] = Mined(sent.hash, number, emitted is not None)
            self._emit(made, emitted or [], sent.hash)
        if events:
            self._emit(made, events, transaction or keccak256(block.hash, b"transaction"))
        self.blocks.append(made)
        return block

    def fork(self, depth: int, *, keep_pool: bool = True) -> None:
        """Drop the last blocks; their transactions return to the pool unless forgotten. New blocks have new hashes."""
        self.salt += 1
        del self.blocks[-depth:]
        if not keep_pool:
            self.pool.clear()

    def forget(self) -> None:
        """Lose everything that is not mined."""
        self.pool.clear()

    # ------------------------------------------------------------------ Wire

    def block(self, number: int | None = None) -> Block | None:
        """A block, or the tip."""
        self._reach()
        at = len(self.blocks) - 1 if number is None else number
        return self.blocks[at].block if 0 <= at < len(self.blocks) else None

    def logs(self, first: int, last: int) -> list[Log]:
        """Events of a range of blocks."""
        self._reach()
        return [log for made in self.blocks[first : last + 1] for log in made.logs]

    @property
    def sender(self) -> Address:
        """Whose key it has."""
        return SENDER

    def nonces(self, sender: Address, at: int | None = None) -> int:
        """Nonces used by a block."""
        self._reach()
        return self.blocks[-1 if at is None else at].nonces

    def fee(self) -> int:
        """The market's fee."""
        return self.base_fee

    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
        """A constant; the contract's refusal shows when mined."""
        self._reach()
        return 100_000

    def sign(self, call: Call, nonce: int, gas: int, fee: int, value: int = 0) -> tuple[bytes, Digest]:
        """Bytes that say all there is to say."""
        target, data = call
        raw = json.dumps([target.hex(), data.hex(), nonce, fee]).encode()
        return raw, keccak256(raw)

    def send_raw(self, raw: bytes) -> None:
        """Into the pool, by the rules of replacement."""
        self._reach()
        self.sends += 1
        target, data, nonce, fee = json.loads(raw)
        sent = Sent(raw, keccak256(raw), nonce, fee, Address(bytes.fromhex(target)), bytes.fromhex(data))
        if nonce < self.blocks[-1].nonces:
            raise Rejected("nonce too low")
        known = self.pool.get(nonce)
        if known is not None and known.raw != raw and fee * 8 < known.fee * 9:
            raise Rejected("replacement transaction underpriced")
        self.pool[nonce] = sent

    def mined(self, transaction: Digest) -> Mined | None:
        """Where a transaction is."""
        self._reach()
        return next((made.mined[transaction] for made in self.blocks if transaction in made.mined), None)

    def _emit(self, made: Mining, emitted: Iterable[Event], transaction: Digest) -> None:
        for event in emitted:
            made.logs.append(Log(event, made.block.number, transaction, len(made.logs), made.block.timestamp))

    def _reach(self) -> None:
        if self.down:
            raise Unavailable("the RPC endpoint does not answer")
