"""Is it alive, can it charge, what has it counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.api.requests import Here
from ledger.core.values.ids import to_hex

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(gateway: Here) -> JSONResponse:
    """200 while calls can be charged, with what to look at; 503 otherwise."""
    good = gateway.receipt_log.healthy and not gateway.draining
    body: dict[str, Any] = {
        "status": "ok" if good else "draining" if gateway.draining else "journal_down",
        "lane": gateway.lane,
        "signer": to_hex(gateway.signer.address),
        "epoch": gateway.catalog.epoch,
        "models": len(gateway.catalog.models()),
        "workflows": len(gateway.catalog.capsules()),
        "open_calls": gateway.open_calls,
    }
    return JSONResponse(body, 200 if good else 503)


@router.get("/metrics")
async def metrics(gateway: Here) -> Response:
    """Prometheus' text format."""
    m = gateway.metrics
    m.open_calls.set(gateway.open_calls)
    m.held.set(gateway.leases.outstanding())
    m.receipt_log_groups.set(gateway.receipt_log.groups)
    m.receipt_log_receipts.set(gateway.receipt_log.written)
    m.receipt_log_up.set(int(gateway.receipt_log.healthy))
    return Response(generate_latest(m.registry), media_type=CONTENT_TYPE_LATEST)
