"""Endpoints of the OpenAI API: chat completions, plain and streamed, and the list of models."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from ledger.core.values.call_heads import PARENT
from ledger.core.values.meters import Units, used
from roles.node import metering
from roles.node.models.model import Model, Talk
from roles.node.models.resale import Resold
from roles.node.protocols.errors import failure, json_answer
from roles.node.protocols.requests import ChatRequest, decode
from roles.node.state import STATE


async def models(request: web.Request) -> web.Response:
    names = request.app[STATE].models.names()
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tollway"} for name in names]
    return json_answer({"object": "list", "data": listed})


async def completions(request: web.Request) -> web.StreamResponse:
    state, body, talk = request.app[STATE], await request.read(), Talk()
    parent = request.headers.get(PARENT)
    asked = decode(body, ChatRequest)
    model = state.models.find(asked.model)
    began = time.perf_counter_ns()
    if asked.stream:
        if isinstance(model, Resold):
            return await _stream(request, asked, body, talk, model.chat_events(body, talk, parent))
        return await _stream(request, asked, body, talk, _events(asked, _pieces(model, asked, talk), talk))
    async with asyncio.timeout(state.limits.call_seconds):
        if isinstance(model, Resold):
            raw = await model.chat(body, talk, parent)
            talk.compute_us = (time.perf_counter_ns() - began) // 1000
        else:
            raw = _whole(asked, "".join([piece async for piece in _pieces(model, asked, talk)]), talk)
    headers = await state.evidence(request, asked.model, metering.of_talk(talk, len(raw)), body, raw)
    return web.Response(body=raw, headers=headers, content_type="application/json")


def _pieces(model: Model, asked: ChatRequest, talk: Talk) -> AsyncIterator[str]:
    sampling = asked.sampling(float(model.about.get("temperature", 0.0)))
    return model.converse(asked.conversation(), sampling, talk)


def _whole(asked: ChatRequest, said: str, talk: Talk) -> bytes:
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": talk.finish_reason}
    return orjson.dumps(_envelope(asked, "chat.completion") | {"choices": [choice], "usage": metering.usage(talk)})


async def _events(asked: ChatRequest, pieces: AsyncIterator[str], talk: Talk) -> AsyncIterator[bytes]:
    """One event for each token, then one with the finish reason."""
    envelope = _envelope(asked, "chat.completion.chunk")
    delta: dict[str, str] = {"role": "assistant"}
    async for piece in pieces:
        yield orjson.dumps(envelope | _choice(delta | {"content": piece}))
        delta = {}
    yield orjson.dumps(envelope | _choice(delta, talk.finish_reason))


async def _stream(
    request: web.Request, asked: ChatRequest, body: bytes, talk: Talk, events: AsyncIterator[bytes]
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
        await _send(response, _last(asked, talk, units, evidence.get("Tollway-Served")), said)
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _last(asked: ChatRequest, talk: Talk, units: Units, served: str | None) -> bytes:
    """The last event: OpenAI's usage object, the units by meter, and the node's signature."""
    event = _envelope(asked, "chat.completion.chunk") | {"choices": [], "usage": metering.usage(talk)}
    event["tollway_units"] = used(units)
    if served:
        event["tollway_served"] = orjson.loads(served)
    return orjson.dumps(event)


def _envelope(asked: ChatRequest, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": asked.model}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


async def _send(response: web.StreamResponse, event: bytes, said: bytearray) -> None:
    raw = b"data: " + event + b"\n\n"
    said += raw
    await response.write(raw)
