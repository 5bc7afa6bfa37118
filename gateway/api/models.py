"""The list of models in OpenAI's and OpenRouter's format, with Tollway's facts; exports in the formats of others."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from gateway.api.dependencies import Here, Seen
from gateway.api.representations import shown_terms
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import MAX_INT, Format
from gateway.api.schemas.openapi import Typed
from gateway.catalog import exports, prices
from gateway.catalog.catalog import CapsuleEntry, Entry
from gateway.catalog.exports import Listing
from gateway.workflow import plan as planning
from gateway.workflow.plan import Scope
from ledger.core.catalog.protocols import Protocol
from ledger.core.values.ids import cid, did, to_hex

router = APIRouter(prefix="/v1", tags=["models"], route_class=Typed)

Offset = Annotated[int, Query(ge=0, le=MAX_INT, description="models to leave out at the beginning")]
Limit = Annotated[int | None, Query(ge=1, le=MAX_INT, description="the most models of an answer; absent: all")]


@router.get("/models", response_model=answers.Models)
async def list_models(
    gateway: Here, catalog: Seen, all: bool = False, offset: Offset = 0, limit: Limit = None
) -> dict[str, Any]:
    """Every model and workflow that can be called now. With `all`, also those that cannot be, and why.

    OpenRouter's clients read it, too: `pricing` has its names beside our meters. By a meter's name it is atoms for the
    meter's scale, by OpenRouter's the settlement token's price of one unit (`currency`): it is not in US dollars.

    With `Tollway-Realm` and credentials of a member: what can be called in that realm.
    """
    scope = planning.anywhere(gateway, catalog)
    why = {one.id: planning.why_not(scope, one) for one in catalog.by_id.values()}
    entries = sorted((one for one in catalog.by_id.values() if all or not why[one.id]), key=lambda one: one.name)
    end = len(entries) if limit is None else offset + limit
    following = f"/v1/models?offset={end}&limit={limit}{'&all=true' * all}" if end < len(entries) else None
    rows = [shown(scope, one, why[one.id]) for one in entries[offset:end]]
    return {"object": "list", "data": rows, "total_count": len(entries), "links": {"next": following}}


@router.get("/models/{name:path}/exports/{format}")
async def export(name: str, format: Format, request: Request, gateway: Here, catalog: Seen) -> dict[str, Any]:
    """One model or workflow for those who read another format: an A2A agent card, an ERC-8004 registration file, a
    KServe InferenceService, or an MCP tool. It names this gateway's routes, and prices of now.

    What a realm has is exported to its members alone.
    """
    scope, entry = planning.anywhere(gateway, catalog), catalog.find(name)
    one = published(scope, entry, ready=not planning.why_not(scope, entry))
    return dict(exports.export(one, gateway.place(request.headers.get("host", ""), catalog.realm), format))


@router.get("/models/{name:path}", response_model=answers.Model)
async def show_model(name: str, gateway: Here, catalog: Seen) -> dict[str, Any]:
    """One model or workflow by name or CID, and why it cannot be called, if so."""
    scope, entry = planning.anywhere(gateway, catalog), catalog.find(name)
    return shown(scope, entry, planning.why_not(scope, entry))


def shown(scope: Scope, entry: Entry, why: str) -> dict[str, Any]:
    """An entry in OpenAI's format, with Tollway's facts added. One that cannot be called now is not `ready`, and `why`
    says the reason. Each provider's price and speed are its own, and `since` when (ms) it has offered the model without
    a break; the model's price is that of one that can be called.
    """
    row: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": entry.published_at // 1000,
        "cid": cid(entry.id),
        "version": entry.version,
        "ready": not why,
    }
    if isinstance(entry, CapsuleEntry):
        interface = entry.capsule.document.get("interface", {}).get("protocol", Protocol.chat)
        row |= {"owned_by": to_hex(entry.owner), "kind": "capsule", "protocols": [interface]}
        row["steps"] = list(entry.capsule.steps)
        if entry.tariff is not None:
            row["terms"] = shown_terms(entry.tariff.terms)
    else:
        row |= {"owned_by": to_hex(entry.owner), "kind": entry.model.kind, "protocols": sorted(entry.protocols)}
        row |= {"context_length": entry.context_tokens, "tasks": sorted(entry.model.tasks)}
        row |= {"size_bytes": entry.model.size_bytes, "memory_mb": entry.model.memory_mb}
        row["providers"] = [
            {
                "provider": to_hex(c.provider),
                "ready": c.health.usable,
                "tier": c.tier,
                "since": c.since,
                "pricing": _in_json(prices.of_terms(c.tariff)),
                "capacity": c.capacity,
                "quality_ppm": c.health.measured_ppm,
                "latency_ms": c.health.latency_ms or None,
                "round_trip_ms": c.health.round_trip_ms,
                "calls": c.health.calls,
                "errors": c.health.errors,
                "refusals": c.health.refusals,
                "terms": to_hex(c.tariff.id),
            }
            for c in entry.candidates
        ]
    sponsorship = entry.sponsorship
    if sponsorship is not None and sponsorship.offer_ppm:
        offered = {"offer_ppm": sponsorship.offer_ppm, "window_calls": sponsorship.window_calls}
        row["curation"] = {"sponsor": to_hex(sponsorship.party), "role": sponsorship.role.name, **offered}
    if why:
        row["why"] = why
    one = published(scope, entry, ready=not why)
    row["pricing"] = _in_json(one.prices or {}) | exports.openrouter_pricing(one.prices, one.currency)
    row |= exports.openrouter(one)
    return row


def published(scope: Scope, entry: Entry, *, ready: bool) -> Listing:
    """A model or workflow as it is exported."""
    if isinstance(entry, CapsuleEntry):
        document, protocols, context = entry.capsule.document, frozenset((Protocol.chat,)), None
    else:
        document, protocols, context = entry.model.document, entry.protocols, entry.context_tokens
    owner = did(scope.gateway.domain.chain_id, entry.owner)
    facts = (document, protocols, context, ready, prices.of_entry(entry), scope.gateway.currency)
    return Listing(entry.id, entry.name, owner, *facts)


def _in_json(said: prices.Prices) -> dict[str, str]:
    """Prices by the names of meters."""
    return {meter.name: str(price) for meter, price in said.items()}
