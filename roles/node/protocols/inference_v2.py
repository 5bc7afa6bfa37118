"""Endpoints of the Open Inference Protocol v2: health, metadata, infer."""

import asyncio
import time

import orjson
from aiohttp import web

from ledger.core.values.call_heads import PARENT
from ledger.core.values.errors import Rejected
from roles.node import metering
from roles.node.models.model import Model
from roles.node.models.resale import HEADER_LENGTH, Packed, Resold
from roles.node.protocols import binary
from roles.node.protocols.errors import NotFound, json_answer
from roles.node.protocols.requests import InferRequest, datatype_of, decode, without_data
from roles.node.state import STATE

MOST_DIGITS = 15
"""Of a number in a header."""


async def live(request: web.Request) -> web.Response:
    return json_answer({"live": True})


async def ready(request: web.Request) -> web.Response:
    """GET /v2/health/ready: false as soon as the node drains."""
    draining = request.app[STATE].draining
    return json_answer({"ready": not draining}, status=503 if draining else 200)


async def server(request: web.Request) -> web.Response:
    return json_answer({"name": "tollway-node", "version": "1", "extensions": ["binary_tensor_data"]})


async def metadata(request: web.Request) -> web.Response:
    name, model = _found(request)
    if isinstance(model, Resold):
        return json_answer(await model.metadata() | {"name": name})
    body = {
        "name": name,
        "versions": [version_of(model)],
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
    packed = Packed(sent, request.headers.get(HEADER_LENGTH))
    began = time.perf_counter_ns()
    async with asyncio.timeout(state.limits.call_seconds):
        if isinstance(model, Resold):
            made = await model.infer(packed, request.headers.get(PARENT))
            compute_us = (time.perf_counter_ns() - began) // 1000
        else:
            made, compute_us = await _inferred(name, model, packed)
    headers = await state.evidence(request, name, metering.of_inference(compute_us, len(made.body)), sent, made.body)
    return web.Response(body=made.body, headers=headers | made.headers)


async def _inferred(name: str, model: Model, sent: Packed) -> tuple[Packed, int]:
    length = len(sent.body) if sent.length is None else _length(sent)
    asked = decode(sent.body[:length], InferRequest)
    inferred = await model.infer(asked.tensors(sent.body[length:]))
    rows, parts = list[dict[str, object]](), list[bytes]()
    for tensor, is_binary in asked.wanted(inferred.outputs):
        if is_binary:
            parts.append(binary.written(tensor))
            rows.append(without_data(tensor) | {"parameters": {"binary_data_size": len(parts[-1])}})
        else:
            rows.append(datatype_of(tensor))
    body = {"model_name": name, "model_version": version_of(model), "outputs": rows}
    if asked.id:
        body["id"] = asked.id
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return Packed(b"".join((head, *parts)), str(len(head)) if parts else None), inferred.compute_us


def _length(sent: Packed) -> int:
    """The bytes of JSON before binary tensors."""
    said = sent.length or ""
    if not said.isdecimal() or len(said) > MOST_DIGITS or not 0 < int(said) <= len(sent.body):
        raise Rejected(f"{HEADER_LENGTH} does not fit the body", code="invalid_body")
    return int(said)


def version_of(model: Model) -> str:
    return str(model.about.get("version", "1"))


def _found(request: web.Request) -> tuple[str, Model | Resold]:
    """The name and model of a path, which may end with `/versions/VERSION`."""
    name, _, version = request.match_info["model"].partition("/versions/")
    model = request.app[STATE].models.find(name)
    if version and not isinstance(model, Resold) and version != version_of(model):
        raise NotFound(f"this node has version {version_of(model)} of {name!r}", model=name)
    return name, model
