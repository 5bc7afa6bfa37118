"""The supervisor: runs the components a folder wants, restarts what crashes, stops all of them on a signal.

`python -m roles.local.supervisor FOLDER` is one process per folder, by a file lock. The folder's files say what should
run. When the supervisor itself is killed, the kernel signals its children, and the next supervisor waits for their end.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from roles.local.folder import TOOLS, Component, NetworkFolder, alive, record
from roles.wallet import home

PAUSE_SECONDS = 0.1
CALM_SECONDS = 20.0
"""A child that ran this long starts again without delay."""
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Child:
    component: Component
    process: subprocess.Popen[bytes]
    started: float
    log_offset: int
    well: bool = False


class Supervisor:
    """Compares what is wanted with what runs, again and again."""

    def __init__(self, folder: NetworkFolder) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self.failures: dict[str, int] = {}
        self.not_before: dict[str, float] = {}
        self.stopping = False

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)
        self._end_orphans()
        while not self.stopping:
            self.step()
            time.sleep(PAUSE_SECONDS)
        for name in reversed(list(self.children)):  # the last started first
            self._stop(name)

    def step(self) -> None:
        """Stop what is not wanted, note who is well, start what is missing."""
        wanted = self.folder.wanted()
        for name, child in list(self.children.items()):
            if child.process.poll() is not None:
                self._ended(name, child)
            elif wanted.get(name) != child.component:
                self._stop(name)
            elif not child.well and is_healthy(child.component.health, self.folder.log(name), child.log_offset):
                child.well = True
                (self.folder.path / "failures" / name).unlink(missing_ok=True)
                (self.folder.path / "well" / name).touch()
        for name, component in wanted.items():
            due = name not in self.children and time.monotonic() >= self.not_before.get(name, 0)
            if due and all(other in self.children and self.children[other].well for other in component.after):
                self._start(component)

    def _start(self, component: Component) -> None:
        log = self.folder.log(component.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        (self.folder.path / "well").mkdir(exist_ok=True)
        path = f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PATH": path, **component.environment}
        with log.open("ab") as file:
            offset = file.tell()
            process = subprocess.Popen(
                component.command, env=environment, preexec_fn=_end_with_parent, process_group=0,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        record(self.folder.path / "running" / component.name, process.pid)
        self.children[component.name] = Child(component, process, time.monotonic(), offset)

    def _ended(self, name: str, child: Child) -> None:
        """A child ended by itself: start it again, after a growing delay while it keeps failing early."""
        calm = time.monotonic() - child.started > CALM_SECONDS
        self.failures[name] = 1 if calm else self.failures.get(name, 0) + 1
        self.not_before[name] = time.monotonic() + min(0.2 * 2 ** self.failures[name], 10)
        if not child.well:
            known = self.folder.path / "failures" / name
            home.write_private(known, str(1 + (int(known.read_text()) if known.exists() else 0)))
        print(f"ended name={name} code={child.process.returncode} failures={self.failures[name]}", flush=True)
        self._forget(name)

    def _stop(self, name: str) -> None:
        child = self.children[name]
        with contextlib.suppress(ProcessLookupError):
            child.process.terminate()
        try:
            child.process.wait(child.component.stop_seconds)
        except subprocess.TimeoutExpired:
            print(f"killed name={name} after_seconds={child.component.stop_seconds}", flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait(10)
        self._forget(name)

    def _forget(self, name: str) -> None:
        del self.children[name]
        (self.folder.path / "running" / name).unlink(missing_ok=True)
        (self.folder.path / "well" / name).unlink(missing_ok=True)

    def _end_orphans(self) -> None:
        """Wait until the children of a killed supervisor have ended; after 20 s, kill them."""
        for path in (*(self.folder.path / "well").glob("*"), *(self.folder.path / "failures").glob("*")):
            path.unlink()
        for path in (self.folder.path / "running").glob("*"):
            deadline = time.monotonic() + 20
            while (pid := alive(path)) and time.monotonic() < deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                time.sleep(0.2)
            if pid := alive(path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            path.unlink()

    def _stop_soon(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True


def _end_with_parent() -> None:
    """In the child: ask the kernel for a SIGTERM when the supervisor ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def is_healthy(check: str, log: Path, offset: int) -> bool:
    """Whether `http://...` answers 200, `tcp:PORT` accepts, `file:PATH` exists, or `log:TEXT` is in the log since."""
    kind, _, what = check.partition(":")
    if kind in ("http", "https"):
        return _answers(check)
    if kind == "tcp":
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(what)), timeout=1):
            return True
        return False
    if kind == "file":
        return Path(what).exists()
    if kind == "log":
        with log.open("rb") as file:
            file.seek(offset)
            return what.encode() in file.read()
    raise ValueError(f"unknown health check {check!r}")


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def main(folder: Path) -> None:
    """Supervise a folder, unless another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        record(folder / "supervisor", os.getpid())
        try:
            Supervisor(NetworkFolder(folder)).run()
        finally:
            (folder / "supervisor").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
