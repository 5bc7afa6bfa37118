"""Endpoints for images, speech and transcriptions. No model of a node's own makes or hears any: they are of servers
that are resold, and an answer goes on as its server wrote it.
"""

import asyncio
import os
import time
from typing import Any

import msgspec
from aiohttp import web

from ledger.core.catalog.protocols import Protocol
from ledger.core.values import forms, sound
from ledger.core.values.call_heads import PARENT
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units
from roles.node import metering
from roles.node.models.resale import Packed, Resold, UpstreamFailed
from roles.node.protocols.requests import decode
from roles.node.state import STATE

IMAGES, SPEECH, TRANSCRIPTIONS = "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"
PROTOCOLS = {IMAGES: Protocol.images, SPEECH: Protocol.speech, TRANSCRIPTIONS: Protocol.transcriptions}
AS_JSON = frozenset(("json", "verbose_json", "diarized_json"))
"""The formats of a transcription that may say what was used."""


class _Asked(msgspec.Struct):
    model: str
    prompt: str = ""
    input: str = ""
    stream_format: str = ""


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] = []
    text: str | None = None
    duration: Any = None
    usage: dict[str, Any] | None = None


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer a request by the server of its model."""
    state, body = request.app[STATE], await request.read()
    form = forms.read(request.headers.get("Content-Type", ""), body) if request.path == TRANSCRIPTIONS else None
    asked = decode(body, _Asked) if form is None else _Asked(form.text("model") or "")
    model, began = state.models.find(asked.model), time.perf_counter_ns()
    if not isinstance(model, Resold):
        known = ", ".join(sorted(model.speaks)) or "tensors alone"
        wanted = PROTOCOLS[request.path]
        raise Rejected(f"{asked.model} speaks {known}, not {wanted}", code="wrong_protocol", field="model")
    sent = model.renamed(body) if form is None else _form(form, model)
    if request.path == SPEECH and asked.stream_format == "audio":
        return await _stream(request, asked, model, sent)
    async with asyncio.timeout(state.limits.call_seconds):
        made = await model.media(request.path, sent, request.headers.get(PARENT))
    compute_us = (time.perf_counter_ns() - began) // 1000
    units = _units(request.path, asked, form, made.body, metering.of_inference(compute_us, len(made.body)))
    headers = await state.evidence(request, asked.model, units, body, made.body)
    return web.Response(body=made.body, headers=headers | made.headers)


async def _stream(request: web.Request, asked: _Asked, model: Resold, sent: Packed) -> web.StreamResponse:
    """Speech as it comes. Its last byte waits for the log; what breaks off in the middle ends without an end."""
    state, began, body = request.app[STATE], time.perf_counter_ns(), await request.read()
    response: web.StreamResponse | None = None
    said, last = bytearray(), b""
    try:
        async with asyncio.timeout(state.limits.call_seconds):
            async with model.streamed(request.path, sent, request.headers.get(PARENT)) as (kind, pieces):
                async for piece in pieces:
                    if response is None:
                        response = web.StreamResponse(headers={"Content-Type": kind})
                        await response.prepare(request)
                    said += piece
                    await response.write(last + piece[:-1])
                    last = piece[-1:]
    except Exception:  # the head may be sent already: then the answer can only be cut
        if response is None or request.transport is None:
            raise
        request.transport.abort()
        return response
    if response is None:
        raise UpstreamFailed("the upstream answered no sound")
    timed = metering.of_inference((time.perf_counter_ns() - began) // 1000, len(said))
    await state.evidence(request, asked.model, timed._replace(input_character=len(asked.input)), body, bytes(said))
    await response.write(last)
    await response.write_eof()
    return response


def _form(form: forms.Form, model: Resold) -> Packed:
    """A recording as the server gets it: under its name for the model, and a file name by what the file is."""
    kind = sound.kind_of(form.file("file"))
    if kind is None:
        raise Rejected(f"the file is no recording: send one of {', '.join(sound.ENDINGS)}", field="file")
    boundary = b"tollway-" + os.urandom(24).hex().encode()
    body = form.written(boundary, kind.file_name, kind.media_type, model=model.upstream.model)
    return Packed(body, kind=forms.content_type(boundary))


def _units(path: str, asked: _Asked, form: forms.Form | None, made: bytes, units: Units) -> Units:
    """What an answer used, besides time and bytes. UpstreamFailed when it is none."""
    if path == SPEECH:
        if not made:
            raise UpstreamFailed("the upstream answered no sound")
        return units._replace(input_character=len(asked.input))
    if form is None:
        said = _decoded(made)
        if not said.data:
            raise UpstreamFailed("the upstream answered no image")
        tokens = _tokens(said.usage or {}, "input_tokens", "prompt_tokens")
        return units._replace(output_image=len(said.data), input_character=len(asked.prompt), input_token=tokens)
    heard = sound.length(form.file("file")).usual_ms
    if (form.text("response_format") or "json") not in AS_JSON:
        return units._replace(ms=heard)
    said = _decoded(made)
    if said.text is None:
        raise UpstreamFailed("the upstream answered no text")
    usage = said.usage or {}
    claimed = sound.ms_of(usage.get("seconds", said.duration))
    return units._replace(
        ms=heard if claimed is None else claimed,
        input_token=_tokens(usage, "input_tokens", "prompt_tokens"),
        output_token=_tokens(usage, "output_tokens", "completion_tokens"),
    )


def _tokens(usage: dict[str, Any], *names: str) -> int:
    """The first of these counts that is one."""
    return next((usage[name] for name in names if type(usage.get(name)) is int and usage[name] >= 0), 0)


def _decoded(made: bytes) -> _Answer:
    try:
        return msgspec.json.decode(made, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamFailed(f"the upstream's answer is not what an OpenAI server answers: {error}") from error
