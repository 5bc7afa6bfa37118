"""Endpoints of the Open Inference Protocol v2: health, metadata, infer."""

import asyncio
import time

import orjson
from aiohttp import web

from ledger.core.values.call_heads import PARENT
from roles.node import metering
from roles.node.models.model import Model
from roles.node.models.resale import Resold
from roles.node.protocols.errors import json_answer
from roles.node.protocols.requests import InferRequest, datatype_of, decode
from roles.node.state import STATE


async def live(request: web.Request) -> web.Response:
    return json_answer({"live": True})


async def ready(request: web.Request) -> web.Response:
    """GET /v2/health/ready: false as soon as the node drains."""
    draining = request.app[STATE].draining
    return json_answer({"ready": not draining}, status=503 if draining else 200)


async def server(request: web.Request) -> web.Response:
    return json_answer({"name": "tollway-node", "version": "1", "extensions": []})


async def metadata(request: web.Request) -> web.Response:
    name, model = _found(request)
    if isinstance(model, Resold):
        return json_answer(await model.metadata() | {"name": name})
    body = {
        "name": name,
        "versions": [str(model.about.get("version", "1"))],
        "platform": "onnxruntime_onnx",
        "inputs": model.inputs,
        "outputs": model.outputs,
    }
    return json_answer(body)


async def model_ready(request: web.Request) -> web.Response:
    name, _ = _found(request)
    draining = request.app[STATE].draining
    return json_answer({"name": name, "ready": not draining}, status=503 if draining else 200)


async def infer(request: web.Request) -> web.Response:
    state, sent = request.app[STATE], await request.read()
    name, model = _found(request)
    began = time.perf_counter_ns()
    async with asyncio.timeout(state.limits.call_seconds):
        if isinstance(model, Resold):
            raw = await model.infer(sent, request.headers.get(PARENT))
            compute_us = (time.perf_counter_ns() - began) // 1000
        else:
            raw, compute_us = await _inferred(name, model, sent)
    headers = await state.evidence(request, name, metering.of_inference(compute_us, len(raw)), sent, raw)
    return web.Response(body=raw, headers=headers, content_type="application/json")


async def _inferred(name: str, model: Model, sent: bytes) -> tuple[bytes, int]:
    asked = decode(sent, InferRequest)
    inferred = await model.infer(asked.tensors())
    body: dict[str, object] = {
        "model_name": name,
        "model_version": str(model.about.get("version", "1")),
        "outputs": [datatype_of(tensor) for tensor in inferred.outputs],
    }
    if asked.id:
        body["id"] = asked.id
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), inferred.compute_us


def _found(request: web.Request) -> tuple[str, Model | Resold]:
    name = request.match_info["model"]
    return name, request.app[STATE].models.find(name)
