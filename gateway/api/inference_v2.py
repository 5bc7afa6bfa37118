"""The Open Inference Protocol v2 beside `infer`: health and metadata."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.api.requests import Here
from gateway.catalog.catalog import CapsuleEntry
from gateway.errors import Refusal

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("")
async def server() -> dict[str, Any]:
    """Who answers."""
    return {"name": "tollway-gateway", "version": "1", "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """The process runs."""
    return {"live": True}


@router.get("/health/ready")
async def ready(gateway: Here) -> JSONResponse:
    """Calls can be charged."""
    good = gateway.receipt_log.healthy and not gateway.draining
    return JSONResponse({"ready": good}, 200 if good else 503)


@router.get("/models/{name:path}/ready")
async def model_ready(name: str, gateway: Here) -> JSONResponse:
    """Somebody serves the model."""
    entry = gateway.catalog.find(name)
    good = not isinstance(entry, CapsuleEntry) and bool(entry.candidates)
    return JSONResponse({"name": entry.name, "ready": good}, 200 if good else 503)


@router.get("/models/{name:path}")
async def metadata(name: str, gateway: Here) -> dict[str, Any]:
    """A model's tensors, as its document declares them."""
    entry = gateway.catalog.find(name)
    interfaces = [] if isinstance(entry, CapsuleEntry) else entry.model.document["interfaces"]
    tensors = next((one for one in interfaces if one["protocol"] == "oip/2"), None)
    if tensors is None or isinstance(entry, CapsuleEntry):
        raise Refusal(404, "wrong_protocol", f"{entry.name} does not speak the Open Inference Protocol", param="model")
    return {
        "name": entry.name,
        "versions": [entry.model.document["version"]],
        "platform": entry.model.document["execution"]["runtime"],
        "inputs": tensors["inputs"],
        "outputs": tensors["outputs"],
    }
