"""The node process: loads and warms models, serves HTTP, and drains on SIGTERM."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from ledger.core.values.call_heads import HEADER
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from roles.node.artifacts.delivery import NAME, ArtifactRoutes, Delivery
from roles.node.artifacts.layout import Layout
from roles.node.callers import Callers
from roles.node.models import described
from roles.node.models.loader import LoadedModels, load
from roles.node.models.model import Model
from roles.node.models.resale import Resold, Upstream
from roles.node.protocols import inference_v2, media, openai, vectors
from roles.node.protocols.errors import Draining, Handler, errors_in_shape
from roles.node.state import CALLER, STATE, Limits, State
from roles.node.tunnel import Identity, Tunnel
from roles.node.witness import Witness

log = logging.getLogger("node")
Ready = Callable[[int], None]
"""Called once with the port, when the node listens."""
Reached = Callable[[str], None]
"""Called once with the URL under which the gateway reaches the node through the tunnel."""
ModelFolder = tuple[Path, str | None]
"""A model folder, and the name to serve it under; None: the name in its `model.json`."""


@dataclass(frozen=True, slots=True)
class TunnelGateway:
    """A gateway to which the node opens a tunnel, because nobody can connect to the node directly."""

    url: str
    identity: Identity
    reached: Reached | None = None


@web.middleware
async def allow_recordings(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request with a recording be longer than others."""
    if request.path == media.TRANSCRIPTIONS:
        request = request.clone(client_max_size=request.app[STATE].limits.recording_bytes)
    return await handler(request)


@web.middleware
async def check_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve calls of the lane's gateways only. Health and lists of models are open."""
    callers = request.app[STATE].callers
    if callers is not None and request.method == "POST":
        head = await callers.check_head(request.headers.get(HEADER))
        body = await request.read()
        request[CALLER] = callers.admit(head, request.headers.get("Idempotency-Key"), request.path, body)
    return await handler(request)


@web.middleware
async def count_calls(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse new calls while the node drains; count the open ones."""
    state = request.app[STATE]
    if request.method != "POST":
        return await handler(request)
    if state.draining:
        raise Draining("this node is shutting down; use another one")
    state.open_calls += 1
    try:
        return await handler(request)
    finally:
        state.open_calls -= 1


def application(state: State, artifacts: ArtifactRoutes | None = None) -> web.Application:
    app = web.Application(
        middlewares=[errors_in_shape, count_calls, allow_recordings, check_caller],
        client_max_size=state.limits.body_bytes,
    )
    app[STATE] = state
    app.add_routes(
        [
            web.get("/v1/models", openai.models),
            web.post("/v1/chat/completions", openai.chat),
            web.post("/v1/completions", openai.completions),
            web.post("/v1/embeddings", vectors.embeddings),
            web.post("/v1/rerank", vectors.rerank),
            *(web.post(path, media.answer) for path in media.PROTOCOLS),
            web.get("/v2", inference_v2.server),
            web.get("/v2/", inference_v2.server),
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


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """A node's models and settings.

    With `callers` it serves these only, else whoever reaches it. With a `witness` the node signs and logs their calls.
    With a `tunnel` it opens one to that gateway. With `artifacts` it serves those too, by digest. Port 0 takes a free
    port. `promises` are interfaces of the models' documents, by name: a model that does not keep them is not served.
    `leaving` is called in a thread when the node begins to leave, before it refuses calls.
    """

    models: Sequence[ModelFolder] = ()
    upstreams: Sequence[tuple[str, Upstream]] = ()
    host: str = "127.0.0.1"
    port: int = 0
    artifacts: Layout | None = None
    callers: Callers | None = None
    witness: Witness | None = None
    tunnel: TunnelGateway | None = None
    leaving: Callable[[], None] | None = None
    limits: Limits = field(default_factory=Limits)
    promises: Mapping[str | None, Sequence[Document]] = field(default_factory=dict)


def serve(options: NodeOptions, ready: Ready | None = None) -> None:
    """Serve until SIGTERM or SIGINT; blocks. `ready` gets the port once the node listens."""
    uvloop.run(run(options, ready))


async def run(options: NodeOptions, ready: Ready | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new calls; open calls get `drain_seconds` to end."""
    limits = options.limits
    executor = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="model")
    loaded: list[tuple[str, Model | Resold]] = []
    for path, name in options.models:
        model = load(path, executor, most=limits.batch, queue=limits.queue)
        _check_promises(path, name, model, options)
        await model.warm()
        loaded.append((name or model.name, model))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limits.call_seconds)) as http:
        loaded += [(name, Resold(upstream, http)) for name, upstream in options.upstreams]
        artifact_routes = ArtifactRoutes(options.artifacts) if options.artifacts else None
        if artifact_routes:
            loaded.append((NAME, Delivery(artifact_routes)))
        state = State(LoadedModels(loaded), options.callers, options.witness, limits)
        runner = web.AppRunner(
            application(state, artifact_routes), handler_cancellation=True, access_log=None, shutdown_timeout=1
        )
        await runner.setup()
        await web.TCPSite(runner, options.host, options.port).start()
        port = runner.addresses[0][1]
        if ready:
            ready(port)
        refused = await _until_stopped(state, options, port)
        await runner.cleanup()
    executor.shutdown(cancel_futures=True)
    if refused:
        raise refused


def _check_promises(path: Path, name: str | None, model: Model, options: NodeOptions) -> None:
    """Rejected unless a model serves what its document promises, where there is one."""
    try:
        described.check(described.of(model), options.promises.get(name, []))
    except Rejected as broken:
        raise Rejected(
            f"{path} cannot be served as {name}: {broken.message}", path=str(path), **broken.facts
        ) from broken


async def _until_stopped(state: State, options: NodeOptions, port: int) -> BaseException | None:
    """Wait for a signal or the end of the tunnel, then leave and drain. Returns the error that ended the tunnel, if
    any.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tunnel = asyncio.create_task(_keep_tunnel(options.tunnel, port)) if options.tunnel else None
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, tunnel} if tunnel else {stopped}, return_when=asyncio.FIRST_COMPLETED)
    if options.leaving:
        await asyncio.to_thread(options.leaving)
    await _drain(state)
    if tunnel is None:
        return None
    tunnel.cancel()
    return tunnel.exception() if tunnel.done() and not tunnel.cancelled() else None


async def _keep_tunnel(gateway: TunnelGateway, port: int) -> None:
    tunnel = Tunnel(gateway.url, f"http://127.0.0.1:{port}", gateway.identity)
    running = asyncio.create_task(tunnel.run())
    opened = asyncio.create_task(tunnel.opened.wait())
    try:
        await asyncio.wait({running, opened}, return_when=asyncio.FIRST_COMPLETED)
        if opened.done() and gateway.reached:
            gateway.reached(tunnel.url)
        await running
    finally:
        running.cancel()
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
