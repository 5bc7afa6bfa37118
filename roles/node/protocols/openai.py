"""Endpoints of the OpenAI API for text: chat completions, completions, and the list of models."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from ledger.core.catalog.protocols import Protocol
from roles.node import metering
from roles.node.models.model import Model, Talk
from roles.node.protocols.answers import answer, envelope
from roles.node.protocols.errors import json_answer
from roles.node.protocols.requests import ChatRequest, CompletionRequest, Talking, decode
from roles.node.state import STATE


async def models(request: web.Request) -> web.Response:
    names = request.app[STATE].models.names()
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tollway"} for name in names]
    return json_answer({"object": "list", "data": listed})


async def chat(request: web.Request) -> web.StreamResponse:
    return await answer(request, Protocol.chat, _chat, _chat_events)


async def completions(request: web.Request) -> web.StreamResponse:
    return await answer(request, Protocol.completions, _completion, _completion_events)


def _pieces(model: Model, asked: Talking, talk: Talk) -> AsyncIterator[str]:
    sampling = asked.sampling(float(model.about.get("temperature", 0.0)))
    return model.converse(asked.conversation(), sampling, talk)


async def _chat(model: Model, body: bytes, talk: Talk) -> bytes:
    asked = decode(body, ChatRequest)
    message = {"role": "assistant", "content": "".join([piece async for piece in _pieces(model, asked, talk)])}
    return _whole(asked, "chat.completion", {"message": message}, talk)


async def _completion(model: Model, body: bytes, talk: Talk) -> bytes:
    asked = decode(body, CompletionRequest)
    text = "".join([piece async for piece in _pieces(model, asked, talk)])
    return _whole(asked, "text_completion", {"text": text}, talk)


def _whole(asked: Talking, kind: str, said: dict[str, Any], talk: Talk) -> bytes:
    choice = _choice(said, talk.finish_reason)
    return orjson.dumps(envelope(asked.model, kind) | choice | {"usage": metering.usage(talk)})


async def _chat_events(model: Model, body: bytes, talk: Talk) -> AsyncIterator[bytes]:
    """One event for each token, then one with the finish reason."""
    asked = decode(body, ChatRequest)
    common = envelope(asked.model, "chat.completion.chunk")
    delta: dict[str, str] = {"role": "assistant"}
    async for piece in _pieces(model, asked, talk):
        yield orjson.dumps(common | _choice({"delta": delta | {"content": piece}}))
        delta = {}
    yield orjson.dumps(common | _choice({"delta": delta}, talk.finish_reason))


async def _completion_events(model: Model, body: bytes, talk: Talk) -> AsyncIterator[bytes]:
    """As of a chat, with texts."""
    asked = decode(body, CompletionRequest)
    common = envelope(asked.model, "text_completion")
    async for piece in _pieces(model, asked, talk):
        yield orjson.dumps(common | _choice({"text": piece}))
    yield orjson.dumps(common | _choice({"text": ""}, talk.finish_reason))


def _choice(said: dict[str, Any], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish}]}
