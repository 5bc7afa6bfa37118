"""Recursive length prefixes: how a transaction is written. One direction only: nothing is read from strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Item: TypeAlias = "int | bytes | Sequence[Item]"

SHORT = 55


def encode(item: Item) -> bytes:
    """Bytes of a number without leading zeros, of bytes, or of a list of such."""
    if isinstance(item, int):
        return encode(item.to_bytes((item.bit_length() + 7) // 8, "big"))
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefixed(0x80, item)
    return _prefixed(0xC0, b"".join(encode(one) for one in item))


def _prefixed(base: int, body: bytes) -> bytes:
    if len(body) <= SHORT:
        return bytes([base + len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([base + SHORT + len(length)]) + length + body
