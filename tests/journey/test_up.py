"""`tollway up` leaves a network that keeps its data through kill -9, `down` and `up`."""

import os
import signal
from shlex import split

import pytest

from roles.cli.output import wait_until
from roles.local.folder import NetworkFolder, alive
from tests import book
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_network_survives_kill_9_and_down_and_up_without_losing_anything(settled: Person) -> None:
    up, call, verify, down = (split(line)[1:] for line in book.typed("README.md", "tollway batch verify").lines)
    person, first = settled, settled.asks(*up)
    folder = NetworkFolder.of(person.home)
    called = person.asks("consumer", "call", "@delta/dialog", "Can I send the lamp back?", "--wallet", "alice")
    assert called["answer"]
    before = person.asks("consumer", "balance", "--wallet", "alice")
    assert int(before["spent"]) > 0

    supervisor = alive(folder.path / "supervisor")
    assert supervisor is not None
    for pid in (supervisor, *folder.running().values()):
        os.kill(pid, signal.SIGKILL)
    again = person.asks("up")
    assert again["gateway"] == first["gateway"], "a network keeps its ports"
    assert person.asks("consumer", "balance", "--wallet", "alice")["spent"] == before["spent"]

    assert person.asks(*down)["stopped"]
    assert folder.running() == {}
    assert person.types("consumer", "models").returncode == 4
    person.asks("up")
    streamed = person.types(*call)
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout.strip()

    def are_verified() -> bool:
        rows = person.asks(*verify)
        return bool(rows) and all(row["ok"] and row["on_chain"] != "none" for row in rows)

    assert wait_until(are_verified, 120, 2), "no batch came on chain"
