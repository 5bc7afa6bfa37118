"""Tunnel frames: what goes in comes out, and nothing else is a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.values.errors import Rejected
from ledger.core.values.tunnel_frames import MAX_PAYLOAD, Frame, Kind, credit, decode, encode


@given(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=1000))
def test_a_frame_survives_the_wire(kind: Kind, stream: int, payload: bytes) -> None:
    assert decode(encode(kind, stream, payload)) == Frame(kind, stream, payload)


@given(st.binary(max_size=64))
def test_any_message_is_a_frame_or_refused(message: bytes) -> None:
    try:
        assert encode(*decode(message)) == message
    except Rejected:
        assert len(message) < 5 or message[0] > max(Kind)


def test_a_payload_over_the_limit_is_refused_on_both_sides() -> None:
    with pytest.raises(Rejected, match="at most 65536"):
        encode(Kind.body, 1, bytes(MAX_PAYLOAD + 1))
    with pytest.raises(Rejected, match="not a tunnel frame"):
        decode(encode(Kind.body, 1) + bytes(MAX_PAYLOAD + 1))


def test_credit_is_a_whole_number_of_bytes() -> None:
    assert decode(credit(7, 262_144)) == Frame(Kind.credit, 7, b"\x00\x04\x00\x00")
