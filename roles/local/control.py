"""Control of a local network: start its supervisor, wait until components are well, stop or kill them."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ledger.core.values.errors import Rejected, Unavailable
from roles.cli import output
from roles.local.folder import ROOT, NetworkFolder, alive, record
from roles.wallet import home

PAUSE_SECONDS = 0.05
MOST_READ = 2**20
"""Bytes of a log that are read at once."""
HOPELESS = 6
"""So often in a row a component ends before it is well until nobody waits for it any more: about 20 seconds."""


def start(folder: NetworkFolder) -> None:
    """Start the folder's supervisor in the background, unless it runs."""
    if alive(folder.path / "supervisor"):
        return
    for mark in (folder.path / "well").glob("*"):
        mark.unlink()  # left by a killed supervisor
    log = folder.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        subprocess.Popen(
            [sys.executable, "-m", "roles.local.supervisor", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def wait(folder: NetworkFolder, names: Iterable[str]) -> None:
    """Wait until all of these are well. Unavailable, with the end of the log, when one is not in time."""
    wanted, names = folder.wanted(), list(names)
    for name in names:
        (folder.path / "failures" / name).unlink(missing_ok=True)
    for name in names:
        well = folder.path / "well" / name

        def hopeless() -> str | None:
            return next((one for one in names if failures(folder, one) >= HOPELESS), None)

        def is_decided(well: Path = well) -> bool:
            return well.exists() or hopeless() is not None

        with output.working(f"starting {name}"):
            output.wait_until(is_decided, wanted[name].start_seconds, PAUSE_SECONDS)
        if not well.exists():
            failed = hopeless() or name  # one may wait for another, and that one has the reason
            said = f"{failed} did not start. Its log ends:\n{tail(folder, failed)}"
            raise Unavailable(said, log=str(folder.log(failed)))


def failures(folder: NetworkFolder, name: str) -> int:
    """How often in a row a component ended by itself before it was well, since somebody began to wait for it."""
    try:
        return int((folder.path / "failures" / name).read_text())
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def alone(folder: NetworkFolder) -> Iterator[None]:
    """Let one `tollway up` at a time start a network. Rejected, with who does, when there is another, or when it
    is another clone's.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    owner = folder.note("clone")
    if owner and owner != str(ROOT):
        state = "runs" if alive(folder.path / "supervisor") else "is stopped"
        said = f"the network of {folder.path.parent} is of another clone, {owner}, and {state}"
        raise Rejected(f"{said}: go on there, or have one of your own: TOLLWAY_HOME=FOLDER tollway up", clone=owner)
    with (folder.path / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = _holder(folder)
            look = "tollway local status shows how far it is, tollway local logs COMPONENT why it waits"
            raise Rejected(f"another `tollway up` starts this network now, {who}: {look}") from error
        record(folder.path / "up", os.getpid())
        home.write_private(folder.path / "clone", str(ROOT))
        yield


def _holder(folder: NetworkFolder) -> str:
    """The process that holds the lock, and since when, as far as its file says."""
    path = folder.path / "up"
    with contextlib.suppress(OSError):
        since = time.strftime("%H:%M:%S", time.localtime(path.stat().st_mtime))
        return f"process {alive(path) or 'unknown'}, since {since}"
    return "which has just begun"


@contextlib.contextmanager
def stopped_on_failure(folder: NetworkFolder) -> Iterator[None]:
    """Stop a network again when the block that starts it fails, unless it ran before."""
    ran = alive(folder.path / "supervisor")
    try:
        yield
    except BaseException:
        if not ran:
            stop(folder)
        raise


def stop(folder: NetworkFolder, seconds: float = 90) -> bool:
    """Stop everything. Data stays. Returns False when nothing ran."""
    path = folder.path / "supervisor"
    pid = alive(path)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not output.wait_until(lambda: not alive(path), seconds, PAUSE_SECONDS):
        raise Unavailable(f"the supervisor, process {pid}, does not stop", log=str(folder.log("supervisor")))
    return True


def stop_one(folder: NetworkFolder, name: str, seconds: float = 90) -> None:
    """Stop a component until it is wanted again. Unavailable when it does not end."""
    folder.refuse(name)
    if not output.wait_until(lambda: name not in folder.running(), seconds, PAUSE_SECONDS):
        raise Unavailable(f"{name} does not stop", log=str(folder.log(name)))
    (folder.path / "well" / name).unlink(missing_ok=True)  # now: `wait` would take it for the next start's


def kill(folder: NetworkFolder, name: str) -> int:
    """End one component with SIGKILL, and leave it off. Returns its pid."""
    pid = folder.running()[name]
    os.kill(pid, signal.SIGKILL)
    folder.refuse(name)
    return pid


def written(folder: NetworkFolder, name: str) -> Iterator[str]:
    """What is written to a component's log from now on, whole lines at a time; nothing in between. A log that begins
    anew is read from its beginning.
    """
    path, rest = folder.log(name), b""
    at = path.stat().st_size if path.exists() else 0
    yield ""
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < at:
            at, rest = 0, b""
        if size == at:
            yield ""
            continue
        with path.open("rb") as log:
            log.seek(at)
            found = log.read(MOST_READ)
        at += len(found)
        whole, newline, rest = (rest + found).rpartition(b"\n")
        yield (whole + newline).decode(errors="replace")


def tail(folder: NetworkFolder, name: str, lines: int = 15) -> str:
    try:
        return "\n".join(folder.log(name).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
