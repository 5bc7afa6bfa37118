"""The overview as it changes: server-sent events, each with the part of the page that is new.

What listeners are sent is read and written once an interval for all of them, and only while there are any. A page that
is not told goes on as it is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from gateway import bounds
from gateway.api.dependencies import Here
from gateway.asgi import Sender
from gateway.bounds import Places
from gateway.console import overview
from gateway.console.overview import Overview, Period
from gateway.context import Gateway
from ledger.core.values.errors import TollwayError

log = logging.getLogger("tollway.gateway")
EVERY_SECONDS: Final = 5.0
"""Between two readings."""
HEARTBEAT_SECONDS: Final = 15.0
"""Without an event a comment is sent, so that no proxy takes the connection for a dead one."""
RETRY_MS: Final = 5_000
"""How long a page waits before it connects again."""
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
"""No proxy keeps an event back: nginx and others read the second one."""
ENOUGH: Final = b"event: enough\ndata: \n\n"
"""To a listener whose place another one took: it does not come back."""


@dataclass(eq=False, slots=True)
class Listener:
    """A page that is told. `seen` is the version that it shows."""

    period: Period
    seen: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False

    def end(self) -> None:
        """It is told no more."""
        self.is_ended = True
        self.woken.set()


class Live:
    """Who is told, and what: the newest event of each period."""

    def __init__(self) -> None:
        self.listeners = Places[Listener](bounds.EVENTS_AN_ADDRESS, bounds.EVENTS, Listener.end)
        self._events: dict[Period, tuple[str, bytes]] = {}
        """By its version."""
        self._writer: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def listen(self, gateway: Gateway, kept: Overview, address: str, listener: Listener) -> AsyncIterator[bytes]:
        """What one page is sent, until it leaves, another takes its place, or the gateway stops."""
        place = self.listeners.take(address, listener)
        self.listeners.close_excess(address)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(gateway, kept))
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            while not (listener.is_ended or self._is_stopped):
                version, event = self._events.get(listener.period, (listener.seen, b""))
                if version != listener.seen:
                    listener.seen = version
                    yield event
                    continue
                listener.woken.clear()
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await listener.woken.wait()
                except TimeoutError:
                    yield b":\n\n"
            if place.evicted:
                yield ENOUGH
        finally:
            place.leave()

    def stop(self) -> None:
        """End what every page is sent, and what is written for them. The server stops."""
        self._is_stopped = True
        for place in self.listeners:
            place.holder.end()
        if self._writer is not None:
            self._writer.cancel()

    async def _write(self, gateway: Gateway, kept: Overview) -> None:
        """Write an event for each period that somebody listens to, while anybody does. What was written before nobody
        listened is forgotten.
        """
        self._events.clear()
        while periods := {place.holder.period for place in self.listeners}:
            for period in periods:
                try:
                    self._events[period] = await _event(gateway, kept, period)
                except TollwayError as error:
                    log.warning("job_failed", extra={"job": "live", "reason": error.message})
            for place in self.listeners:
                place.holder.woken.set()
            await asyncio.sleep(EVERY_SECONDS)


async def _event(gateway: Gateway, kept: Overview, period: Period) -> tuple[str, bytes]:
    """The overview's live part, as an event named by its version."""
    version, part = await overview.live_part(gateway, kept, period)
    return version, b"event: overview\nid: %b\ndata: %b\n\n" % (version.encode(), orjson.dumps(part))


router = APIRouter(include_in_schema=False)


@router.get("/overview/events")
async def events(
    request: Request,
    gateway: Here,
    of: Period = Period.day,
    seen: Annotated[str, Query(max_length=64)] = "",
) -> StreamingResponse:
    """Tells a page what changes. `seen` is the version that it shows; one that comes back says so in a header."""
    state: Any = request.app.state
    sender: Sender = request.scope["state"]["sender"]
    address = gateway.connections.addresses.of_request(sender.address, dict(request.scope["headers"]))
    listener = Listener(of, request.headers.get("last-event-id", seen)[:64])
    stream = state.live.listen(gateway, state.overview, address, listener)
    return StreamingResponse(stream, headers=HEADERS, media_type="text/event-stream")
