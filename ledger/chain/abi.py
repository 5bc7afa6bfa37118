"""Our contracts' ABIs as encoders and decoders: names and core values in, bytes out, and back. No network here.

eth_abi is imported when something is first encoded or decoded: most commands never ask the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from contracts import load
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256


@dataclass(frozen=True, slots=True)
class Entry:
    """A function, event or error: its signature's hash and its argument types, tuples spelled out."""

    name: str
    hash: bytes
    types: tuple[str, ...]
    names: tuple[str, ...]
    indexed: tuple[bool, ...]
    outputs: tuple[str, ...]

    @property
    def selector(self) -> bytes:
        """The first four bytes."""
        return self.hash[:4]


class Interface:
    """The functions, events and errors of one contract."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        self.functions: dict[str, list[Entry]] = {}
        self.events: dict[bytes, Entry] = {}
        self.errors: dict[bytes, Entry] = {}
        for item in items:
            if item["type"] not in ("function", "event", "error"):
                continue
            entry = _entry(item)
            if item["type"] == "function":
                self.functions.setdefault(entry.name, []).append(entry)
            elif item["type"] == "event":
                self.events[entry.hash] = entry
            else:
                self.errors[entry.selector] = entry

    def function(self, name: str, arguments: int) -> Entry:
        """The function of this name with that many arguments."""
        return next(entry for entry in self.functions[name] if len(entry.types) == arguments)

    def call_data(self, name: str, *arguments: Any) -> bytes:
        """Calldata of a function call. Addresses are 20 bytes, structs tuples."""
        entry = self.function(name, len(arguments))
        return entry.selector + encode(entry.types, arguments)

    def result(self, name: str, arguments: int, data: bytes) -> Any:
        """A function's result: one value, or a tuple. Addresses come as text, structs as tuples."""
        values = decode(self.function(name, arguments).outputs, data)
        return values[0] if len(values) == 1 else values

    def topic(self, event: str) -> bytes:
        """First topic of an event."""
        return next(entry.hash for entry in self.events.values() if entry.name == event)

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Event name and arguments by name, or None for an event of another contract."""
        entry = self.events.get(topics[0]) if topics else None
        if entry is None:
            return None
        plain = [kind for kind, indexed in zip(entry.types, entry.indexed, strict=True) if not indexed]
        values, at = iter(decode(plain, data)), iter(topics[1:])
        arguments = {
            name: decode([kind], next(at))[0] if indexed else next(values)
            for name, kind, indexed in zip(entry.names, entry.types, entry.indexed, strict=True)
        }
        return entry.name, arguments


@lru_cache
def interface(name: str) -> Interface:
    return Interface(load(name).abi)


def encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """ABI-encoded values. Rejected when one does not fit its type; a `bytes32` of any other length does not fit."""
    from eth_abi.exceptions import EncodingError

    try:
        packed: bytes = _encoder().encode(types, values)
        return packed
    except (EncodingError, OverflowError, TypeError, ValueError) as error:
        raise Rejected(f"a value does not fit the contract: {error}") from error


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values from ABI-encoded bytes; addresses as 0x text. Rejected when the bytes are not of these types."""
    from eth_abi.abi import decode as read
    from eth_abi.exceptions import DecodingError

    try:
        return read(types, data)
    except (DecodingError, OverflowError, ValueError) as error:
        raise Rejected("the chain's answer does not fit this contract: is this the right address?") from error


@lru_cache
def _encoder() -> Any:
    """eth_abi's encoder, except that eth_abi would pad a short `bytes32` with zeros."""
    from eth_abi.codec import ABIEncoder
    from eth_abi.decoding import BytesDecoder
    from eth_abi.encoding import BytesEncoder
    from eth_abi.registry import BaseEquals, registry

    class Exact(BytesEncoder):
        def validate_value(self, value: Any) -> None:
            super().validate_value(value)  # type: ignore[no-untyped-call]
            size = (self.value_bit_size or 0) // 8
            if len(value) != size:
                self.invalidate_value(value, msg=f"it must have {size} bytes")

    exact: Any = registry.copy()  # type: ignore[no-untyped-call]
    sized: Any = BaseEquals("bytes", with_sub=True)  # type: ignore[no-untyped-call]
    exact.unregister("bytes<M>")
    exact.register(sized, Exact, BytesDecoder, label="bytes<M>")
    return ABIEncoder(exact)


def _entry(item: dict[str, Any]) -> Entry:
    types = tuple(_type(argument) for argument in item["inputs"])
    return Entry(
        item["name"],
        keccak256(f"{item['name']}({','.join(types)})".encode()),
        types,
        tuple(argument["name"] for argument in item["inputs"]),
        tuple(bool(argument.get("indexed")) for argument in item["inputs"]),
        tuple(_type(argument) for argument in item.get("outputs", ())),
    )


def _type(argument: dict[str, Any]) -> str:
    kind: str = argument["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type(part) for part in argument["components"]) + ")" + kind.removeprefix("tuple")
