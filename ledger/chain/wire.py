"""The chain as flows use it (`core.settlement.transactions.Wire`): one signer, one deployment."""

from __future__ import annotations

from eth_account import Account as Keys
from eth_account.signers.local import LocalAccount

from ledger.chain.client import Chain
from ledger.core.settlement.events import Block, Log
from ledger.core.settlement.transactions import Mined
from ledger.core.values.ids import Address, Digest, address


class SigningWire:
    """A node to ask, and a key to sign with. Sends only what it is given signed."""

    def __init__(self, chain: Chain, key: LocalAccount | bytes) -> None:
        self.chain = chain
        self._key: LocalAccount = Keys.from_key(key) if isinstance(key, bytes) else key
        self.sender: Address = address(self._key.address)

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip; None if there is none."""
        return self.chain.block(number)

    def logs(self, first: int, last: int) -> list[Log]:
        """The network's events in blocks first..last, in order."""
        return self.chain.logs(first, last)

    def nonces(self, sender: Address, at: int | None = None) -> int:
        """How many transactions of the sender are in blocks up to `at`, or up to the tip."""
        return self.chain.nonce(sender, "latest" if at is None else at)

    def fee(self) -> int:
        """What a unit of gas should offer now, in wei."""
        return self.chain.fee()

    def gas(self, sender: Address, target: Address, data: bytes) -> int:
        """The gas a transaction needs, with a margin. Raises Rejected, in the contract's words, if it would revert."""
        return self.chain.gas(sender, target, data)

    def sign(self, target: Address, data: bytes, nonce: int, gas: int, fee: int) -> tuple[bytes, Digest]:
        """Signed bytes and their hash. Sends nothing."""
        return self.chain.sign(self._key, (target, data), nonce, gas, fee)

    def send_raw(self, raw: bytes) -> None:
        """Hand signed bytes to the node; handing over what it already knows is no error."""
        self.chain.send_raw(raw)

    def mined(self, transaction: Digest) -> Mined | None:
        """Where a transaction is, if it is in a block of the current chain."""
        return self.chain.mined(transaction)
