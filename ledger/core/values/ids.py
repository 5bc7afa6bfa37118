"""Ids: derived from their cause, never random. Bytes inside, hex and CIDs at the edges."""

import base64
import binascii
import re
from typing import NewType, TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest as Digest
from ledger.core.values.hashes import keccak256

Address = NewType("Address", bytes)
Lane: TypeAlias = Address
"""A lane's id: the address where its tokens lie."""

ZERO_ADDRESS = Address(bytes(20))
ZERO_DIGEST = Digest(bytes(32))
PRIVATE_LANE = Lane(bytes(19) + b"\1")
"""The lane of a private grid, unless its settings name another."""

_CID_PREFIX = bytes((0x01, 0x55, 0x12, 0x20))
_DID = re.compile(r"did:pkh:eip155:(0|[1-9][0-9]*):(0x[0-9a-fA-F]{40})")


def address(text: str | bytes) -> Address:
    """An address from `0x` and 40 hex digits (any case), or from 20 bytes. Rejected otherwise."""
    return Address(_bytes(text, 20, "address"))


def digest(text: str | bytes) -> Digest:
    """A digest from `0x` and 64 hex digits, or from 32 bytes. Rejected otherwise."""
    return Digest(_bytes(text, 32, "digest"))


def create2(maker: Address, salt: bytes, code: bytes) -> Address:
    """The address of a contract that `maker` makes with this salt and creation code (EIP-1014)."""
    return Address(keccak256(b"\xff", maker, salt, keccak256(code))[12:])


def to_hex(value: bytes) -> str:
    """`0x` and lowercase hex."""
    return "0x" + value.hex()


def cid(sha256: bytes) -> str:
    """CIDv1 (raw, sha2-256) of a document with this SHA-256: `bafkrei...`."""
    return "b" + base64.b32encode(_CID_PREFIX + _bytes(sha256, 32, "digest")).decode().lower().rstrip("=")


def cid_digest(text: str) -> Digest:
    """The digest in a CID, the inverse of `cid`. Any other encoding is Rejected."""
    body = text[1:].upper()
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 36 or raw[:4] != _CID_PREFIX or cid(raw[4:]) != text:
        raise Rejected(f"{text!r} is not a CIDv1 of a raw sha2-256", cid=text)
    return Digest(raw[4:])


def did(chain_id: int, party: Address) -> str:
    """`did:pkh:eip155:<chain>:<address>`. The private grid is chain 0."""
    return f"did:pkh:eip155:{chain_id}:{to_hex(party)}"


def parse_did(text: str) -> tuple[int, Address]:
    """Chain id and address of a DID."""
    match = _DID.fullmatch(text)
    if match is None:
        raise Rejected(f"{text!r} is not a did:pkh:eip155:<chain>:<address>", did=text)
    return int(match[1]), address(match[2])


def lane_subject(lane: Lane) -> Digest:
    """The subject of bids for a lane, as its operator's gateway or compute."""
    return Digest(lane.rjust(32, b"\0"))


NO_KEY = ""
"""The key id of calls that a voucher or a payment opens."""


def call_id(lane: Lane, account: Address, key_id: str, path: str, idempotency_key: bytes) -> Digest:
    """The id of a call: keccak256(lane | account | key id | path | idempotency key, or a nonce).

    Key id and path have their length before them (1 and 4 bytes, big endian), so that no two calls are one text.
    """
    key, where = key_id.encode(), path.encode()
    sizes = len(key).to_bytes(1, "big"), len(where).to_bytes(4, "big")
    return keccak256(lane, account, sizes[0], key, sizes[1], where, idempotency_key)


def _bytes(text: str | bytes, size: int, what: str) -> bytes:
    if isinstance(text, str):
        try:
            raw = bytes.fromhex(text[2:]) if text.startswith("0x") and len(text) == 2 + 2 * size else b""
        except ValueError:
            raw = b""
    else:
        raw = bytes(text)
    if len(raw) != size:
        raise Rejected(f"{text!r} is not a {what} of {size} bytes", **{what: str(text)})
    return raw
