"""Run a command in a network of its own, like a computer at home behind NAT: it reaches some ports of this machine, and
nobody reaches it.

`python -m roles.local.isolation PORT,PORT -- COMMAND...` needs Linux, and either root or user namespaces. The command's
network has a loopback and nothing else. On that loopback each of the ports is passed on to the same port of this
machine's; nothing is passed on the other way round. The network ends with the command.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ledger.core.values.errors import Unavailable

LOCALHOST = "127.0.0.1"
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PIECE = 65_536


def why_not() -> str | None:
    """Why no network can be made here; None if one can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    tried = subprocess.run([*command((), "true")], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else tried.stderr.strip().rpartition("\n")[2] or "they are not permitted"


def command(ports: Sequence[int], *inner: str) -> tuple[str, ...]:
    """The command that runs `inner` in a network of its own, from which these ports are reached."""
    return (sys.executable, "-m", "roles.local.isolation", ",".join(map(str, ports)), "--", *inner)


class Isolated:
    """A command in a network of its own. A thread is in that network with it; the others stay in this machine's."""

    def __init__(self, ports: Sequence[int], inner: Sequence[str]) -> None:
        self.ports, self.inner = ports, inner
        self.sockets: list[socket.socket] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.error: OSError | None = None
        self.started = threading.Event()
        self.ended = asyncio.Event()

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the network, start the command and wait for its end: in a thread, whose network it becomes."""
        try:
            _unshare(CLONE_NEWNET)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
            self.sockets = [socket.create_server((LOCALHOST, port)) for port in self.ports]
            self.process = subprocess.Popen(self.inner)
        except OSError as error:
            self.error = error
        self.started.set()
        if self.process is not None:
            self.process.wait()
        loop.call_soon_threadsafe(self.ended.set)


async def isolate(ports: Sequence[int], inner: Sequence[str]) -> int:
    """Run a command in a network of its own until it ends; its exit code. Unavailable when that is not permitted."""
    loop, isolated = asyncio.get_running_loop(), Isolated(ports, inner)
    threading.Thread(target=isolated.run, args=(loop,), daemon=True).start()
    isolated.started.wait()
    if isolated.process is None:
        raise Unavailable(f"no network namespace can be made here: {isolated.error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, isolated.process.terminate)
    for port, inside in zip(ports, isolated.sockets, strict=True):
        await asyncio.start_server(partial(_pass_on, port), sock=inside)
    await isolated.ended.wait()
    return isolated.process.returncode


async def _pass_on(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a connection from inside on to a port of this machine."""
    try:
        there, back = await asyncio.open_connection(LOCALHOST, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()


def _become_root() -> None:
    """Without root: be root of a user namespace, in which this user is itself. Before there are threads."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    _unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> int:
    ports, _, *inner = sys.argv[1:]
    try:
        _become_root()
        return asyncio.run(isolate([int(port) for port in ports.split(",") if port], inner))
    except OSError as error:
        print(f"no network namespace can be made here: {error}", file=sys.stderr)
    except Unavailable as error:
        print(error.message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
