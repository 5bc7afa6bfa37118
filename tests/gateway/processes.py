"""A gateway in a process of its own: what can be killed, and what shares nothing with another but PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests import book
from tests.conftest import free_port, wait_until_open
from tests.gateway.world import OPERATOR, World, a_voucher

PRICE = 115
"""What a call costs where the provider asks for 100."""


@dataclass
class Process:
    """A gateway in a process of its own, which can be killed and started again."""

    world: World
    name: str = "killed gateway"
    module: str = "gateway"
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    log: Path | None = None
    """Set: it logs all that it can into this file."""

    def start(self) -> Process:
        """Listen."""
        environment = {
            **os.environ,
            "LEDGER_DATABASE_URL": self.world.url,
            "GATEWAY_SIGNING_KEY": to_hex(keccak256(self.name.encode())),
            "GATEWAY_OPERATOR": to_hex(OPERATOR.address),
            "GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8",
            "GATEWAY_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "GATEWAY_LEASE_ATOMS": str(20 * PRICE),
            "GATEWAY_LEASE_SECONDS": "2",
            **self.settings,
        }
        level = "debug" if self.log else "error"
        (line,) = book.typed("gateway/README.md", "python -m gateway").lines
        said = [word.partition("=")[0] for word in line.split() if "=" in word]
        assert environment.keys() >= {*said}, "the README names settings that there are"
        typed = line.partition(" python -m gateway ")[2].replace("8000", str(self.port)).split()
        command = [sys.executable, "-m", self.module, *typed, "--log-level", level]
        with self.log.open("ab") if self.log else nullcontext() as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        wait_until_open(self.port, self.process, 200)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        return self

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def chat(self, key: str, name: str | None = None, **more: object) -> httpx.Response:
        """One call, with an Idempotency-Key if it is named."""
        headers = {"Authorization": f"Bearer {key}", **({"Idempotency-Key": name} if name else {})}
        body = {"model": "@acme/chat", "messages": [], "max_tokens": 50, **more}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def key(self, consumer: Signer) -> str:
        """An API key."""
        response = self.http.post("/v1/keys", json={"voucher": a_voucher(consumer, 10**12)})
        return str(response.json()["key"])
