"""Separate hosts on one machine: network namespaces joined by virtual cables, and a home nobody can call.

The home's network is not routed: its router relays what the home opens towards the gateway and knows no way in, as a
NAT does. Names carry this process's id, so that runs do not meet.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Self

from tests.roles.node.conftest import ROOT

ETH_P_ALL, IPV4 = 3, b"\x08\x00"
RELAY = """
import asyncio, sys
listen, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def accept(reader, writer):
    there, back = await asyncio.open_connection(target, port)
    await asyncio.gather(pipe(reader, back), pipe(there, writer))
async def main():
    server = await asyncio.start_server(accept, listen, port)
    print("relaying http://" + listen + ":" + str(port), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def why_not() -> str | None:
    """Why namespaces can not be made here, or None."""
    if shutil.which("ip") is None:
        return "there is no `ip` command"
    name = f"tw-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not permitted here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def ip(*arguments: str) -> None:
    """One `ip` command that must work."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Capture:
    """Every packet on this host's ends of all cables, loopback too, while the block runs: frames by device."""

    def __init__(self) -> None:
        self.frames: defaultdict[str, list[bytes]] = defaultdict(list)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                frame, (device, *_) = self._socket.recvfrom(1 << 17)
                self.frames[device].append(frame)

    def devices_with(self, text: str) -> set[str]:
        """The devices on which a packet carried a text."""
        return {device for device, frames in list(self.frames.items()) if any(text.encode() in one for one in frames)}

    def of_ip(self, device: str) -> list[bytes]:
        """The IPv4 packets on a device: what is not, is how neighbours find each other."""
        return [frame for frame in self.frames[device] if frame[12:14] == IPV4]


class Hosts:
    """Namespaces and the processes in them; closing ends both."""

    def __init__(self) -> None:
        self.prefix = f"tw{os.getpid() % 100_000}"
        self.net = 1 + os.getpid() % 200
        self.names: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []

    def add(self, name: str) -> None:
        """A host with nothing but a loopback."""
        ip("netns", "add", self.full(name))
        self.names.append(name)
        ip("-n", self.full(name), "link", "set", "lo", "up")

    def full(self, name: str) -> str:
        """The namespace's name."""
        return f"{self.prefix}-{name}"

    def cable(self, number: int, one: str | None, other: str, network: str) -> None:
        """A cable from `one` (None: this host) at .1 to `other` at .2 of a /30."""
        left, right = self.device(number), f"{self.prefix}b{number}"
        ip("link", "add", left, "type", "veth", "peer", "name", right, "netns", self.full(other))
        here: tuple[str, ...] = ()
        if one is not None:
            ip("link", "set", left, "netns", self.full(one))
            here = ("-n", self.full(one))
        for where, device, last in ((here, left, 1), (("-n", self.full(other)), right, 2)):
            ip(*where, "addr", "add", f"{network}.{last}/30", "dev", device)
            ip(*where, "link", "set", device, "up")

    def device(self, number: int) -> str:
        """The near end of a cable."""
        return f"{self.prefix}a{number}"

    def run(self, host: str, *command: str) -> subprocess.Popen[str]:
        """A Python process on a host; returns when it says where it listens."""
        full = ["ip", "netns", "exec", self.full(host), sys.executable, *command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(full, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        self.processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.search(r"http://|tunnel://", line), f"{host} said {line!r}"
        return process

    def relay(self, host: str, listen: str, target: str, port: int) -> None:
        """A router: passes what comes to `listen` on to `target`, and nothing the other way round."""
        self.run(host, "-c", RELAY, listen, target, str(port))

    def node(self, host: str, model: Path, name: str, address: str) -> subprocess.Popen[str]:
        """A node that can be called directly."""
        return self.run(host, "-m", "roles.node", "--model", f"{model}={name}", "--host", address, "--port", "8000")

    def home_node(self, host: str, model: Path, name: str, gateway: str, secret: str) -> subprocess.Popen[str]:
        """A node that listens on its own loopback only and opens a tunnel to the gateway."""
        return self.run(host, "-m", "tests.roles.node.home", str(model), name, gateway, secret)

    def close(self) -> None:
        """Ends the processes, then the hosts and their cables."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.full(name)], capture_output=True)
