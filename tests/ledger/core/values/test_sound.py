"""Recordings: their kind by their first bytes, and no more milliseconds than their bytes allow."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import pytest

from ledger.core.values import sound
from ledger.core.values.sound import Length


def a_wav(ms: int, rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    """A recording of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(channels)
        written.setsampwidth(width)
        written.setframerate(rate)
        written.writeframes(bytes(rate * ms // 1000 * width * channels))
    return file.getvalue()


@pytest.mark.parametrize(
    ("beginning", "ending"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "wav"),
        (b"fLaC\0\0\0\x22", "flac"),
        (b"OggS\0\x02", "ogg"),
        (b"\0\0\0\x20ftypM4A ", "m4a"),
        (b"\x1aE\xdf\xa3\x01", "webm"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xf3\x40", "mp3"),
        (b"\xff\xf1\x50", "aac"),
        (b"RIFF\x24\0\0\0AVI ", None),
        (b"MZ\x90", None),
        (b"<html>", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
    ],
)
def test_the_kind_of_a_file_is_in_its_first_bytes(beginning: bytes, ending: str | None) -> None:
    kind = sound.kind_of(beginning)
    assert (kind.ending if kind is not None else None) == ending


@pytest.mark.parametrize(("rate", "width", "channels"), [(16_000, 2, 1), (44_100, 3, 2), (8_000, 1, 1)])
def test_a_wav_file_is_as_long_as_its_bytes(rate: int, width: int, channels: int) -> None:
    file = a_wav(2_000, rate, width, channels)
    assert sound.length(file) == Length(2_000, is_exact=True)
    assert sound.length(file[:200], len(file)) == Length(2_000, is_exact=True), "also by its beginning"
    assert sound.length(file).usual_ms == 2_000


def test_what_a_wav_file_says_of_its_size_changes_nothing() -> None:
    file = a_wav(1_000)
    at = file.index(b"data") + 4
    for lie in (0, 1, 2**32 - 1):
        assert sound.length(file[:at] + lie.to_bytes(4, "little") + file[at + 4 :]).ms == 1_000


def test_a_wav_file_may_have_other_chunks_before_its_sound_but_not_without_end() -> None:
    file = a_wav(500)
    other = b"LIST\x03\0\0\0abc\0"
    assert sound.length(file[:12] + other * 60 + file[12:]).ms == 500
    assert not sound.length(file[:12] + other * 70 + file[12:]).is_exact


def test_packed_sound_has_a_byte_in_each_millisecond_at_least() -> None:
    file = b"OggS" + bytes(15_996)
    assert sound.length(file) == Length(16_000, is_exact=False)
    assert sound.length(file).usual_ms == 1_000, "128 kbit/s, where nobody says more"


@pytest.mark.parametrize(
    ("at", "value"),
    [(20, 17), (22, 0), (22, 65), (24, 0), (24, 2**24), (34, 7)],
    ids=["packed", "no channel", "65 channels", "no rate", "no such rate", "no such sample"],
)
def test_a_wav_file_that_says_nonsense_is_bounded_like_packed_sound(at: int, value: int) -> None:
    file = bytearray(a_wav(1_000))
    file[at : at + 2] = (value & 0xFFFF).to_bytes(2, "little")
    if at == 24:
        file[at : at + 4] = value.to_bytes(4, "little")
    assert sound.length(bytes(file)) == Length(len(file), is_exact=False)


FMT = struct.Struct("<4sIHHIIHH")
GUID = bytes.fromhex("000000001000800000aa00389b71")


def described(tag: int, channels: int, rate: int, bits: int, more: bytes = b"") -> bytes:
    """How a WAV file describes its sound."""
    frame = channels * bits // 8
    return FMT.pack(b"fmt ", 16 + len(more), tag, channels, rate, rate * frame, frame, bits) + more


def extensible(bits: int, tag: int, guid: bytes = GUID) -> bytes:
    return struct.pack("<HHIH", 22, bits, 1, tag) + guid


@pytest.mark.parametrize(
    "head",
    [
        described(1, 1, 16_000, 16) + described(1, 8, 192_000, 32),
        described(0xFFFE, 1, 16_000, 16, extensible(16, 0x55)),
        described(0xFFFE, 1, 16_000, 16, extensible(8, 1)),
        described(0xFFFE, 1, 16_000, 16, extensible(16, 1, bytes(14))),
        described(0xFFFE, 1, 16_000, 16),
        b"fmt \x0e\0\0\0" + struct.pack("<HHIIH", 1, 1, 8_000, 8_000, 1) + b" \0zz" + bytes(4),
        FMT.pack(b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 32),
    ],
    ids=["two heads", "MP3 inside", "other bits", "no subformat", "cut", "14 bytes", "a frame of another size"],
)
def test_a_head_that_some_read_otherwise_makes_no_length(head: bytes) -> None:
    file = b"RIFF\0\0\0\0WAVE" + head + b"data\0\0\0\0" + bytes(32_000)
    assert not sound.length(file).is_exact


def test_what_a_head_says_at_more_length_is_as_long_as_its_bytes() -> None:
    head = described(0xFFFE, 2, 48_000, 24, extensible(24, 1))
    file = b"RIFF\0\0\0\0WAVE" + head + b"data\0\0\0\0" + bytes(288_000)
    assert sound.length(file) == Length(1_000, is_exact=True)


def test_packed_sound_that_is_written_as_samples_makes_no_length() -> None:
    file = a_wav(1_000)
    at = file.index(b"data") + 8 + 4_096
    assert not sound.length(file[:at] + b"\x72\xf8\x1f\x4e" + file[at + 4 :]).is_exact


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        (9, 9_000),
        (8.47, 8_470),
        ("8.470000267028809", 8_471),
        (0, 0),
        (-1, None),
        (1e300, None),
        (10**30, None),
        ("nan", None),
        ("1e9", None),
        ("9" * 400, None),
        (None, None),
        (True, None),
        ([1], None),
    ],
)
def test_seconds_are_read_as_servers_write_them(said: Any, ms: int | None) -> None:
    assert sound.ms_of(said) == ms
