"""A node as its own process, on a free port, told to stop by signal like any other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import world as world

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "deploy" / "demo" / "models"


class RunningNode:
    """A child process serving models, and its address."""

    def __init__(self, *arguments: str, folder: Path = ROOT) -> None:
        command = [sys.executable, "-m", "roles.node", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://[^ ]+:\d+", line)
        assert found, f"the node said {line!r}"
        self.url = found[0]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def serving(*names: str, extra: tuple[str, ...] = ()) -> RunningNode:
    """A node with these demo models."""
    return RunningNode(*(part for name in names for part in ("--model", str(MODELS / name))), *extra)


@pytest.fixture(scope="session")
def node() -> Iterator[RunningNode]:
    """One node with all demo models, shared by the tests that do not kill it."""
    running = serving("emotion-base", "emotion", "kb", "dialog")
    yield running
    assert running.stop() == 0
