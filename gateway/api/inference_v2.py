"""The Open Inference Protocol v2: health and metadata. `infer` is in paid_routes."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.api.dependencies import Here, Seen
from gateway.api.schemas import answers
from gateway.api.schemas.openapi import TEXT_ERRORS, Typed, unwell
from gateway.catalog.catalog import CapsuleEntry
from gateway.errors import Refusal
from gateway.workflow import plan as planning
from ledger.core.catalog import protocols
from ledger.core.catalog.protocols import Protocol

router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=Typed, responses=TEXT_ERRORS)


@router.get("/", include_in_schema=False)
@router.get("", response_model=answers.Server)
async def server() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {"name": "tollway-gateway", "version": "1", "extensions": ["binary_tensor_data"]}


@router.get("/health/live", response_model=answers.Live)
async def live() -> dict[str, bool]:
    """200 while the process runs."""
    return {"live": True}


@router.get("/health/ready", response_model=answers.Ready, responses=unwell(answers.Ready))
async def ready(gateway: Here) -> JSONResponse:
    """200 while calls can be charged, else 503."""
    good = gateway.receipt_log.healthy and not gateway.draining
    return JSONResponse({"ready": good}, 200 if good else 503)


@router.get("/models/{name:path}/ready", response_model=answers.ModelReady, responses=unwell(answers.ModelReady))
async def model_ready(name: str, gateway: Here, catalog: Seen) -> JSONResponse:
    """200 while a model or workflow can be called, else 503."""
    entry = catalog.find(catalog.versioned(name))
    good = not planning.why_not(planning.anywhere(gateway, catalog), entry)
    return JSONResponse({"name": entry.name, "ready": good}, 200 if good else 503)


@router.get("/models/{name:path}", response_model=answers.Tensors)
async def metadata(name: str, catalog: Seen) -> dict[str, Any]:
    """A model's input and output tensors, as its document declares them. `{name}` may end with `/versions/VERSION`."""
    entry = catalog.find(catalog.versioned(name))
    interfaces = [] if isinstance(entry, CapsuleEntry) else entry.model.document["interfaces"]
    tensors = next((one for one in interfaces if one["protocol"] == Protocol.tensors), None)
    if tensors is None or isinstance(entry, CapsuleEntry):
        spoken = Protocol.chat if isinstance(entry, CapsuleEntry) else protocols.listed(entry.protocols)
        raise Refusal(404, "wrong_protocol", f"{entry.name} speaks {spoken}, not {Protocol.tensors}", param="model")
    return {
        "name": entry.name,
        "versions": [entry.version],
        "platform": entry.model.document["execution"]["runtime"],
        "inputs": tensors["inputs"],
        "outputs": tensors["outputs"],
    }


@router.post("/chat", include_in_schema=False)
async def no_chat() -> None:
    """Cohere's clients of version 2 ask here for a chat."""
    said = "Cohere's chat is not spoken here: use an OpenAI client at /v1/chat/completions, or /v2/rerank to rank"
    raise Refusal(404, "wrong_protocol", said)
