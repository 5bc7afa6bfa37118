"""`tollway up` leaves a network to play with, which nothing that happens to a machine makes forget."""

import os
import signal
import time

import pytest

from roles.local.folder import NetworkFolder, alive
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_network_survives_kill_9_and_down_and_up_without_losing_anything(settled: Person) -> None:
    person, said = settled, settled.asks("up")
    place = NetworkFolder.of(person.home)
    called = person.asks("consumer", "call", "@delta/dialog", "Can I send the lamp back?", "--wallet", "alice")
    assert called["answer"]
    before = person.asks("consumer", "balance", "--wallet", "alice")
    assert int(before["spent"]) > 0

    supervisor = alive(place.path / "supervisor")
    assert supervisor is not None
    for pid in (supervisor, *place.running().values()):
        os.kill(pid, signal.SIGKILL)
    again = person.asks("up")
    assert again["gateway"] == said["gateway"], "a network keeps its ports"
    assert person.asks("consumer", "balance", "--wallet", "alice")["spent"] == before["spent"]

    assert person.asks("down")["stopped"]
    assert place.running() == {}
    assert person.types("consumer", "models").returncode == 4
    person.asks("up")
    after = person.asks("consumer", "call", "@wanda/customer-service", "Where is my parcel?", "--wallet", "alice")
    assert after["answer"]
    until_verified(person)


def until_verified(person: Person) -> None:
    """Until the calls are in a batch that stands on chain as its file says."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = person.asks("batch", "verify")
        if rows and all(row["ok"] and row["on_chain"] != "none" for row in rows):
            return
        time.sleep(2)
    raise AssertionError("no batch came on chain")
