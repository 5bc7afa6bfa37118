"""Permit2, and x402's contract for `upto`, on the chain of a deployment: what they say of a payer, and how it is
settled. They are the contracts of others, at the same address on every chain that has them.
"""

from ledger.chain import others
from ledger.chain.abi import decode, encode
from ledger.chain.others import selector
from ledger.chain.reads import Chain
from ledger.chain.sender import Wire
from ledger.core.accounts.permits import PERMIT2, PROXY, SETTLE_GAS, Means, Permit
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, to_hex

_SETTLE = ("((address,uint256),uint256,uint256)", "uint256", "address", "(address,address,uint256)", "bytes")
_SETTLE_SELECTOR = selector(f"settle({','.join(_SETTLE)})")
_NONCES_SELECTOR = selector("nonceBitmap(address,uint256)")
_PERMIT2_SELECTOR = selector("PERMIT2()")


def missing(chain: Chain) -> str | None:
    """Why no permit can be settled on this chain; None where one can. A call of an address without code succeeds and
    moves nothing.
    """
    if not chain.code(to_hex(PERMIT2)):
        return f"there is no Permit2 at {to_hex(PERMIT2)} on chain {chain.chain_id}"
    if not chain.code(to_hex(PROXY)):
        return f"there is no contract for `upto` at {to_hex(PROXY)} on chain {chain.chain_id}"
    try:
        used = decode(["address"], others.view(chain, PROXY, _PERMIT2_SELECTOR))[0].lower()
    except Rejected as rejected:
        return f"what is at {to_hex(PROXY)} is no contract for `upto`: {rejected.message}"
    return None if used == to_hex(PERMIT2) else f"the contract for `upto` at {to_hex(PROXY)} uses another Permit2"


def means(chain: Chain, permit: Permit) -> Means:
    """What the chain says of a permit's payer. Its tokens first: who has none costs one question."""
    balance = chain.balance(permit.payer)
    if balance < permit.amount:
        return Means(balance)
    if others.has_code(chain, permit.payer):
        return Means(balance, has_code=True)
    nonce = int.from_bytes(permit.nonce, "big")
    words = encode(["address", "uint256"], [permit.payer, nonce >> 8])
    used = int.from_bytes(others.view(chain, PERMIT2, _NONCES_SELECTOR + words), "big") >> (nonce & 0xFF) & 1
    allowance = int(chain.view("AICoin", "allowance", permit.payer, PERMIT2))
    block = chain.block()
    if block is None:
        raise Unavailable("the chain has no block")
    return Means(balance, allowance, bool(used), block.timestamp)


def gas(wire: Wire, sender: Address, call: Call) -> int:
    """Gas to offer for a settlement. Rejected when it would fail, or asks for more than any needs."""
    return others.gas(wire, sender, call, SETTLE_GAS, "a settlement")


def settle(permit: Permit, amount: int, signature: bytes) -> Call:
    """The transaction of its facilitator that takes an amount of what was permitted."""
    values = (
        ((permit.token, permit.amount), int.from_bytes(permit.nonce, "big"), permit.deadline),
        amount,
        permit.payer,
        (permit.payee, permit.facilitator, permit.valid_after),
        signature,
    )
    return PROXY, _SETTLE_SELECTOR + encode(_SETTLE, values)
