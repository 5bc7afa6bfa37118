"""JSON-RPC errors as ours. The only place where a revert's bytes become the ABI's name and values."""

from typing import Any

from ledger.chain.abi import decode, interface
from ledger.core.values.errors import Rejected, TollwayError, Unavailable

CONTRACTS = (
    "Settlement",
    "Consumers",
    "Keys",
    "Questions",
    "Referee",
    "PriceJudge",
    "LaneVault",
    "StakeVault",
    "BidBook",
    "Registry",
    "AICoin",
)
BUILT_IN = {
    bytes.fromhex("08c379a0"): ("Error", "reason", "string"),
    bytes.fromhex("4e487b71"): ("Panic", "code", "uint256"),
}
"""Solidity's own errors by selector: name, argument, type."""
METHOD_NOT_FOUND = -32601
FINAL = (
    "nonce too low",
    "insufficient funds",
    "already known",
    "already imported",
    "underpriced",
    "intrinsic gas",
    "exceeds",
    "invalid opcode",
)
"""Words of answers that stay the same when the request is repeated."""


class Reverted(Rejected):
    """A contract refused. `name` is the error's ABI name, `arguments` its values by name."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        said = {key: "0x" + value.hex() if isinstance(value, bytes) else str(value) for key, value in arguments.items()}
        spelled = ", ".join(f"{key}={value}" for key, value in said.items())
        super().__init__(f"the contract refused: {name}({spelled})", error=name, **said)
        self.name = name
        self.arguments = arguments


def reason_of(error: BaseException) -> str:
    """Why an endpoint gave no answer, in the system's words: libraries wrap them in their own, several times."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        inner = next((one for one in cause.args if isinstance(one, BaseException)), None)
        cause = getattr(cause, "reason", None) or inner or cause.__cause__ or cause.__context__
        if not isinstance(cause, BaseException):
            break
    return "it does not answer JSON" if isinstance(error, ValueError) else "it does not answer"


def of_revert(data: bytes) -> Reverted:
    selector, rest = data[:4], data[4:]
    try:
        if selector in BUILT_IN:
            name, argument, kind = BUILT_IN[selector]
            return Reverted(name, {argument: decode([kind], rest)[0]})
        for contract in CONTRACTS:
            entry = interface(contract).errors.get(selector)
            if entry is not None:
                return Reverted(entry.name, dict(zip(entry.names, decode(entry.types, rest), strict=True)))
    except Rejected:
        pass
    return Reverted("Unknown", {"data": data})


def of_response(error: dict[str, Any]) -> TollwayError:
    """The error of a JSON-RPC answer: Reverted for a contract's, Rejected when repeating the request cannot help,
    Unavailable for the rest."""
    data = _data(error.get("data"))
    message = str(error.get("message", error))
    if data is not None:
        return of_revert(data)
    if "revert" in message:
        return Reverted("Unknown", {"data": b""})
    if error.get("code") == METHOD_NOT_FOUND or any(words in message.lower() for words in FINAL):
        return Rejected(f"the RPC endpoint refuses: {message}", reason=message)
    return Unavailable(f"the RPC endpoint answers: {message}", reason=message)


def _data(value: Any) -> bytes | None:
    if isinstance(value, dict):  # Ganache nests it
        value = value.get("result") or value.get("data")
    if isinstance(value, str) and value.startswith("0x") and len(value) >= 10:
        return bytes.fromhex(value[2:])
    return None
