"""An operator at a running network: what is wrong, what should run and does not, and what brings it back."""

import json
import os
import signal
import subprocess
import sys

import pytest

from roles.cli.output import wait_until
from roles.local.folder import NetworkFolder, alive
from tests import book
from tests.journey.conftest import ROOT, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def states(person: Person) -> dict[str, tuple[str, str]]:
    """Of each component, its state and the remedy, as `local status` shows them."""
    return {row["component"]: (row["state"], row["remedy"]) for row in person.asks("local", "status")}


def alarms(person: Person) -> set[str]:
    """What is wrong, by name. The command's exit code says whether anything is."""
    (line,) = book.typed("docs/runbook.md", "tollway operator alarms [--json]").with_({"[--json]": "--json"}).lines
    ended = person.types(*line.split()[1:])
    found = {row["alarm"] for row in json.loads(ended.stdout)}
    assert ended.returncode == bool(found)
    return found


def test_what_is_stopped_or_killed_is_shown_with_what_brings_it_back(settled: Person) -> None:
    person, folder = settled, NetworkFolder.of(settled.home)
    assert set(states(person).values()) == {("runs", "")}
    assert {"supervisor", "postgres", "redis", "chain", "worker", "beat", "gateway", "atlas"} <= states(person).keys()
    before = alarms(person)
    assert before <= {"model_without_provider"}, "other journeys leave models that nobody serves"

    person.asks("local", "stop", "gateway")
    assert states(person)["gateway"] == ("stopped", "tollway local start gateway")
    assert "gateway_away" in alarms(person)
    person.asks("local", "start", "gateway")
    assert wait_until(lambda: alarms(person) <= before, 120, 1)

    supervisor = alive(folder.path / "supervisor")
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: not folder.running(), 60, 0.1), "the kernel ends its children"
    assert set(states(person).values()) == {("down", "tollway up")}
    person.asks("up")
    assert set(states(person).values()) == {("runs", "")}


def test_of_two_that_type_up_at_once_the_second_is_told_of_the_first(person: Person) -> None:
    folder = NetworkFolder.of(person.home)
    command = [sys.executable, "-m", "roles.cli.main", "up"]
    first = subprocess.Popen(command, env=person.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert wait_until(lambda: alive(folder.path / "up"), 60, 0.05), "the first has begun"
        second = person.types("up")
        assert second.returncode == 1
        assert f"another `tollway up` starts this network now, process {first.pid}, since " in second.stderr
        assert "tollway local status" in second.stderr
        assert states(person)["gateway"] == ("not made yet", "tollway up")
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)
    if first.returncode == 0:  # it had brought the network up before it was interrupted
        person.asks("down")
    assert folder.running() == {}, "what it had started is stopped"
    (folder.path / "clone").write_text("/another/clone")
    other = person.types("up")
    assert other.returncode == 1
    assert "is of another clone, /another/clone, and is stopped" in other.stderr
    assert "TOLLWAY_HOME=FOLDER tollway up" in other.stderr
