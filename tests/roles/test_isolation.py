"""A network of one's own: from inside only the ports that were named are reached, and nobody reaches in."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from roles.local import isolation
from roles.local.folder import free_port
from tests.roles.node.conftest import ROOT

REASON = isolation.why_not()
needs_networks = pytest.mark.skipif(REASON is not None, reason=f"NO NETWORK OF ITS OWN CAN BE MADE HERE: {REASON}")

INSIDE = """
import signal, socket, sys
own, near, far = map(int, sys.argv[1:])
listening = socket.create_server(("127.0.0.1", own))
for port in (near, far):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as there:
            there.sendall(b"from inside")
            print(there.recv(100).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
def leave(*_):
    print("left in order", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def near() -> Iterator[int]:
    """The port of a server of this machine that says back what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    there, _ = server.accept()
                    there.sendall(b"heard " + there.recv(100))
                    there.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@needs_networks
def test_a_command_reaches_the_ports_it_was_given_and_nobody_reaches_it(near: int) -> None:
    own, far = free_port(), free_port()
    with socket.create_server(("127.0.0.1", far)):
        command = isolation.command([near], sys.executable, "-c", INSIDE, str(own), str(near), str(far))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3)]
        assert said == ["heard from inside", "ConnectionRefusedError", "ready"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", own), 5)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline().strip() == "left in order"
        assert process.wait(20) == 7


def test_where_no_network_can_be_made_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "command", lambda *_: (sys.executable, "-c", "exit('it is not permitted')"))
    assert isolation.why_not() == "it is not permitted"
