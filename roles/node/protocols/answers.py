"""How the OpenAI endpoints answer, whole or as a stream: from a model of this node, or from a server that is resold."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
from aiohttp import web

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.call_heads import PARENT
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units, used
from roles.node import metering
from roles.node.models.model import Model, Talk
from roles.node.models.resale import Resold
from roles.node.protocols.errors import failure
from roles.node.protocols.requests import Asked, decode
from roles.node.state import STATE

Make = Callable[[Model, bytes, Talk], Awaitable[bytes]]
"""Makes the whole answer to a body, and notes what it used."""
Say = Callable[[Model, bytes, Talk], AsyncIterator[bytes]]
"""The events of a stream, each without its usage."""


async def answer(request: web.Request, protocol: Protocol, make: Make, say: Say | None = None) -> web.StreamResponse:
    """Answer a request in a protocol. Without `say` there are no streams. A resold server gets it as it is."""
    state, body, talk = request.app[STATE], await request.read(), Talk()
    asked, parent = decode(body, Asked), request.headers.get(PARENT)
    model = state.models.find(asked.model)
    if not isinstance(model, Resold) and protocol not in model.speaks:
        known = ", ".join(sorted(model.speaks)) or "tensors alone"
        raise Rejected(f"{asked.model} speaks {known}, not {protocol}", code="wrong_protocol", field="model")
    if asked.stream and say is not None:
        events = model.events(request.path, body, talk, parent) if isinstance(model, Resold) else say(model, body, talk)
        return await _stream(request, asked, body, talk, events)
    began = time.perf_counter_ns()
    async with asyncio.timeout(state.limits.call_seconds):
        if isinstance(model, Resold):
            raw = await model.whole(request.path, body, talk, parent)
            talk.compute_us = (time.perf_counter_ns() - began) // 1000
        else:
            raw = await make(model, body, talk)
    headers = await state.evidence(request, asked.model, metering.of_talk(talk, len(raw)), body, raw)
    return web.Response(body=raw, headers=headers, content_type="application/json")


async def _stream(
    request: web.Request, asked: Asked, body: bytes, talk: Talk, events: AsyncIterator[bytes]
) -> web.StreamResponse:
    """A failure before the first event is an ordinary error answer; later it is the last event, without `[DONE]`."""
    state, began = request.app[STATE], time.perf_counter_ns()
    async with asyncio.timeout(state.limits.call_seconds):
        first = await anext(events, None)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    said = bytearray()
    try:
        async with asyncio.timeout(state.limits.call_seconds):
            if first is not None:
                await _send(response, first, said)
            async for event in events:
                await _send(response, event, said)
    except Exception as error:  # the headers are sent already, so the error goes into the stream
        await _send(response, orjson.dumps(failure(error)[1]), said)
        return response
    talk.compute_us = talk.compute_us or (time.perf_counter_ns() - began) // 1000
    units = metering.of_talk(talk, len(said))
    evidence = await state.evidence(request, asked.model, units, body, bytes(said))
    if asked.stream_options and asked.stream_options.include_usage:
        kind = "chat.completion.chunk" if request.path.endswith("/chat/completions") else "text_completion"
        await _send(response, _last(envelope(asked.model, kind), talk, units, evidence.get("Tollway-Served")), said)
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def envelope(model: str, kind: str) -> dict[str, object]:
    """The fields that begin an answer or an event."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _last(event: dict[str, object], talk: Talk, units: Units, served: str | None) -> bytes:
    """The last event: OpenAI's usage object, the units by meter, and the node's signature."""
    event |= {"choices": [], "usage": talk.reported | metering.usage(talk), "tollway_units": used(units)}
    if served:
        event["tollway_served"] = orjson.loads(served)
    return orjson.dumps(event)


async def _send(response: web.StreamResponse, event: bytes, said: bytearray) -> None:
    raw = b"data: " + event + b"\n\n"
    said += raw
    await response.write(raw)
