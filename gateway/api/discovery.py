"""Discovery: which models can do a task, what they would cost, and, when none can, what is missing.

Candidates come back priced for the meters the consumer expects, ranked by effective price: what is asked, over measured
quality, raised when late. Nothing a document declares of itself moves its rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.call import referrals
from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.context import Gateway
from gateway.payment.auth import Caller
from ledger.core.pricing import routing
from ledger.core.pricing.promotion import Slot
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values import meters
from ledger.core.values.atoms import parse
from ledger.core.values.ids import Address, cid, to_hex
from ledger.core.values.meters import Units


async def discover(
    gateway: Gateway, wanted: Mapping[str, Any], caller: Caller | None, surface: Address, now: int
) -> dict[str, Any]:
    """Answer a discovery request that fits its schema: sponsored rows first, at most three and labelled, then all rows
    by effective price. A slot shown to a known caller is remembered: its first paid call within a day is the sale.
    """
    catalog = gateway.catalog
    units = meters.units(wanted["meters"]) if wanted.get("meters") else TYPICAL_CALL
    limit = parse(wanted["max_price"], "max_price") if "max_price" in wanted else None
    found, missed = [], []
    for entry in catalog.models():
        lacking = misses(entry, wanted)
        if lacking:
            missed.append((len(lacking), entry.name, lacking))
            continue
        best = _best(entry, wanted, units)
        if best is None:
            missed.append((1, entry.name, ["a provider within tiers, realm and latency"]))
        elif limit is not None and best[1] > limit:
            missed.append((1, entry.name, [f"a price of at most {limit}: it costs {best[1]}"]))
        else:
            found.append((best[0], entry, best[1], best[2]))
    found.sort(key=lambda row: (row[0], row[1].name))
    rows = [_row(entry, price, score, candidate) for score, entry, price, candidate in found[: wanted.get("limit", 10)]]
    if wanted.get("sponsored", True):
        open_to = {
            e.id: (e, score) for score, e, _, _ in found if e.sponsorship and wanted["task"] in e.sponsorship.slot_tasks
        }
        shown = {slot.subject: slot for slot in await referrals.loader(gateway, open_to, caller, now)}
        byid = {entry.id: (score, entry, price, one) for score, entry, price, one in found}
        for slot in shown.values():
            if caller is not None:
                gateway.referral_state.show(caller.consumer, slot, surface, now)
        rows = [_sponsored(*byid[subject], slot) for subject, slot in shown.items()] + rows
    answer: dict[str, Any] = {"epoch": catalog.epoch, "book_root": to_hex(catalog.book_root), "results": rows}
    if not rows:
        answer["diagnostic"] = _diagnostic(catalog, wanted, sorted(missed)[:3])
    return answer


def misses(entry: ModelEntry, wanted: Mapping[str, Any]) -> list[str]:
    """What a model lacks of what is wanted; nothing: it can do it."""
    lacking = []
    capabilities = [
        one for one in entry.model.document["capabilities"] if one["task"] == wanted.get("task", one["task"])
    ]
    if not capabilities:
        return [f"the task {wanted['task']}"]
    for name in ("languages", "input_modes", "output_modes", "features"):
        asked = set(wanted.get(name, ()))
        if asked and not any(asked <= set(one.get(name, ())) for one in capabilities):
            lacking.append(f"{name} {', '.join(sorted(asked))}")
    document = entry.model.document
    required = set(wanted.get("require", ()))
    if "bitexact" in required and document["execution"]["determinism"] != "bitexact":
        lacking.append("bitexact execution")
    if "open-weights" in required and document["kind"] != "weights":
        lacking.append("open weights")
    lacking += sorted(required & {"attested-evals", "tee"})
    if not entry.candidates:
        lacking.append(f"a provider ({entry.why})")
    return lacking


def _best(entry: ModelEntry, wanted: Mapping[str, Any], units: Units) -> tuple[int, int, Candidate] | None:
    """The least effective price among a model's fitting candidates: score, price, candidate."""
    tiers, realm = set(wanted.get("tiers", ())), wanted.get("realm", "")
    rows = []
    for candidate in entry.candidates:
        latency = candidate.health.latency_ms or candidate.slo_ms
        if (tiers and candidate.tier not in tiers) or candidate.realm != realm:
            continue
        if "edge" in tiers and candidate.tier == "edge" and candidate.health.near is None:
            continue
        if "max_latency_ms" in wanted and latency > wanted["max_latency_ms"]:
            continue
        price, _ = candidate.tariff.price(units)
        health = candidate.health
        seen = routing.Candidate(price, health.quality_ppm, health.latency_ms, candidate.slo_ms, candidate.capacity)
        rows.append((routing.effective_price(seen), price, candidate))
    return min(rows, key=lambda row: (row[0], row[2].provider), default=None)


def _row(entry: ModelEntry, price: int, score: int, candidate: Candidate) -> dict[str, Any]:
    return {
        "subject": cid(entry.id),
        "name": entry.name,
        "price": str(price),
        "score": score,
        "tier": candidate.tier,
        "latency_ms": candidate.health.latency_ms or candidate.slo_ms,
        "near_ms": candidate.health.near if candidate.health.round_trip_ms else None,
        "quality_ppm": candidate.health.quality_ppm,
        "declared": {"capabilities": entry.model.document["capabilities"]},
        "sponsored": False,
    }


def _sponsored(score: int, entry: ModelEntry, price: int, candidate: Candidate, slot: Slot) -> dict[str, Any]:
    """A sponsored row: the same facts, labelled, with what its sponsor pays if it sells."""
    return _row(entry, price, score, candidate) | {"sponsored": True, "promo_second_price": str(slot.price)}


def _diagnostic(
    catalog: Catalog, wanted: Mapping[str, Any], nearest: list[tuple[int, str, list[str]]]
) -> dict[str, Any]:
    tasks = sorted({task for entry in catalog.models() for task in entry.model.tasks})
    return {
        "message": "nothing here can do this",
        "required": dict(wanted),
        "tasks_here": tasks,
        "nearest": [{"name": name, "lacks": lacking} for _, name, lacking in nearest],
    }
