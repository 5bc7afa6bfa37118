"""A gateway that kills itself at an await of one's choice: its process, its tasks stepped by hand.

A paid request with the header `kill-at: N` arms it. From then on the suspensions of the tasks that serve a call are
counted: the request's own, the receipt log's and the call locks'. At the N-th: SIGKILL.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from gateway.app import App, create_app
from gateway.asgi import Message, Receive, Send
from gateway.server import OPTIONS
from gateway.settings import Settings
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.settings import Settings as LedgerSettings
from tests.conftest import free_port
from tests.gateway.world import OPERATOR

SERVING = ("run_asgi", "_run")
"""The names of these tasks' coroutines: uvicorn's request, `ReceiptLog._run` and `CallLocks._run`."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.gateway.stepping"])


class Countdown:
    """How many suspensions are left before the end; None: not armed."""

    left: int | None = None

    def suspended(self) -> None:
        """One more."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose suspensions are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def send(self, value: Any) -> Any:
        """One step; StopIteration at the end passes through."""
        awaited = self._inner.send(value)
        self._countdown.suspended()
        return awaited

    def throw(self, *raised: Any) -> Any:
        """The same, when what was awaited failed."""
        awaited = self._inner.throw(*raised)
        self._countdown.suspended()
        return awaited

    def close(self) -> None:
        """Forget it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("a task steps this")


class Suicidal:
    """The application as it is, but for its tasks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._countdown = Countdown()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            asyncio.get_running_loop().set_task_factory(self._task)
        at = dict(scope.get("headers", ())).get(b"kill-at")
        if at is not None:
            self._countdown.left = int(at)
        await self._app(scope, receive, send)
        if at is not None:
            self._countdown.left = None

    def _task(self, loop: asyncio.AbstractEventLoop, inner: Any, **named: Any) -> asyncio.Task[Any]:
        served = getattr(inner, "__name__", "") in SERVING
        return asyncio.Task(Stepped(inner, self._countdown) if served else inner, loop=loop, **named)


def serve(port: int, url: str) -> None:
    """One life of the gateway."""
    chosen = {
        "signing_key": to_hex(keccak256(b"stepped gateway")),
        "operator": to_hex(OPERATOR.address),
        "allowed_networks": "127.0.0.0/8",
        "lease_atoms": 1,  # each call leases what it may cost, and awaits that
    }
    app = create_app(Settings.model_validate(chosen), LedgerSettings.model_validate({"database_url": url}))
    config = uvicorn.Config(Suicidal(app), port=port, log_level="error", **OPTIONS)
    uvicorn.Server(config).run()


@dataclass
class Lives:
    """A gateway that is started again and again at one port over one database: forks of a warm process."""

    url: str
    port: int = field(default_factory=free_port)
    process: Any = None

    def begin(self) -> httpx.Client:
        """Start once more; a client of it."""
        self.process = _forks.Process(target=serve, args=(self.port, self.url), daemon=True)
        self.process.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        while True:
            try:
                client.get("/health")
            except httpx.TransportError:
                self.process.join(0.02)
                assert self.process.exitcode is None, "it did not start"
            else:
                return client

    def killed(self, client: httpx.Client) -> bool:
        """Whether this life is over by SIGKILL, or soon will be: a process that is dying does not answer."""
        self.process.join(0.5)
        if self.process.exitcode is None:
            try:
                client.get("/health")
            except httpx.TransportError:
                self.process.join(20)
        return bool(self.process.exitcode == -signal.SIGKILL)

    def stop(self) -> None:
        """Let it drain and give back what it has."""
        self.process.terminate()
        self.process.join(30)
