"""JSON-RPC and the contracts' ABI: encode a call, decode its answer, name its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

import contracts
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, address, to_hex

if TYPE_CHECKING:
    import httpx

Entry = dict[str, Any]


@dataclass(frozen=True)
class Contract:
    """A contract at an address. eth_abi is imported when first used: most commands never call the chain."""

    name: str
    address: Address
    abi: tuple[Entry, ...]

    @classmethod
    def load(cls, name: str, where: str) -> Contract:
        """A compiled contract by name."""
        return cls(name, address(where.lower()), _abi(name))

    def encode(self, function: str, arguments: Sequence[Any]) -> bytes:
        """Calldata. Addresses are 20 bytes, structs tuples."""
        entry = self._function(function, len(arguments))
        types = [_type(row) for row in entry["inputs"]]
        return _selector(entry) + _encode(types, arguments)

    def decode(self, function: str, answer: bytes) -> Any:
        """A view's answer: one value alone, several as a tuple; a struct is a dict by its fields' names."""
        rows = next(entry for entry in self.abi if entry.get("name") == function)["outputs"]
        values = _decode([_type(row) for row in rows], answer)
        named = [_named(row, value) for row, value in zip(rows, values, strict=True)]
        return named[0] if len(named) == 1 else tuple(named)

    def topic(self, event: str) -> str:
        """An event's first topic."""
        entry = next(entry for entry in self.abi if entry["type"] == "event" and entry["name"] == event)
        return to_hex(_signature(entry))

    def error(self, data: bytes) -> str | None:
        """A custom error in words: its name and values. None when it is none of this contract's."""
        entry = self._errors.get(data[:4])
        if entry is None:
            return None
        values = _decode([_type(row) for row in entry["inputs"]], data[4:])
        said = ", ".join(
            f"{row['name']} {to_hex(value) if isinstance(value, bytes) else value}"
            for row, value in zip(entry["inputs"], values, strict=True)
        )
        return f"{entry['name']}({said})" if said else str(entry["name"])

    @cached_property
    def _errors(self) -> dict[bytes, Entry]:
        return {_selector(entry): entry for entry in self.abi if entry["type"] == "error"}

    def _function(self, name: str, arity: int) -> Entry:
        found = [entry for entry in self.abi if entry.get("name") == name and len(entry["inputs"]) == arity]
        assert found, f"{self.name} has no {name} of {arity} arguments"
        return found[0]


class Rpc:
    """A chain's JSON-RPC endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = count(1)

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        return httpx.Client(timeout=30)

    @cached_property
    def chain_id(self) -> int:
        """Which chain."""
        return int(self.ask("eth_chainId", []), 16)

    def call(self, to: Address, data: bytes, contract: Contract | None = None) -> bytes:
        """A view's raw answer."""
        answer = str(self.ask("eth_call", [{"to": to_hex(to), "data": to_hex(data)}, "latest"], contract))
        return bytes.fromhex(answer[2:])

    def ask(self, method: str, parameters: list[Any], contract: Contract | None = None) -> Any:
        """One request. A revert is Rejected in the contract's words; silence is Unavailable."""
        import httpx

        body = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": parameters}
        try:
            said = self._http.post(self.url, json=body).json()
        except (httpx.TransportError, ValueError) as error:
            raise Unavailable(f"no chain answers at {self.url}") from error
        if "error" in said:
            raise _refused(said["error"], contract)
        return said["result"]


def _refused(error: Entry, contract: Contract | None) -> Rejected:
    data = error.get("data")
    raw = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
    words = contract.error(raw) if contract and raw else None
    if words is None and raw[:4] == b"\x08\xc3\x79\xa0":
        words = str(_decode(["string"], raw[4:])[0])
    return Rejected(f"the contract refuses: {words}" if words else f"the chain refuses: {error.get('message')}")


def _encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Values as calldata. Rejected when one does not fit its type."""
    from eth_abi.exceptions import EncodingError

    try:
        packed: bytes = _codec().encode(types, values)
        return packed
    except (EncodingError, OverflowError, TypeError, ValueError) as error:
        raise Rejected(f"this does not fit the contract: {error}") from error


@lru_cache
def _codec() -> Any:
    """eth_abi, but for one thing: it would fill a short `bytes32` with zeros."""
    from eth_abi.codec import ABIEncoder
    from eth_abi.decoding import BytesDecoder
    from eth_abi.encoding import BytesEncoder
    from eth_abi.registry import BaseEquals, registry

    class Exact(BytesEncoder):
        def validate_value(self, value: Any) -> None:
            super().validate_value(value)  # type: ignore[no-untyped-call]
            wanted = (self.value_bit_size or 0) // 8
            if len(value) != wanted:
                self.invalidate_value(value, msg=f"{wanted} bytes are wanted")

    exact: Any = registry.copy()  # type: ignore[no-untyped-call]
    sized: Any = BaseEquals("bytes", with_sub=True)  # type: ignore[no-untyped-call]
    exact.unregister("bytes<M>")
    exact.register(sized, Exact, BytesDecoder, label="bytes<M>")
    return ABIEncoder(exact)


def _decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values from an answer; addresses as 0x text. Rejected when it is none of these types."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        return decode(types, data)
    except (DecodingError, OverflowError, ValueError) as error:
        raise Rejected("the chain's answer is none of this contract's: is this the right address?") from error


@lru_cache
def _abi(name: str) -> tuple[Entry, ...]:
    return tuple(contracts.load(name).abi)


def _selector(entry: Entry) -> bytes:
    return _signature(entry)[:4]


def _signature(entry: Entry) -> bytes:
    return keccak256(f"{entry['name']}({','.join(_type(row) for row in entry['inputs'])})".encode())


def _type(row: Entry) -> str:
    kind = str(row["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type(part) for part in row["components"]) + ")" + kind.removeprefix("tuple")


def _named(row: Entry, value: Any) -> Any:
    if row["type"] != "tuple":
        return value
    return {part["name"]: _named(part, one) for part, one in zip(row["components"], value, strict=True)}
