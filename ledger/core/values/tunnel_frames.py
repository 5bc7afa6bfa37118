"""Frames of the tunnel: HTTP calls over one WebSocket that a node opens to a gateway, so the node needs no open port.

A frame is `kind u8 | stream u32, big endian | payload`. Stream 0 is the connection itself; the gateway numbers calls.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Address, Lane
from ledger.core.values.typed_data import word

HEAD: Final = struct.Struct(">BI")
MAX_PAYLOAD: Final = 65_536
CREDIT: Final = 262_144
"""Bytes of body that each side may send on a new stream before it receives more credit."""

TUNNEL_TYPEHASH: Final = keccak256(b"Tunnel(address lane,address party,bytes32 nonce)")


class Kind(IntEnum):
    """The kind of a frame."""

    challenge = 0
    hello = 1
    welcome = 2
    request = 3
    response = 4
    body = 5
    end = 6
    cancel = 7
    credit = 8
    ping = 9
    """Asks for a pong with the same payload. The time until it comes is the round trip to the node."""
    pong = 10


class Frame(NamedTuple):
    """One message of the WebSocket."""

    kind: Kind
    stream: int
    payload: bytes


def encode(kind: Kind, stream: int, payload: bytes = b"") -> bytes:
    """Encode a frame. Rejected when the payload is too long."""
    if len(payload) > MAX_PAYLOAD:
        raise Rejected(f"a frame carries at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    return HEAD.pack(kind, stream) + payload


def decode(message: bytes) -> Frame:
    """Decode a message. Rejected when it is not a frame."""
    if not HEAD.size <= len(message) <= HEAD.size + MAX_PAYLOAD or message[0] not in Kind._value2member_map_:
        raise Rejected(f"not a tunnel frame: {len(message)} bytes beginning {message[:8].hex()}")
    kind, stream = HEAD.unpack_from(message)
    return Frame(Kind(kind), stream, message[HEAD.size :])


def credit(stream: int, size: int) -> bytes:
    """Encode a frame that allows `size` more bytes of body."""
    return encode(Kind.credit, stream, size.to_bytes(4, "big"))


def tunnel_hash(lane: Lane, party: Address, nonce: bytes) -> Digest:
    """Struct hash that a node signs to open its tunnel: the gateway's nonce, for one lane and party."""
    return keccak256(TUNNEL_TYPEHASH, word(lane), word(party), nonce)
