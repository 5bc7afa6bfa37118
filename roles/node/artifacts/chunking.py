"""Content-defined chunking: boundaries depend on the bytes, so an insertion moves only the boundaries next to it.

A chunk ends where the top 16 bits of a rolling gear hash over the last 32 bytes are zero: 64 KiB on average, at most
256 KiB, and at least 16 KiB except at the end. The hashes of all positions are computed at once, as sums of shifted
copies with a doubling window.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_BYTES, MAX_BYTES = 16 << 10, 256 << 10
WINDOW = 32
BLOCK = 4 << 20
_GEAR = np.frombuffer(hashlib.shake_256(b"tollway/gear/1").digest(4 * 256), dtype=">u4").astype(np.uint32)


class Chunk(NamedTuple):
    """A run of bytes: its SHA-256 in hex, offset and size in bytes."""

    digest: str
    offset: int
    size: int


def chunks(path: Path) -> list[Chunk]:
    """The chunks of a file, in order. An empty file has none."""
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    found, start = [], 0
    for end in cuts(data):
        found.append(Chunk(hashlib.sha256(data[start:end].data).hexdigest(), start, end - start))
        start = end
    return found


def cuts(data: NDArray[np.uint8]) -> Iterator[int]:
    """The end offsets of all chunks; the last is the end of the data."""
    start = 0
    for candidate in _candidates(data):
        while candidate - start > MAX_BYTES:
            start += MAX_BYTES
            yield start
        if candidate - start >= MIN_BYTES:
            start = candidate
            yield start
    while len(data) - start > MAX_BYTES:
        start += MAX_BYTES
        yield start
    if start < len(data):
        yield len(data)


def _candidates(data: NDArray[np.uint8]) -> Iterator[int]:
    """Positions after which a chunk may end."""
    for begin in range(0, len(data), BLOCK):
        lead = min(begin, WINDOW - 1)
        hashed = _GEAR[data[begin - lead : begin + BLOCK]]
        width = 1
        while width < WINDOW:
            hashed[width:] += hashed[:-width] << np.uint32(width)
            width *= 2
        places = np.flatnonzero(hashed[lead:] >> np.uint32(16) == 0)
        yield from (begin + int(place) + 1 for place in places if begin + place + 1 >= WINDOW)
