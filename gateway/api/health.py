"""GET /health and GET /metrics."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.api.dependencies import Here
from gateway.api.schemas import answers
from gateway.api.schemas.openapi import Typed, of_types, unwell
from gateway.catalog.catalog import ModelEntry
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.pricing import eligibility
from ledger.core.values.ids import to_hex

router = APIRouter(tags=["health"], route_class=Typed)


@router.get("/health", response_model=answers.Health, responses=unwell(answers.Health))
async def health(gateway: Here) -> JSONResponse:
    """200 while calls can be charged, else 503; the body says more."""
    refused, stake = gateway.refusal(), gateway.lane_state.at_stake
    good = gateway.receipt_log.healthy and not gateway.draining and refused is None
    models = len(gateway.catalog.models())
    body: dict[str, Any] = {
        "status": _status(gateway, refused),
        "reason": refused.message if refused is not None else None,
        "lane": to_hex(gateway.lane),
        "signer": to_hex(gateway.signer.address),
        "epoch": gateway.catalog.epoch,
        "models": models,
        "workflows": len(gateway.catalog.by_id) - models,
        "open_calls": gateway.open_calls,
        "at_stake": {"charged": str(stake.charged), "leased": str(stake.leased), "limit": str(stake.limit)},
        "bond": "reached" if stake.is_reached else "nearly_reached" if stake.is_near else "ok",
    }
    return JSONResponse(body, 200 if good else 503)


def _status(gateway: Gateway, refused: Refusal | None) -> str:
    if gateway.draining:
        return "draining"
    if not gateway.receipt_log.healthy:
        return "receipt_log_down"
    return refused.code if refused is not None else "ok"


@router.get("/metrics", response_class=Response, responses=of_types("text/plain"))
async def metrics(gateway: Here) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    return Response(await gateway.metrics.text(lambda: _measure(gateway)), media_type=CONTENT_TYPE_LATEST)


def _measure(gateway: Gateway) -> None:
    """Set the gauges that show the gateway as it is now."""
    gauges = gateway.metrics
    gauges.open_calls.set(gateway.open_calls)
    gauges.held.set(gateway.leases.outstanding())
    gauges.receipt_log_groups, gauges.receipt_log_delay = gateway.receipt_log.groups, gateway.receipt_log.delays
    gauges.receipt_log_up.set(int(gateway.receipt_log.healthy))
    called = {name: gateway.catalog.by_name.get(name) for name in gauges.models.known}
    gauges.show_providers({name: _usable(entry) for name, entry in called.items() if isinstance(entry, ModelEntry)})


def _usable(entry: ModelEntry) -> int:
    """Its providers that can be called now."""
    return len(eligibility.alive(entry.candidates))
