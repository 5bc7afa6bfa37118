"""The node itself: loads, warms, listens, serves, and on SIGTERM finishes what it began."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from roles.node.artifacts.delivery import NAME, Delivery
from roles.node.artifacts.layout import Layout
from roles.node.artifacts.routes import ArtifactRoutes
from roles.node.models.catalog import Catalogue, load
from roles.node.models.model import Model
from roles.node.models.resale import Resold, Upstream
from roles.node.protocols import inference_v2, openai
from roles.node.protocols.errors import Draining, Handler, errors_in_shape
from roles.node.state import STATE, Limits, State
from roles.node.tunnel import Identity, Tunnel
from roles.node.witness import Witness

log = logging.getLogger("node")
Ready = Callable[[int], None]
"""Called once with the port, when the node listens."""
Reached = Callable[[str], None]
"""Called once with the URL a tunnel gave the node."""
Named = Path | tuple[Path, str]
"""A model folder, and the name to serve it under if not its own."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway to serve through: the node knocks there, instead of waiting to be reached."""

    url: str
    identity: Identity
    reached: Reached | None = None


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


def application(state: State, artifacts: ArtifactRoutes | None = None) -> web.Application:
    """The doors around a state."""
    app = web.Application(middlewares=[errors_in_shape, counted], client_max_size=state.limits.body_bytes)
    app[STATE] = state
    app.add_routes(
        [
            web.get("/v1/models", openai.models),
            web.post("/v1/chat/completions", openai.completions),
            web.get("/v2", inference_v2.server),
            web.get("/v2/health/live", inference_v2.live),
            web.get("/v2/health/ready", inference_v2.ready),
            web.get("/v2/models/{model:.+}/ready", inference_v2.model_ready),
            web.post("/v2/models/{model:.+}/infer", inference_v2.infer),
            web.get("/v2/models/{model:.+}", inference_v2.metadata),
        ]
    )
    if artifacts is not None:
        app.add_routes(artifacts.routes())
    return app


def serve(
    models: Sequence[Named] = (),
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    upstreams: Sequence[tuple[str, Upstream]] = (),
    witness: Witness | None = None,
    gateway: Gateway | None = None,
    artifacts: Layout | None = None,
    limits: Limits | None = None,
    ready: Ready | None = None,
) -> None:
    """Serves model folders and upstreams; blocks until told to stop.

    Port 0 takes a free one and `ready` hears which. With a `witness` what a gateway asked for is signed and logged;
    with a `gateway` the node opens its tunnel there; with `artifacts` it also gives those, by digest.
    """
    bounds = limits or Limits()
    uvloop.run(
        run(
            *(models, host, port, upstreams),
            witness=witness,
            gateway=gateway,
            artifacts=artifacts,
            limits=bounds,
            ready=ready,
        )
    )


async def run(
    models: Sequence[Named],
    host: str,
    port: int,
    upstreams: Sequence[tuple[str, Upstream]] = (),
    *,
    witness: Witness | None = None,
    gateway: Gateway | None = None,
    artifacts: Layout | None = None,
    limits: Limits,
    ready: Ready | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: no new calls, the open ones end, at most `drain_seconds` later."""
    executor = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="model")
    loaded = await _loaded(models, executor, limits)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limits.call_seconds)) as http:
        resold = [(name, Resold(upstream, http)) for name, upstream in upstreams]
        artifact_routes = ArtifactRoutes(artifacts) if artifacts else None
        delivery: list[tuple[str, Model]] = [(NAME, Delivery(artifact_routes))] if artifact_routes else []
        state = State(Catalogue([*loaded, *resold, *delivery]), witness, limits)
        runner = web.AppRunner(
            application(state, artifact_routes), handler_cancellation=True, access_log=None, shutdown_timeout=1
        )
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        listening = runner.addresses[0][1]
        if ready:
            ready(listening)
        knocking = asyncio.create_task(_ask_health(gateway, listening)) if gateway else None
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, knocking} if knocking else {stopped}, return_when=asyncio.FIRST_COMPLETED)
        await _drain(state)
        if knocking:
            knocking.cancel()
        await runner.cleanup()
    executor.shutdown(cancel_futures=True)
    if knocking and knocking.done() and not knocking.cancelled() and (refused := knocking.exception()):
        raise refused


async def _loaded(models: Sequence[Named], executor: Executor, limits: Limits) -> list[tuple[str, Model]]:
    loaded = []
    for given in models:
        path, name = given if isinstance(given, tuple) else (given, None)
        model = load(path, executor, most=limits.batch, queue=limits.queue)
        await model.warm()
        loaded.append((name or model.name, model))
    return loaded


async def _ask_health(gateway: Gateway, port: int) -> None:
    tunnel = Tunnel(gateway.url, f"http://127.0.0.1:{port}", gateway.identity)
    knocking = asyncio.create_task(tunnel.run())
    opened = asyncio.create_task(tunnel.opened.wait())
    try:
        await asyncio.wait({knocking, opened}, return_when=asyncio.FIRST_COMPLETED)
        if opened.done() and gateway.reached:
            gateway.reached(tunnel.url)
        await knocking
    finally:
        knocking.cancel()
        opened.cancel()


async def _drain(state: State) -> None:
    log.info("node_draining", extra={"open_calls": state.open_calls})
    state.draining = True
    try:
        async with asyncio.timeout(state.limits.drain_seconds):
            while state.open_calls:
                await asyncio.sleep(0.02)
    except TimeoutError:
        log.warning("node_left_calls_open", extra={"open_calls": state.open_calls})
