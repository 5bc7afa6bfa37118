"""The supervisor: wanted components run, crashed ones restart, all stop on a signal, even after it was killed."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roles.cli.output import wait_until
from roles.local import control
from roles.local import folder as folders
from roles.local.folder import Component, NetworkFolder, alive, birth, free_port

SLEEPER = "import time; print('here', flush=True); time.sleep(1000)"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[NetworkFolder]:
    """A new folder, without processes afterwards."""
    network = NetworkFolder(tmp_path / "local")
    yield network
    control.stop(network)


def a_component(name: str, script: str = SLEEPER, *after: str) -> Component:
    """A Python process that is well once it has printed `here`."""
    return Component(name, (sys.executable, "-c", script), "log:here", after, start_seconds=30)


def until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds."""
    assert wait_until(holds, seconds, 0.02), "it did not come true"


def test_wanted_components_start_in_order_and_stop_on_request(folder: NetworkFolder) -> None:
    folder.want(a_component("first"))
    folder.want(a_component("second", SLEEPER, "first"))
    control.start(folder)
    control.wait(folder, ["first", "second"])
    pids = folder.running()
    assert pids.keys() == {"first", "second"}
    assert control.stop(folder)
    assert folder.running() == {}
    assert all(birth(pid) is None for pid in pids.values())
    assert not control.stop(folder), "there is nothing left to stop"


def test_a_killed_component_comes_back_unless_it_is_refused(folder: NetworkFolder) -> None:
    folder.want(a_component("node"))
    control.start(folder)
    control.wait(folder, ["node"])
    before = folder.running()["node"]
    os.kill(before, signal.SIGKILL)
    until(lambda: folder.running().get("node", before) != before)
    control.wait(folder, ["node"])
    control.kill(folder, "node")
    until(lambda: "node" not in folder.running())
    time.sleep(1)
    assert "node" not in folder.running()


def test_a_killed_supervisor_leaves_no_process_behind_and_the_next_one_continues(folder: NetworkFolder) -> None:
    folder.want(a_component("node"))
    control.start(folder)
    control.wait(folder, ["node"])
    orphan, supervisor = folder.running()["node"], alive(folder.path / "supervisor")
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: birth(orphan) is None)
    control.start(folder)
    assert not list((folder.path / "well").glob("*")), "nothing is well before it runs again"
    control.wait(folder, ["node"])
    assert folder.running()["node"] != orphan


def test_a_component_that_does_not_start_is_given_up_with_its_log_before_its_time(folder: NetworkFolder) -> None:
    broken = a_component("broken", "print('address already in use'); raise SystemExit(1)")
    folder.want(replace(broken, start_seconds=10_000))
    control.start(folder)
    with pytest.raises(Exception, match="address already in use"):
        control.wait(folder, ["broken"])
    assert control.failures(folder, "broken") >= control.HOPELESS
    folder.want(a_component("broken"))
    control.wait(folder, ["broken"])
    assert control.failures(folder, "broken") == 0


def test_what_a_start_that_fails_has_started_is_stopped_and_what_ran_before_is_not(folder: NetworkFolder) -> None:
    folder.want(a_component("node"))

    def start_and_fail() -> None:
        with control.stopped_on_failure(folder):
            control.start(folder)
            control.wait(folder, ["node"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_and_fail()
    assert folder.running() == {}
    control.start(folder)
    control.wait(folder, ["node"])
    with pytest.raises(KeyboardInterrupt):
        start_and_fail()
    assert folder.running().keys() == {"node"}


def test_a_second_supervisor_of_the_same_folder_steps_back(folder: NetworkFolder) -> None:
    folder.want(a_component("node"))
    control.start(folder)
    control.wait(folder, ["node"])
    before = folder.running(), alive(folder.path / "supervisor")
    (folder.path / "supervisor").rename(folder.path / "elsewhere")
    control.start(folder)
    time.sleep(2)
    (folder.path / "elsewhere").rename(folder.path / "supervisor")
    assert (folder.running(), alive(folder.path / "supervisor")) == before


def test_a_port_is_chosen_once(folder: NetworkFolder) -> None:
    assert folder.port("gateway") == folder.port("gateway") != folder.port("redis")


def test_a_secret_is_created_once_and_is_private(folder: NetworkFolder) -> None:
    assert folder.secret("gateway") == folder.secret("gateway")
    assert (folder.path / "secrets" / "gateway").stat().st_mode & 0o777 == 0o600


def test_a_port_is_free_and_outside_the_range_of_outgoing_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders.PORTS.stop <= 32_768, "where the ephemeral ports of Linux begin by default"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        free = free_port()
        other = free_port({free})
        monkeypatch.setattr(folders, "PORTS", (listening.getsockname()[1], other, free))
        assert {free_port({other}) for _ in range(20)} == {free}
