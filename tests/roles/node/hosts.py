"""Separate hosts on one machine: network namespaces joined by virtual cables, and a home nobody can call.

The home's network is not routed: its router relays what the home opens towards the gateway and knows no way in, as a
NAT does. Names carry this process's id, so that runs do not meet.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.roles.node.conftest import ROOT

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
        left, right = f"{self.prefix}a{number}", f"{self.prefix}b{number}"
        ip("link", "add", left, "type", "veth", "peer", "name", right, "netns", self.full(other))
        here: tuple[str, ...] = ()
        if one is not None:
            ip("link", "set", left, "netns", self.full(one))
            here = ("-n", self.full(one))
        for where, device, last in ((here, left, 1), (("-n", self.full(other)), right, 2)):
            ip(*where, "addr", "add", f"{network}.{last}/30", "dev", device)
            ip(*where, "link", "set", device, "up")

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
