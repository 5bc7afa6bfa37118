"""GET /health, GET /metrics, and what is wrong with the lane, for its operator."""

from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlmodel import Session

from gateway.api.dependencies import Asking, Here
from gateway.api.schemas import answers
from gateway.api.schemas.openapi import Typed, of_types, unwell
from gateway.catalog.catalog import ModelEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import require
from ledger.core.accounts.permissions import Act, Subject
from ledger.core.pricing import eligibility
from ledger.core.settlement.troubles import Facts, find, remedy_of
from ledger.core.values.ids import to_hex
from ledger.store.settlement import alarms, troubles
from ledger.store.settlement.alarms import Alarm

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


@router.get("/v1/alarms", response_model=answers.Alarms)
async def list_alarms(gateway: Here, caller: Asking) -> dict[str, Any]:
    """What is wrong with the lane now, with what helps: as `tollway operator alarms`, but for what only the chain can
    say. Only for the lane's operator: by its signature, or a key of it with `manage`. Alarms name accounts.
    """
    require(caller, Act.read_account, Subject(gateway.operator))

    def read(session: Session) -> tuple[list[Alarm], Facts]:
        return alarms.active(session, gateway.lane), troubles.read(session, gateway.lane, gateway.batch_ms, now_ms())

    active, facts = await gateway.aside(read)
    rows = [asdict(one) | {"account": None, "receipt": None} for one in find(_with_stake(gateway, facts))]
    return {
        "object": "list",
        "data": [
            {"name": one.law, "message": one.message, "account": one.account, "receipt": one.receipt}
            | {"remedy": remedy_of(one.law)}
            for one in active
        ]
        + rows,
        "unposted_ms": facts.unposted,
        "unbatched_ms": facts.unbatched,
        "uncommitted_ms": facts.uncommitted,
        "indexed_ms": facts.indexed,
        "questions": facts.questions,
        "gateways": [{"gateway": to_hex(key), "seen_ms": age} for key, age in facts.silent],
    }


def _with_stake(gateway: Gateway, facts: Facts) -> Facts:
    return replace(facts, stake=gateway.lane_state.at_stake)


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
