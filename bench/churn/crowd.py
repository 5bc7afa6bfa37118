"""Many nodes as real processes, forked from one that has everything imported, joining and leaving on demand."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

import httpx

from bench.triage.task import MODELS
from roles.node.server import NodeOptions, serve

SERVED = ("large", "general-a", "general-b", "general-c", "debater-a", "debater-b", "debater-c")
"""The models of the triage task that each node serves."""


def prepare() -> None:
    """Lets children be forked from a process that has this file imported already. They import the program's main file
    too, unless that is a `__main__.py`.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["bench.churn.crowd"])


def node(port: int) -> None:
    """A node process."""
    serve(NodeOptions([(MODELS / name, name) for name in SERVED], port=port))


@dataclass
class Crowd:
    """The nodes by port: some are online, and some of the others are processes that were stopped in what they did."""

    ports: list[int]
    random: random.Random = field(default_factory=lambda: random.Random(11))
    online: dict[int, BaseProcess] = field(default_factory=dict)
    stopped: dict[int, BaseProcess] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=lambda: {"SIGKILL": 0, "SIGSTOP": 0})

    def join(self, port: int) -> None:
        """A node starts, or goes on where it was stopped."""
        if port in self.stopped:
            self.online[port] = process = self.stopped.pop(port)
            _send(process, signal.SIGCONT)
            return
        process = multiprocessing.get_context("forkserver").Process(target=node, args=(port,), daemon=True)
        process.start()
        self.online[port] = process

    def leave(self, port: int) -> None:
        """A node goes without a word, in the middle of whatever it does: killed, or stopped with its sockets open."""
        process = self.online.pop(port)
        way = self.random.choice((signal.SIGKILL, signal.SIGSTOP))
        if way == signal.SIGSTOP:
            self.stopped[port] = process
        _send(process, way)
        self.left[way.name] += 1

    def reach(self, count: int) -> None:
        """So many online, and every one of them listening."""
        while len(self.online) > count:
            self.leave(self.random.choice(sorted(self.online)))
        for port in self.random.sample(self._absent(), count - len(self.online)):
            self.join(port)
        for port, process in self.online.items():
            wait_for(port, process)

    def turn_over(self) -> bool:
        """One of the others joins; when it listens, one leaves. False when there are no others."""
        absent = self._absent()
        if not absent:
            return False
        leaving = self.random.choice(sorted(self.online))
        joining = self.random.choice(absent)
        self.join(joining)
        wait_for(joining, self.online[joining])
        self.leave(leaving)
        return True

    def end(self) -> None:
        """No process is left."""
        for process in (*self.online.values(), *self.stopped.values()):
            process.kill()
            process.join()

    def _absent(self) -> list[int]:
        return [port for port in self.ports if port not in self.online]


def _send(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def wait_for(port: int, process: BaseProcess) -> None:
    """Until the node answers there."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no node listens on {port}: the process's exit code is {process.exitcode}")
