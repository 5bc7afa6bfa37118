"""The node itself: loads, warms, listens, serves, and on SIGTERM finishes what it began."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from aiohttp import web

from roles.node import chat, oip
from roles.node.answers import Draining, Handler, errors_in_shape
from roles.node.catalogue import Catalogue, load
from roles.node.state import STATE, Limits, State

log = logging.getLogger("node")
Ready = Callable[[int], None]
"""Called once with the port, when the node listens."""


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses new calls while draining, and counts the open ones."""
    state = request.app[STATE]
    if request.method != "POST":
        return await handler(request)
    if state.draining:
        raise Draining("this node is leaving; ask another")
    state.open_calls += 1
    try:
        return await handler(request)
    finally:
        state.open_calls -= 1


def application(state: State) -> web.Application:
    """The doors around a state."""
    app = web.Application(middlewares=[errors_in_shape, counted], client_max_size=state.limits.body_bytes)
    app[STATE] = state
    app.add_routes(
        [
            web.get("/v1/models", chat.models),
            web.post("/v1/chat/completions", chat.completions),
            web.get("/v2", oip.server),
            web.get("/v2/health/live", oip.live),
            web.get("/v2/health/ready", oip.ready),
            web.get("/v2/models/{model:.+}/ready", oip.model_ready),
            web.post("/v2/models/{model:.+}/infer", oip.infer),
            web.get("/v2/models/{model:.+}", oip.metadata),
        ]
    )
    return app


def named(model: Path | tuple[Path, str]) -> tuple[Path, str | None]:
    """A folder, and the name to serve it under if not its own."""
    return model if isinstance(model, tuple) else (model, None)


async def run(
    models: Sequence[Path | tuple[Path, str]], host: str, port: int, *, limits: Limits, ready: Ready | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: no new calls, the open ones end, at most `drain_seconds` later."""
    executor = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="model")
    loaded = []
    for path, name in map(named, models):
        model = load(path, executor, most=limits.batch, queue=limits.queue)
        await model.warm()
        loaded.append((name or model.name, model))
    state = State(Catalogue(loaded), limits)
    runner = web.AppRunner(application(state), handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if ready:
        ready(runner.addresses[0][1])
    await stop.wait()
    log.info("node_draining", extra={"open_calls": state.open_calls})
    state.draining = True
    try:
        async with asyncio.timeout(limits.drain_seconds):
            while state.open_calls:
                await asyncio.sleep(0.02)
    except TimeoutError:
        log.warning("node_left_calls_open", extra={"open_calls": state.open_calls})
    await runner.cleanup()
    executor.shutdown(cancel_futures=True)


def serve(
    models: Sequence[Path | tuple[Path, str]],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    limits: Limits | None = None,
    ready: Ready | None = None,
) -> None:
    """Serves model folders; blocks until told to stop. Port 0 takes a free one and `ready` hears which."""
    uvloop.run(run(models, host, port, limits=limits or Limits(), ready=ready))
