"""The channels' contract of x402's `batch-settlement` on the chain of a deployment: what it says of channels, how a
deposit is taken, and how what was charged is claimed. It is a contract of others, at the same address on every chain
that has it.
"""

from collections.abc import Sequence
from dataclasses import astuple

from ledger.chain import others
from ledger.chain.abi import decode, encode
from ledger.chain.others import selector
from ledger.chain.reads import Chain
from ledger.chain.sender import Wire
from ledger.core.accounts.channels import COLLECTOR, CONTRACT, MOST_GAS, Channel, Deposit, Seen
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, to_hex

_CONFIG = "(address,address,address,address,address,uint40,bytes32)"
_DEPOSIT = (_CONFIG, "uint128", "address", "bytes")
_CLAIM = f"(({_CONFIG},uint128),bytes,uint128)[]"


_DEPOSIT_SELECTOR = selector(f"deposit({','.join(_DEPOSIT)})")
_CLAIM_SELECTOR = selector(f"claim({_CLAIM})")
_SETTLE_SELECTOR = selector("settle(address,address)")
_MULTICALL_SELECTOR = selector("multicall(bytes[])")
_CHANNELS_SELECTOR = selector("channels(bytes32)")
_LEAVING_SELECTOR = selector("pendingWithdrawals(bytes32)")
_COLLECTS_SELECTOR = selector("x402BatchSettlement()")


def missing(chain: Chain) -> str | None:
    """Why no channel can be used on this chain; None where one can. A call of an address without code succeeds and
    moves nothing.
    """
    for contract in (CONTRACT, COLLECTOR):
        if not chain.code(to_hex(contract)):
            return f"there is no contract for `batch-settlement` at {to_hex(contract)} on chain {chain.chain_id}"
    try:
        served = decode(["address"], others.view(chain, COLLECTOR, _COLLECTS_SELECTOR))[0].lower()
    except Rejected as rejected:
        return f"what is at {to_hex(COLLECTOR)} takes no deposits: {rejected.message}"
    return None if served == to_hex(CONTRACT) else f"{to_hex(COLLECTOR)} takes deposits for another contract"


def seen(chain: Chain, channels: Sequence[Digest], confirmations: int) -> list[Seen]:
    """What the chain says of channels, by one question. What a block may still lose does not count as deposited or
    claimed; who asked for the rest is believed at once.
    """
    now = _states(chain, channels, "latest")
    block = chain.block()
    if not confirmations or block is None:
        return now
    settled = _states(chain, channels, hex(max(0, block.number - confirmations)))
    return [
        Seen(min(new.balance, old.balance), min(new.claimed, old.claimed), new.leaving or old.leaving)
        for new, old in zip(now, settled, strict=True)
    ]


def _states(chain: Chain, channels: Sequence[Digest], at: str) -> list[Seen]:
    asked = [asks + one for one in channels for asks in (_CHANNELS_SELECTOR, _LEAVING_SELECTOR)]
    words = decode(["bytes[]"], others.view(chain, CONTRACT, _multicall(asked), at))[0]
    held = [decode(["uint128", "uint128"], one) for one in words[::2]]
    leaving = [decode(["uint128", "uint40"], one)[1] for one in words[1::2]]
    return [Seen(balance, claimed, since) for (balance, claimed), since in zip(held, leaving, strict=True)]


def gas(wire: Wire, sender: Address, call: Call) -> int:
    """Gas to offer for a deposit or a claim. Rejected when it would fail, or asks for more than any needs."""
    return others.gas(wire, sender, call, MOST_GAS, "a transaction about a channel")


def deposit(channel: Channel, offered: Deposit) -> Call:
    """The transaction that takes a deposit."""
    window = (offered.valid_after, offered.valid_before, int.from_bytes(offered.salt, "big"), offered.signature)
    signed = encode(["uint256", "uint256", "uint256", "bytes"], window)
    return CONTRACT, _DEPOSIT_SELECTOR + encode(_DEPOSIT, [astuple(channel), offered.amount, COLLECTOR, signed])


def claim(channel: Channel, voucher: int, signature: bytes, total: int) -> Call:
    """The transaction of its authorizer that claims a total of a channel by its highest voucher, and pays the receiver
    what it has claimed.
    """
    claimed = encode([_CLAIM], [[((astuple(channel), voucher), signature, total)]])
    paid = encode(["address", "address"], [channel.receiver, channel.token])
    return CONTRACT, _multicall([_CLAIM_SELECTOR + claimed, _SETTLE_SELECTOR + paid])


def _multicall(calls: Sequence[bytes]) -> bytes:
    return _MULTICALL_SELECTOR + encode(["bytes[]"], [list(calls)])
