"""The paid calls, as the OpenAPI document shows them. The hot handler answers them before a route is looked up."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.errors import Refusal

router = APIRouter(tags=["calls"])

MODEL = {"type": "string", "description": "`@org/name`, or a CID"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31}


def _body(required: list[str], **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/v1/chat/completions",
    openapi_extra=_body(
        ["model", "messages"],
        model=MODEL,
        messages={"type": "array", "items": {"type": "object"}},
        stream={"type": "boolean"},
        max_tokens=COUNT,
    ),
)
async def chat() -> None:
    """A chat completion, whole or streamed, of a model or a workflow."""
    raise _unreachable()


@router.post("/v1/completions", openapi_extra=_body(["model", "prompt"], model=MODEL, prompt={"type": "string"}))
async def completions() -> None:
    """A completion."""
    raise _unreachable()


@router.post("/v1/embeddings", openapi_extra=_body(["model", "input"], model=MODEL, input={"type": "string"}))
async def embeddings() -> None:
    """Embeddings."""
    raise _unreachable()


@router.post("/v1/invoke", openapi_extra=_body(["model", "input"], model=MODEL, input={"type": "object"}))
async def invoke() -> None:
    """Named values in, named values out, whatever the model speaks."""
    raise _unreachable()


@router.post("/v2/models/{name}/infer", openapi_extra=_body(["inputs"], inputs={"type": "array"}))
async def infer(name: str) -> None:
    """An Open Inference Protocol v2 inference, with JSON or binary tensors."""
    raise _unreachable()


def _unreachable() -> Refusal:
    return Refusal(503, "starting", "this gateway is starting", retry_after=1)
