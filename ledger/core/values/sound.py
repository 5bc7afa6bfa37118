"""Recordings: what kind of file one is, by its first bytes, and how long it can be.

A name or a type that somebody wrote beside a file is never asked. A WAV file's length is its bytes over the rate at
which whoever hears it plays them, where all readers agree on that: a head that some read otherwise makes no length. The
other kinds are packed: a millisecond is taken to have at least one byte, which is 8 kbit/s. That bounds what is paid,
and is no length: silence packs better.
"""

import math
import re
import struct
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ledger.core.values.atoms import ceil_div

BYTES_A_MS: Final = 1
"""Of packed sound, at least, as far as it is paid: 8 kbit/s."""
USUAL_BYTES_A_MS: Final = 16
"""Of packed sound whose length nobody says: 128 kbit/s."""
_CHUNKS = 64
"""Chunks of a WAV file that are passed on the way to its sound."""
_BITS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}
"""The bits of a sample, by the formats of WAV files whose samples are of one size: PCM, float, A-law, mu-law."""
_EXTENSIBLE, _SUBFORMAT = 0xFFFE, bytes.fromhex("000000001000800000aa00389b71")
"""The format that says one of those at more length, and how it does."""
_RATES, _CHANNELS = range(1_000, 192_001), range(1, 9)
_BURST, _BURST_WITHIN = b"\x72\xf8\x1f\x4e", 1 << 16
"""How packed sound begins that is written as if it were samples (S/PDIF): some readers unpack it."""
MOST_SECONDS: Final = 10**9
"""Of a claim: three decades. What is more is no number of seconds."""
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?")


class Kind(NamedTuple):
    """A kind of file: its usual ending, and its media type."""

    ending: str
    media_type: str

    @property
    def file_name(self) -> str:
        """What it is called where it is sent on: servers tell the kind by the ending."""
        return f"recording.{self.ending}"


_KINDS = (
    (re.compile(rb"RIFF....WAVE", re.DOTALL), Kind("wav", "audio/wav")),
    (re.compile(rb"fLaC"), Kind("flac", "audio/flac")),
    (re.compile(rb"OggS"), Kind("ogg", "audio/ogg")),
    (re.compile(rb"....ftyp", re.DOTALL), Kind("m4a", "audio/mp4")),
    (re.compile(rb"\x1aE\xdf\xa3"), Kind("webm", "audio/webm")),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), Kind("aac", "audio/aac")),
    (re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"), Kind("mp3", "audio/mpeg")),
)
ENDINGS: Final = tuple(sorted(kind.ending for _, kind in _KINDS))


class Length(NamedTuple):
    """The most ms that a recording can have. `is_exact`: it has as many."""

    ms: int
    is_exact: bool

    @property
    def usual_ms(self) -> int:
        """Its ms where nobody else says them."""
        return self.ms if self.is_exact else ceil_div(self.ms, USUAL_BYTES_A_MS // BYTES_A_MS)


def kind_of(beginning: bytes) -> Kind | None:
    """The kind of a file that begins so; None if it is no recording that is known here."""
    return next((kind for pattern, kind in _KINDS if pattern.match(beginning)), None)


def length(file: bytes, size: int | None = None) -> Length:
    """How long a recording is: all of its file, or its beginning, of a file of so many bytes."""
    size = len(file) if size is None else size
    return _of_wav(file, size) or Length(ceil_div(size, BYTES_A_MS), is_exact=False)


def _of_wav(file: bytes, size: int) -> Length | None:
    """The length of a WAV file: of all bytes behind the head of its sound, whatever that head says of their number.
    None if it is none, or its samples are packed.
    """
    if kind_of(file) != _KINDS[0][1]:
        return None
    at, second = 12, None
    for _ in range(_CHUNKS):
        name, declared = file[at : at + 4], int.from_bytes(file[at + 4 : at + 8], "little")
        if len(name) < 4 or at + 8 > len(file):
            return None
        if name == b"data":
            if not second or _BURST in file[at + 8 : at + 8 + _BURST_WITHIN]:
                return None
            return Length(ceil_div((size - at - 8) * 1000, second), is_exact=True)
        if name == b"fmt ":
            if second is not None:  # some read the first, others the last
                return None
            second = _bytes_a_second(file[at + 8 : at + 8 + min(declared, 40)])
        at += 8 + declared + declared % 2
    return None


def _bytes_a_second(described: bytes) -> int:
    """The bytes of a second of sound that is so described; 0 where they are not all alike."""
    if len(described) < 16:
        return 0
    tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", described)
    if tag == _EXTENSIBLE:
        if len(described) < 40 or int.from_bytes(described[18:20], "little") != bits or described[26:40] != _SUBFORMAT:
            return 0
        tag = int.from_bytes(described[24:26], "little")
    is_known = channels in _CHANNELS and rate in _RATES and bits in _BITS.get(tag, ())
    return rate * frame if is_known and frame == channels * bits // 8 else 0


def ms_of(seconds: Any) -> int | None:
    """Seconds as a server says them, a number or a text, in ms, rounded up; None if they are none."""
    if not isinstance(seconds, int | float | str) or isinstance(seconds, bool):
        return None
    said = seconds if isinstance(seconds, str) else f"{seconds:.6f}" if 0 <= seconds < MOST_SECONDS else ""
    return math.ceil(Decimal(said) * 1000) if _SECONDS.fullmatch(said) else None
