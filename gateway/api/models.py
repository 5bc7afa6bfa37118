"""The list of models in OpenAI's format, with Tollway's facts added."""

from typing import Any

from fastapi import APIRouter

from gateway.api.dependencies import Seen
from gateway.api.representations import shown_terms
from gateway.catalog.catalog import CapsuleEntry, Entry
from ledger.core.pricing.price import Tariff
from ledger.core.values.ids import cid, to_hex
from ledger.core.values.meters import Meter, by_meter

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models")
async def list_models(catalog: Seen, all: bool = False) -> dict[str, Any]:
    """Every model and workflow that can be called now. With `all`, also those that cannot be, and why.

    With `Tollway-Realm` and credentials of a member: what can be called in that realm.
    """
    rows = [shown(entry) for entry in catalog.by_id.values() if all or ready(entry)]
    return {"object": "list", "data": sorted(rows, key=lambda row: str(row["id"]))}


@router.get("/models/{name:path}")
async def show_model(name: str, catalog: Seen) -> dict[str, Any]:
    """One model or workflow by name or CID, and why it cannot be called, if so."""
    return shown(catalog.find(name))


def ready(entry: Entry) -> bool:
    return entry.tariff is not None if isinstance(entry, CapsuleEntry) else bool(entry.candidates)


def shown(entry: Entry) -> dict[str, Any]:
    """An entry in OpenAI's format, with Tollway's facts added."""
    row: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": 0,
        "cid": cid(entry.id),
        "version": (entry.capsule if isinstance(entry, CapsuleEntry) else entry.model).document["version"],
        "ready": ready(entry),
    }
    if isinstance(entry, CapsuleEntry):
        interface = entry.capsule.document.get("interface", {}).get("protocol", "openai.chat/1")
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
                "tier": c.tier,
                "capacity": c.capacity,
                "quality_ppm": c.health.quality_ppm,
                "latency_ms": c.health.latency_ms,
                "round_trip_ms": c.health.round_trip_ms,
                "calls": c.health.calls,
                "errors": c.health.errors,
                "refusals": c.health.refusals,
                "terms": to_hex(c.tariff.id),
            }
            for c in entry.candidates
        ]
        if ready(entry):
            row["pricing"] = pricing(entry.candidates[0].tariff)
    sponsorship = entry.sponsorship
    if sponsorship is not None and sponsorship.offer_ppm:
        offered = {"offer_ppm": sponsorship.offer_ppm, "window_calls": sponsorship.window_calls}
        row["curation"] = {"sponsor": to_hex(sponsorship.party), "role": sponsorship.role.name, **offered}
    if entry.why:
        row["why"] = entry.why
    return row


def pricing(tariff: Tariff) -> dict[str, str]:
    """The price of one scale of each meter by itself, in atoms: a million tokens, a second, a gigabyte."""
    return {meter.name: str(tariff.price(by_meter({meter: meter.scale}))[0]) for meter in Meter}
