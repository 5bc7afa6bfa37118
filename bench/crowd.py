"""Many nodes as real processes, forked from one that has everything imported, joining and leaving on demand."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from roles.node.server import NodeOptions, serve

MODEL = Path(__file__).parents[1] / "deploy" / "demo" / "models" / "emotion"
NAME = "@acme/feel"


def prepare() -> None:
    """Lets children be forked from a process that has this page imported already."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["bench.crowd"])


def node(port: int) -> None:
    """A node process."""
    serve(NodeOptions([(MODEL, NAME)], port=port))


@dataclass
class Crowd:
    """The nodes, some of them online."""

    ports: list[int]
    random: random.Random = field(default_factory=lambda: random.Random(11))
    online: dict[int, multiprocessing.process.BaseProcess] = field(default_factory=dict)

    def join(self, port: int) -> None:
        """A node starts."""
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=node, args=(port,), daemon=True)
        process.start()
        self.online[port] = process

    def leave(self, port: int) -> None:
        """A node goes: politely, or in the middle of whatever it does."""
        process = self.online.pop(port)
        assert process.pid is not None
        os.kill(process.pid, self.random.choice((signal.SIGKILL, signal.SIGTERM)))

    def reach(self, count: int) -> None:
        """So many online, and every one of them listening."""
        while len(self.online) > count:
            self.leave(self.random.choice(sorted(self.online)))
        for port in self.random.sample(
            [port for port in self.ports if port not in self.online], count - len(self.online)
        ):
            self.join(port)
        for port in self.online:
            wait_for(port)

    def turn_over(self) -> bool:
        """One of the others joins; when it listens, one leaves. False when there are no others."""
        absent = [port for port in self.ports if port not in self.online]
        if not absent:
            return False
        leaving = self.random.choice(sorted(self.online))
        joining = self.random.choice(absent)
        self.join(joining)
        wait_for(joining)
        self.leave(leaving)
        return True


def wait_for(port: int) -> None:
    """Until a node answers there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError(f"no node listens on {port}")
