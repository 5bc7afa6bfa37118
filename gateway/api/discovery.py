"""Discovery: which models can do a task and what they would cost; when none can, what is missing.

Models are priced for the meters the consumer expects, and ranked by effective price: the price over measured quality,
raised when late. What a document declares of itself moves no rank.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.call.routing import as_seen, preferences_in
from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.context import Gateway
from gateway.payment.auth import Caller
from ledger.core.pricing import eligibility, routing
from ledger.core.pricing.eligibility import AboveLimit, AllPaused, NoneFits, RoutePreferences
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values import meters
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, cid, to_hex
from ledger.core.values.meters import Units


class Match(NamedTuple):
    """A model that can do what is wanted, with its best provider and that one's distance, effective price and price."""

    distance: tuple[int, int]
    score: Atoms
    entry: ModelEntry
    price: Atoms
    candidate: Candidate


async def discover(
    gateway: Gateway, catalog: Catalog, wanted: Mapping[str, Any], caller: Caller | None, surface: Address, now: int
) -> dict[str, Any]:
    """Answer a discovery request that fits its schema: at most three sponsored rows, labelled, then all by rank.

    A slot shown to a known caller is remembered: its first paid call within a day pays for the slot.
    """
    units = meters.units(wanted["meters"]) if wanted.get("meters") else TYPICAL_CALL
    preferences = preferences_in(wanted, catalog.realm)
    found: list[Match] = []
    missed: list[tuple[int, str, list[str]]] = []
    for entry in catalog.models():
        match = find(entry, wanted, preferences, units)
        if isinstance(match, Match):
            found.append(match)
        else:
            missed.append((len(match), entry.name, match))
    found.sort(key=lambda match: (match.distance, match.score, match.entry.name))
    rows = [_row(match) for match in found[: wanted.get("limit", 10)]]
    if wanted.get("sponsored", True):
        by_id = {match.entry.id: match for match in found}
        scored = [(match.entry, match.score) for match in found]
        slots = await gateway.referrals.auction(scored, wanted["task"], caller.consumer if caller else None, now)
        for slot in slots:
            if caller is not None:
                gateway.referrals.show(caller.consumer, slot, surface, now)
        sold = [(by_id[slot.subject], {"sponsored": True, "promo_second_price": str(slot.price)}) for slot in slots]
        rows = [_row(match) | label for match, label in sold] + rows
    answer: dict[str, Any] = {"epoch": catalog.epoch, "book_root": to_hex(catalog.book_root), "results": rows}
    if not rows:
        answer["diagnostic"] = {
            "message": "nothing here can do this",
            "required": dict(wanted),
            "tasks_here": sorted({task for entry in catalog.models() for task in entry.model.tasks}),
            "nearest": [{"name": name, "lacks": lacking} for _, name, lacking in sorted(missed)[:3]],
        }
    return answer


def find(
    entry: ModelEntry, wanted: Mapping[str, Any], preferences: RoutePreferences, units: Units
) -> Match | list[str]:
    """A model's provider of the least effective price among those that routing would use, of the nearest if those are
    preferred; else what the model lacks.
    """
    lacking = eligibility.lacking(entry.model, wanted)
    if not entry.candidates:
        lacking.append(f"a provider ({entry.why})")
    if lacking:
        return lacking

    def price(candidate: Candidate) -> Atoms:
        return candidate.tariff.price(units)[0]

    try:
        fitting = eligibility.eligible(entry.candidates, preferences, price)
    except NoneFits:
        return ["a provider within tiers and latency"]
    except AboveLimit as above:
        return [f"a price of at most {above.limit}: it costs {above.least}"]
    except AllPaused:
        return ["a provider that did not fail lately"]
    nearest = preferences.prefers_nearest(units.input_token)

    def match(one: Candidate) -> Match:
        effective = routing.effective_price(as_seen(one, price(one)))
        return Match(eligibility.distance(one, nearest=nearest), effective, entry, price(one), one)

    return min(map(match, fitting), key=lambda match: (match.distance, match.score, match.candidate.provider))


def _row(match: Match) -> dict[str, Any]:
    entry, candidate = match.entry, match.candidate
    return {
        "subject": cid(entry.id),
        "name": entry.name,
        "price": str(match.price),
        "score": match.score,
        "tier": candidate.tier,
        "latency_ms": eligibility.expected_latency(candidate),
        "near_ms": candidate.health.near if candidate.health.round_trip_ms else None,
        "quality_ppm": candidate.health.quality_ppm,
        "size_bytes": entry.model.size_bytes,
        "memory_mb": entry.model.memory_mb,
        "declared": {"capabilities": entry.model.document["capabilities"]},
        "sponsored": False,
    }
