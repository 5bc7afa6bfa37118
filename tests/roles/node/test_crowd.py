"""The nodes of `bench.churn` are processes: one that leaves is gone or silent, and is back when it joins."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from bench.churn.crowd import Crowd, prepare
from tests.conftest import free_port

pytestmark = pytest.mark.slow
GONE = {"SIGKILL": httpx.ConnectError, "SIGSTOP": httpx.ReadTimeout}


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    prepare()
    made = Crowd([free_port() for _ in range(3)])
    try:
        yield made
    finally:
        made.end()


def status(port: int, seconds: float) -> int:
    """What a node answers."""
    return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=seconds).status_code


@pytest.mark.timeout(300)
def test_a_node_that_leaves_is_gone_or_silent_and_back_when_it_joins(crowd: Crowd) -> None:
    crowd.reach(3)
    while not all(crowd.left.values()):
        before, port = dict(crowd.left), crowd.ports[0]
        process = crowd.online[port]
        crowd.leave(port)
        (way,) = (name for name, count in crowd.left.items() if count > before[name])
        if way == "SIGKILL":
            process.join(30)
        with pytest.raises(GONE[way]):
            status(port, 0.5)
        crowd.reach(3)
        assert status(port, 30) == 200
        assert (crowd.online[port] is process) == (way == "SIGSTOP")


def test_as_many_are_online_after_a_turn_as_before(crowd: Crowd) -> None:
    crowd.reach(2)
    before = set(crowd.online)
    assert crowd.turn_over()
    assert len(crowd.online) == 2
    assert len(before - set(crowd.online)) == 1
    assert all(status(port, 30) == 200 for port in crowd.online)
