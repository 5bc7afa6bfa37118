"""Contracts of others, which the worker calls for strangers that pay by x402. Alone, because `permits` and `channels`
both ask them.
"""

from ledger.chain.reads import Chain
from ledger.chain.sender import Wire
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex


def selector(signature: str) -> bytes:
    """The four bytes that name a function in a call."""
    return keccak256(signature.encode())[:4]


def view(chain: Chain, contract: Address, data: bytes, at: str = "latest") -> bytes:
    """What a contract answers to a call that changes nothing, in a block."""
    answer: str = chain.rpc("eth_call", {"to": to_hex(contract), "data": to_hex(data)}, at)
    return bytes.fromhex(answer[2:])


def has_code(chain: Chain, payer: Address) -> bool:
    """Whether the payer itself would be asked whether it signed, which a payer could answer at any cost."""
    return bool(chain.code(to_hex(payer)))


def gas(wire: Wire, sender: Address, call: Call, most: int, what: str) -> int:
    """Gas to offer for a call. Rejected when it would fail, or asks for more than `most`, which is more than `what`
    it does needs.
    """
    asked = wire.gas(sender, *call, most=most)
    if asked > most:
        raise Rejected(f"it asks for too much gas: {asked}, where {what} may use {most}")
    return asked
