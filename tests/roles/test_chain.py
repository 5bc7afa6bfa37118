"""The local chain's state: torn by a kill in the middle of a write, it goes on from the last whole one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.chain.rpc import Endpoint
from roles.local import chain, network
from tests.conftest import free_port, stop, wait_until_open

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


def test_a_clock_that_was_moved_does_not_fall_when_the_chain_starts_again(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running(state) as endpoint:
        endpoint.rpc("evm_increaseTime", 7_200)
        before = time_of(endpoint)
    assert before >= time.time() + 7_000
    with running(state) as endpoint:
        assert time_of(endpoint) >= before


@contextmanager
def running(state: Path) -> Iterator[Endpoint]:
    port = free_port()
    where = (network.tool("anvil"), str(state), str(port), str(network.CHAIN_ID), str(int(time.time())))
    process = subprocess.Popen([sys.executable, "-m", "roles.local.chain", *where])
    try:
        wait_until_open(port, process)
        yield Endpoint(f"http://127.0.0.1:{port}")
    finally:
        stop(process)


def time_of(endpoint: Endpoint) -> int:
    endpoint.rpc("evm_mine")
    tip = endpoint.block()
    assert tip is not None
    return tip.timestamp
