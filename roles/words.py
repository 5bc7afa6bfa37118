"""The contract ABI: values to words of 32 bytes and back, for every type our contracts use.

`eth_abi` says the same (a property test holds the two together); importing it takes longer than a command runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ledger.core.errors import Rejected

WORD = 32
_ARRAY = re.compile(r"(.*)\[(\d*)\]")
_NUMBER = re.compile(r"(u?)int(\d+)")


@dataclass(frozen=True, slots=True)
class Kind:
    """A type. A tuple has parts; an array has one part, and a length unless it says so itself."""

    name: str
    parts: tuple[Kind, ...] = ()
    length: int | None = None

    @property
    def dynamic(self) -> bool:
        """Whether its place in the head holds an offset instead of itself."""
        return self.name in ("bytes", "string", "list") or any(part.dynamic for part in self.parts)

    @property
    def head(self) -> int:
        """Bytes it takes in the head of what contains it."""
        if self.dynamic:
            return WORD
        if self.name == "array":
            return (self.length or 0) * self.parts[0].head
        return sum(part.head for part in self.parts) if self.name == "tuple" else WORD


def encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Values as calldata. Addresses are 20 bytes, tuples and arrays any sequence. Rejected when one does not fit."""
    return _pack([kind(text) for text in types], values)


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values from an answer; addresses as 0x text. Rejected when it ends too early or is none of these types."""
    return tuple(_unpack([kind(text) for text in types], data, 0))


@lru_cache(maxsize=256)
def kind(text: str) -> Kind:
    """A type from its name, such as `(uint64,bytes32)[]`."""
    if array := _ARRAY.fullmatch(text):
        inner, length = kind(array[1]), array[2]
        return Kind("array", (inner,), int(length)) if length else Kind("list", (inner,))
    if text.startswith("("):
        return Kind("tuple", tuple(kind(part) for part in _split(text[1:-1])))
    return Kind(text)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts if text else []


def _pack(kinds: Sequence[Kind], values: Sequence[Any]) -> bytes:
    if len(kinds) != len(values):
        raise Rejected(f"{len(kinds)} values are wanted, not {len(values)}")
    heads, tails, place = [], [], sum(one.head for one in kinds)
    for one, value in zip(kinds, values, strict=True):
        packed = _packed(one, value)
        heads.append(place.to_bytes(WORD, "big") if one.dynamic else packed)
        if one.dynamic:
            tails.append(packed)
            place += len(packed)
    return b"".join([*heads, *tails])


def _packed(one: Kind, value: Any) -> bytes:
    if one.name == "tuple":
        return _pack(one.parts, value)
    if one.name == "array":
        return _pack(one.parts * (one.length or 0), value)
    if one.name == "list":
        return len(value).to_bytes(WORD, "big") + _pack(one.parts * len(value), value)
    if one.name in ("bytes", "string"):
        body = value.encode() if isinstance(value, str) else bytes(value)
        return len(body).to_bytes(WORD, "big") + body + bytes(-len(body) % WORD)
    if one.name == "address":
        body = bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)
        if len(body) != 20:
            raise Rejected(f"an address has 20 bytes, not {len(body)}")
        return body.rjust(WORD, b"\0")
    if one.name.startswith("bytes"):
        if len(value) != int(one.name[5:]):
            raise Rejected(f"{one.name} has no room for {len(value)} bytes")
        return bytes(value).ljust(WORD, b"\0")
    if one.name == "bool":
        return int(bool(value)).to_bytes(WORD, "big")
    number = int(value)
    low, high = _range(one.name)
    if not low <= number <= high:
        raise Rejected(f"{number} is no {one.name}")
    return number.to_bytes(WORD, "big", signed=low < 0)


def _unpack(kinds: Sequence[Kind], data: bytes, start: int) -> list[Any]:
    values, place = [], start
    for one in kinds:
        values.append(_value(one, data, start + _number(data, place) if one.dynamic else place))
        place += one.head
    return values


def _value(one: Kind, data: bytes, place: int) -> Any:
    if one.name == "tuple":
        return tuple(_unpack(one.parts, data, place))
    if one.name == "array":
        return tuple(_unpack(one.parts * (one.length or 0), data, place))
    if one.name == "list":
        count = _number(data, place)
        if count > len(data) // WORD:
            raise Rejected("the answer names more values than it has bytes")
        return tuple(_unpack(one.parts * count, data, place + WORD))
    if one.name in ("bytes", "string"):
        body = _bytes(data, place + WORD, _number(data, place))
        return body.decode(errors="replace") if one.name == "string" else body
    word = _bytes(data, place, WORD)
    if one.name == "address":
        return "0x" + word[12:].hex()
    if one.name.startswith("bytes"):
        return word[: int(one.name[5:])]
    if one.name == "bool":
        return any(word)
    return int.from_bytes(word, "big", signed=_range(one.name)[0] < 0)


def _range(name: str) -> tuple[int, int]:
    found = _NUMBER.fullmatch(name)
    assert found, f"{name} is a type our contracts do not use"
    bits = int(found[2])
    return (0, (1 << bits) - 1) if found[1] else (-(1 << bits - 1), (1 << bits - 1) - 1)


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(_bytes(data, place, WORD), "big")


def _bytes(data: bytes, place: int, count: int) -> bytes:
    found = data[place : place + count]
    if len(found) != count:
        raise Rejected("the chain's answer ends too early: is this the right contract?")
    return found
