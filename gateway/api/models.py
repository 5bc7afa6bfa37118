"""The list of models in OpenAI's format, with Tollway's facts added."""

from typing import Any

from fastapi import APIRouter

from gateway.api.dependencies import Here, Seen
from gateway.api.representations import shown_terms
from gateway.catalog.catalog import CapsuleEntry, Entry
from gateway.workflow import plan as planning
from gateway.workflow.plan import Scope
from ledger.core.pricing import eligibility
from ledger.core.pricing.price import Tariff
from ledger.core.values.ids import Digest, cid, to_hex
from ledger.core.values.meters import Meter, by_meter

router = APIRouter(prefix="/v1", tags=["models"])

MOST_PRICED = 10_000
_priced: dict[Digest, dict[str, str]] = {}
"""The prices of terms, by their id: they never change."""


@router.get("/models")
async def list_models(gateway: Here, catalog: Seen, all: bool = False) -> dict[str, Any]:
    """Every model and workflow that can be called now. With `all`, also those that cannot be, and why.

    With `Tollway-Realm` and credentials of a member: what can be called in that realm.
    """
    scope = planning.anywhere(gateway, catalog)
    rows = [shown(scope, entry) for entry in catalog.by_id.values()]
    listed = [row for row in rows if all or row["ready"]]
    return {"object": "list", "data": sorted(listed, key=lambda row: str(row["id"]))}


@router.get("/models/{name:path}")
async def show_model(name: str, gateway: Here, catalog: Seen) -> dict[str, Any]:
    """One model or workflow by name or CID, and why it cannot be called, if so."""
    return shown(planning.anywhere(gateway, catalog), catalog.find(name))


def shown(scope: Scope, entry: Entry) -> dict[str, Any]:
    """An entry in OpenAI's format, with Tollway's facts added. Each provider's price and speed are its own, and `since`
    when (ms) it has offered the model without a break. One that cannot be called now is not `ready`; the model's price
    is that of one that can.
    """
    why = planning.why_not(scope, entry)
    row: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": 0,
        "cid": cid(entry.id),
        "version": (entry.capsule if isinstance(entry, CapsuleEntry) else entry.model).document["version"],
        "ready": not why,
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
        row["providers"] = [
            {
                "provider": to_hex(c.provider),
                "ready": c.health.usable,
                "tier": c.tier,
                "since": c.since,
                "pricing": pricing(c.tariff),
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
        if not why:
            row["pricing"] = pricing(eligibility.alive(entry.candidates)[0].tariff)
    sponsorship = entry.sponsorship
    if sponsorship is not None and sponsorship.offer_ppm:
        offered = {"offer_ppm": sponsorship.offer_ppm, "window_calls": sponsorship.window_calls}
        row["curation"] = {"sponsor": to_hex(sponsorship.party), "role": sponsorship.role.name, **offered}
    if why:
        row["why"] = why
    return row


def pricing(tariff: Tariff) -> dict[str, str]:
    """The price of one scale of each meter by itself, in atoms: a million tokens, a second, a gigabyte."""
    known = _priced.get(tariff.id)
    if known is None:
        if len(_priced) >= MOST_PRICED:
            _priced.clear()
        known = _priced[tariff.id] = _pricing(tariff)
    return known


def _pricing(tariff: Tariff) -> dict[str, str]:
    return {meter.name: str(tariff.price(by_meter({meter: meter.scale}))[0]) for meter in Meter}
