"""A chain's JSON-RPC endpoint on web3: blocks, views, fees, transactions; without a deployment of ours.

web3 and eth_account are imported when they are first needed: most commands never ask the chain. Network trouble is
Unavailable, what a contract refuses is `errors.Reverted`.
"""

from copy import copy
from functools import cached_property
from typing import Any, Self, cast

from ledger.chain import errors
from ledger.chain.abi import interface
from ledger.chain.sender import Nowhere, Outbox, Sender
from ledger.core.settlement.events import Block
from ledger.core.settlement.transactions import Call, Mined
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, digest, to_hex
from ledger.core.values.typed_data import Signer

GAS_MARGIN_PERCENT = 20
At = int | str
"""A block's number, or "latest"."""
MAX_GAS = 16_777_216
"""EIP-7825: no transaction may ask for more."""


class Endpoint:
    """One RPC URL, and the key to sign with, if any. With a key it is the `sender.Wire` of the worker."""

    def __init__(self, url: str, key: Signer | None = None, timeout_seconds: float = 10) -> None:
        self.url, self.key = url, key
        self._timeout_seconds = timeout_seconds

    def with_key(self, key: Signer) -> Self:
        """The same endpoint for another key."""
        other = copy(self)
        other.key = key
        return other

    @property
    def sender(self) -> Address:
        assert self.key is not None, "made with a key"
        return self.key.address

    # ---- requests

    @cached_property
    def _provider(self) -> Any:
        from web3 import HTTPProvider

        # No retries: the worker's next sweep and a person's next command are the retries.
        return HTTPProvider(
            self.url, request_kwargs={"timeout": self._timeout_seconds}, exception_retry_configuration=None
        )

    def rpc(self, method: str, *parameters: Any) -> Any:
        provider = self._provider
        try:
            answer = cast(dict[str, Any], provider.make_request(method, list(parameters)))
        except (OSError, ValueError) as error:  # requests' exceptions are OSErrors; ValueError: not JSON
            raise Unavailable(f"no chain answers at {self.url}: {errors.reason_of(error)}", rpc=self.url) from error
        if not isinstance(answer, dict):
            raise Unavailable(f"the answer of {self.url} is not JSON-RPC", rpc=self.url)
        if answer.get("error"):
            raise errors.of_response(answer["error"])
        if "result" not in answer:
            raise Unavailable(f"the answer of {self.url} is not JSON-RPC", rpc=self.url)
        return answer["result"]

    @cached_property
    def chain_id(self) -> int:
        return int(self.rpc("eth_chainId"), 16)

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, or the tip; None if there is none."""
        answer = self.rpc("eth_getBlockByNumber", "latest" if number is None else hex(number), False)
        return answer and Block(int(answer["number"], 16), digest(answer["hash"]), int(answer["timestamp"], 16))

    def tip(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def ether(self, party: Address) -> int:
        """ETH of a party, in wei."""
        return int(self.rpc("eth_getBalance", to_hex(party), "latest"), 16)

    def code(self, contract: str) -> bytes:
        """The runtime code at an address; empty when there is none."""
        return bytes.fromhex(self.rpc("eth_getCode", contract, "latest")[2:])

    def read(self, name: str, to: str, function: str, *arguments: object, block: At = "latest") -> Any:
        """A view function of contract `name` at `to`, as the ABI decodes it."""
        data = interface(name).call_data(function, *arguments)
        at = hex(block) if isinstance(block, int) else block
        result = self.rpc("eth_call", {"to": to, "data": to_hex(data)}, at)
        return interface(name).result(function, len(arguments), bytes.fromhex(result[2:]))

    # ---- transactions

    def nonces(self, sender: Address, at: int | str | None = None) -> int:
        """The number of the sender's transactions in blocks up to `at`, or up to the tip; "pending" counts waiting
        ones too."""
        place = hex(at) if isinstance(at, int) else at or "latest"
        return int(self.rpc("eth_getTransactionCount", to_hex(sender), place), 16)

    def fee(self) -> int:
        """The most to offer for a unit of gas, in wei: the base fee may double before the transaction is mined."""
        base = int(self.rpc("eth_getBlockByNumber", "latest", False).get("baseFeePerGas", "0x0"), 16)
        return 2 * base + int(self.rpc("eth_maxPriorityFeePerGas"), 16)

    def gas(self, sender: Address, target: Address, data: bytes, value: int = 0, *, most: int | None = None) -> int:
        """Gas to offer: the estimate and a margin. Raises Reverted when the call would fail; that or Rejected when it
        needs more than the `most`, at which the endpoint stops.
        """
        what = {"from": to_hex(sender), "to": to_hex(target), "data": to_hex(data), "value": hex(value)}
        what |= {"gas": hex(most)} if most is not None else {}
        used = int(self.rpc("eth_estimateGas", what), 16)
        return min(MAX_GAS, used * (100 + GAS_MARGIN_PERCENT) // 100)

    def sign(self, call: Call, nonce: int, gas: int, fee: int, value: int = 0) -> tuple[bytes, Digest]:
        """The call as a signed transaction and its hash. Sends nothing. `value` and `fee` are in wei. The tip is an
        eighth of the fee, so that a replacement that raises the fee raises both, as the pool demands."""
        assert self.key is not None, "made with a key"
        target, data = call
        amounts = {"value": value, "gas": gas, "maxFeePerGas": fee, "maxPriorityFeePerGas": fee // 8}
        return sign_transaction(
            self.key, {"chainId": self.chain_id, "nonce": nonce, "to": target, "data": data, **amounts}
        )

    def send_raw(self, raw: bytes) -> Digest:
        """Broadcast signed bytes. Sending the same bytes twice is harmless: "already known" is not an error."""
        try:
            return digest(str(self.rpc("eth_sendRawTransaction", to_hex(raw))))
        except Rejected as error:
            if "already known" in error.message or "already imported" in error.message:
                return keccak256(raw)
            raise

    def mined(self, transaction: Digest) -> Mined | None:
        """The place of a transaction, or None while it is in no block."""
        receipt = self.rpc("eth_getTransactionReceipt", to_hex(transaction))
        if receipt is None:
            return None
        ok, used = receipt["status"] == "0x1", int(receipt["gasUsed"], 16)
        return Mined(transaction, int(receipt["blockNumber"], 16), ok, used)

    def find_sent(self, sender: Address, nonce: int) -> Digest:
        """The transaction in a block that used a nonce, found by bisection over the sender's nonces block by block.

        Raises Unavailable when no block has it, or when the endpoint does not know so old a state.
        """
        tip = self.block()
        low, high = -1, tip.number if tip is not None else -1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.nonces(sender, middle) > nonce else (middle, high)
        block = self.rpc("eth_getBlockByNumber", hex(max(high, 0)), True) or {"transactions": []}
        for sent in block["transactions"]:
            if address(sent["from"]) == sender and int(sent["nonce"], 16) == nonce:
                return digest(sent["hash"])
        raise Unavailable(f"no block shows which transaction used nonce {nonce} of {to_hex(sender)}")

    def transact(self, key: Signer, call: Call, value: int = 0, outbox: Outbox | None = None) -> Mined:
        """Sign, store in the outbox, send and wait; see `Sender.transact`. Without an outbox a crash may lose track."""
        return Sender(self.with_key(key), outbox or Nowhere()).transact(call, value)


def sign_transaction(key: Signer, fields: dict[str, Any]) -> tuple[bytes, Digest]:
    """An EIP-1559 transaction as signed bytes, and its hash. `fields` as JSON-RPC names them."""
    from eth_account.typed_transactions.typed_transaction import TypedTransaction

    unsigned = {"type": 2, "accessList": [], **fields}
    signature = key.sign(bytes(TypedTransaction.from_dict(unsigned).hash()))
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    raw = bytes(TypedTransaction.from_dict({**unsigned, "v": signature[64] - 27, "r": r, "s": s}).encode())
    return raw, keccak256(raw)
