"""The local chain's state: torn by a kill in the middle of a write, it goes on from the last whole one."""

from pathlib import Path

import pytest

from roles.local import chain

WHOLE = b'{"block": {"number": "0x1"}}'


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_a_torn_state_gives_way_to_the_last_whole_one(tmp_path: Path, length: int) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(WHOLE)
    chain.save_copy(state)
    state.write_bytes(WHOLE.replace(b"0x1", b"0x2")[:length])
    chain.save_copy(state)
    chain.restore(state)
    assert state.read_bytes() == WHOLE


def test_a_whole_state_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(b"{}")
    chain.save_copy(state)
    state.write_bytes(WHOLE)
    chain.restore(state)
    assert state.read_bytes() == WHOLE


def test_a_first_state_that_is_torn_goes(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(WHOLE[:5])
    chain.restore(state)
    assert not state.exists()
