"""The OpenAI door: chat completions, plain and streamed, and the list of models."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from roles.node import metering
from roles.node.answers import failure, json_answer
from roles.node.model import Talk
from roles.node.requests import ChatRequest, chat_request
from roles.node.state import STATE, State


async def models(request: web.Request) -> web.Response:
    """GET /v1/models."""
    state = request.app[STATE]
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tollway"} for name in state.catalogue.names()]
    return json_answer({"object": "list", "data": listed})


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    state = request.app[STATE]
    asked = chat_request(await request.read())
    model = state.catalogue.find(asked.model)
    talk = Talk()
    pieces = model.converse(asked.conversation(), asked.sampling(float(model.about.get("temperature", 0.0))), talk)
    if asked.stream:
        return await _stream(request, state, asked, talk, pieces)
    async with asyncio.timeout(state.limits.call_seconds):
        said = "".join([piece async for piece in pieces])
    body = _envelope(asked, "chat.completion") | {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said},
                "logprobs": None,
                "finish_reason": talk.finish_reason,
            }
        ],
        "usage": metering.usage(talk),
    }
    raw = orjson.dumps(body)
    headers = metering.headers(metering.of_talk(talk, len(raw)))
    return web.Response(body=raw, headers=headers, content_type="application/json")


async def _stream(
    request: web.Request, state: State, asked: ChatRequest, talk: Talk, pieces: AsyncIterator[str]
) -> web.StreamResponse:
    """One event a token; a failure before the first token is still an ordinary error, after it the last event tells."""
    envelope = _envelope(asked, "chat.completion.chunk")
    if with_usage := bool(asked.stream_options and asked.stream_options.include_usage):
        envelope["usage"] = None
    try:
        async with asyncio.timeout(state.limits.call_seconds):
            first = await anext(pieces, None)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
            await response.prepare(request)
            sent = await _send(response, envelope | _choice({"role": "assistant", "content": first or ""}))
            async for piece in pieces:
                sent += await _send(response, envelope | _choice({"content": piece}))
            sent += await _send(response, envelope | _choice({}, talk.finish_reason))
    except (
        Exception
    ) as error:  # headers may be out: then the stream itself must say that it broke, and end without [DONE]
        if "response" not in locals() or not response.prepared:
            raise
        await _send(response, failure(error)[1])
        return response
    if with_usage:
        units = metering.as_json(metering.of_talk(talk, sent))
        await _send(response, envelope | {"choices": [], "usage": metering.usage(talk), "tollway_units": units})
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _envelope(asked: ChatRequest, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": asked.model}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


async def _send(response: web.StreamResponse, event: dict[str, object]) -> int:
    raw = b"data: " + orjson.dumps(event) + b"\n\n"
    await response.write(raw)
    return len(raw)
