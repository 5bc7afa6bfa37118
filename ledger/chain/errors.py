"""What a node or a contract refused, as our errors: custom-error bytes become the ABI's name and values, once, here."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from ledger.chain.abi import Interface, interface
from ledger.core.values.errors import Rejected, TollwayError, Unavailable

CONTRACTS = ("Settlement", "Referee", "Inboxes", "StakeVault", "BidBook", "Registry", "AICoin")
ERROR_STRING = bytes.fromhex("08c379a0")
PANIC = bytes.fromhex("4e487b71")


class Reverted(Rejected):
    """A contract refused. `name` is the error's ABI name, `arguments` its values by name."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        spelled = ", ".join(f"{key}={_spell(value)}" for key, value in arguments.items())
        super().__init__(
            f"the contract refused: {name}({spelled})", error=name, **{k: _spell(v) for k, v in arguments.items()}
        )
        self.name = name
        self.arguments = arguments


def of_revert(data: bytes) -> Reverted:
    """The revert with this return data."""
    if data[:4] == ERROR_STRING:
        return Reverted("Error", {"reason": decode(["string"], data[4:])[0]})
    if data[:4] == PANIC:
        return Reverted("Panic", {"code": decode(["uint256"], data[4:])[0]})
    for known in map(interface, CONTRACTS):
        found = _decode(known, data)
        if found is not None:
            return found
    return Reverted("Unknown", {"data": data})


def of_response(error: dict[str, Any]) -> TollwayError:
    """The error of a JSON-RPC answer: Reverted for a contract's, Rejected for a transaction the node will never take,
    Unavailable for the rest."""
    data = _data(error.get("data"))
    message = str(error.get("message", error))
    if data is not None:
        return of_revert(data)
    if "revert" in message:
        return Reverted("Unknown", {"data": b""})
    final = ("nonce too low", "insufficient funds", "already known", "underpriced", "intrinsic gas", "exceeds")
    if any(words in message.lower() for words in final):
        return Rejected(f"the node refuses the transaction: {message}", reason=message)
    return Unavailable(f"the node answers: {message}", reason=message)


def _data(value: Any) -> bytes | None:
    if isinstance(value, dict):  # ganache nests it
        value = value.get("result") or value.get("data")
    if isinstance(value, str) and value.startswith("0x") and len(value) >= 10:
        return bytes.fromhex(value[2:])
    return None


def _decode(known: Interface, data: bytes) -> Reverted | None:
    entry = known.errors.get(data[:4])
    if entry is None:
        return None
    try:
        return Reverted(entry.name, dict(zip(entry.names, decode(entry.types, data[4:]), strict=True)))
    except DecodingError:
        return None


def _spell(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
