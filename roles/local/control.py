"""Steering a local network from outside: start its supervisor, wait until things are well, stop it all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

from ledger.core.values.errors import Unavailable
from roles.cli import output
from roles.local.folder import ROOT, NetworkFolder, alive


def start(folder: NetworkFolder) -> None:
    """Have a supervisor run for this place, in the background. One that runs already is left alone."""
    if alive(folder.path / "supervisor"):
        return
    for mark in (folder.path / "well").glob("*"):
        mark.unlink()  # of a supervisor that was killed: nothing of it counts as well any more
    log = folder.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        subprocess.Popen(
            [sys.executable, "-m", "roles.local.supervisor", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def wait(folder: NetworkFolder, names: Iterable[str]) -> None:
    """Until all of these are well. Unavailable, with the end of the log, when one is not in time."""
    wanted = folder.wanted()
    for name in names:
        deadline = time.monotonic() + wanted[name].patience_seconds
        with output.working(f"starting {name}"):
            while not (folder.path / "well" / name).exists():
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{name} does not come up. Its log ends:\n{tail(folder, name)}", log=str(folder.log(name))
                    )
                time.sleep(0.05)


def stop(folder: NetworkFolder, seconds: float = 90) -> bool:
    """Stop everything. False when nothing ran. Data stays."""
    path = folder.path / "supervisor"
    pid = alive(path)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while alive(path):
        if time.monotonic() > deadline:
            raise Unavailable(f"the supervisor, process {pid}, does not stop", log=str(folder.log("supervisor")))
        time.sleep(0.05)
    return True


def gone(folder: NetworkFolder, name: str, seconds: float = 90) -> None:
    """Until a component that is no longer wanted has ended. Unavailable when it does not."""
    deadline = time.monotonic() + seconds
    while name in folder.running():
        if time.monotonic() > deadline:
            raise Unavailable(f"{name} does not stop", log=str(folder.log(name)))
        time.sleep(0.05)
    (folder.path / "well" / name).unlink(missing_ok=True)  # at once: who starts it again waits for this file


def kill(folder: NetworkFolder, name: str) -> int:
    """End one component the hard way, and leave it off. Its pid."""
    pid = folder.running()[name]
    os.kill(pid, signal.SIGKILL)
    folder.refuse(name)
    return pid


def tail(folder: NetworkFolder, name: str, lines: int = 15) -> str:
    """The end of a component's log."""
    try:
        return "\n".join(folder.log(name).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
