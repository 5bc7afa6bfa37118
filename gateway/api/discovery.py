"""Discovery: which models can do a task and what they would cost; when none can, what is missing.

Models are priced for the meters the consumer expects, and ranked by effective price: the price over measured quality,
raised when late. What is not measured yet counts as good, and is null. What a document declares of itself moves no
rank. Above them stand the sponsored slots, labelled: of models that were found, and of workflows whose weaver ordered
one for the task. Who finds nothing is told the tasks that exist, and what models of this one lack.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.api import quotes
from gateway.call.routing import as_seen, preferences_in
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from gateway.workflow import plan as planning
from gateway.workflow.plan import Plan, Scope
from ledger.core.catalog.bids import Role, Terms
from ledger.core.pricing import eligibility, promotion, routing, sponsors
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.eligibility import AboveLimit, AllPaused, NoneFits, RoutePreferences
from ledger.core.pricing.promotion import Bidder
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values import meters
from ledger.core.values.atoms import PPM, Atoms, Ppm, ceil_div
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, cid, to_hex
from ledger.core.values.meters import Units


class Match(NamedTuple):
    """A model that can do what is wanted, with its best provider and that one's distance, effective price and price.
    `fitting` are all that routing would draw from.
    """

    distance: tuple[int, int]
    score: Atoms
    entry: ModelEntry
    price: Atoms
    candidate: Candidate
    fitting: tuple[Candidate, ...]


class Promoted(NamedTuple):
    """What a slot would show, what its sponsors would have of the call, and of a model who may serve it."""

    entry: Entry
    row: dict[str, Any]
    score: Atoms
    quality_ppm: Ppm
    terms: Terms
    amounts: Sequence[Atoms]
    fitting: tuple[Candidate, ...] = ()


MAX_WORKFLOWS = 16
"""Workflows that are priced for the slots of one answer, those with the highest bids: everybody can publish them."""
TASKS_TOLD = 64
"""Tasks that are told of when nothing here can do the one that was asked for."""
UNDECLARED = ("languages", "input_modes", "output_modes", "features", "require", "max_latency_ms", "max_memory_mb")
"""What a workflow declares nothing of: who asks for one of these is not shown it."""


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
        elif wanted["task"] in entry.model.tasks:
            missed.append((len(match), entry.name, match))
    found.sort(key=lambda match: (match.distance, match.score, match.entry.name))
    rows = [_row(match) for match in found[: wanted.get("limit", 10)]]
    if wanted.get("sponsored", True):
        scope = Scope(gateway, catalog, preferences)
        workflows = await _workflows(scope, wanted, units)
        promoted = [_of_match(one, units) for one in found if _is_ordered(one.entry, wanted["task"])] + workflows
        rows = await _sponsored(gateway, promoted, wanted["task"], units, (caller, surface, now)) + rows
    answer: dict[str, Any] = {"epoch": catalog.epoch, "book_root": to_hex(catalog.book_root), "results": rows}
    if not rows:
        answer["diagnostic"] = {
            "message": "nothing here can do this",
            "required": dict(wanted),
            "tasks_here": _tasks(catalog.models()),
            "nearest": [{"name": name, "lacks": lacking} for _, name, lacking in sorted(missed)[:3]],
        }
    return answer


def _tasks(entries: Sequence[ModelEntry]) -> list[str]:
    """What there is here to do, by name: what somebody serves first, as everybody can publish models."""
    served = {task for entry in entries if entry.candidates for task in entry.model.tasks}
    declared = {task for entry in entries for task in entry.model.tasks}
    return sorted([*sorted(served), *sorted(declared - served)][:TASKS_TOLD])


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
    except AllPaused as paused:
        return [f"a provider ({paused.message})"]
    nearest, all_fitting = preferences.prefers_nearest(units.input_token), tuple(fitting)

    def match(one: Candidate) -> Match:
        effective = routing.effective_price(as_seen(one, one.tariff.hold(units)))  # as it is drawn
        return Match(eligibility.distance(one, nearest=nearest), effective, entry, price(one), one, all_fitting)

    return min(map(match, fitting), key=lambda match: (match.distance, match.score, match.candidate.provider))


def _is_ordered(entry: Entry, task: str) -> bool:
    return any(task in order.slot_tasks for order in entry.orders)


def _of_match(match: Match, units: Units) -> Promoted:
    tariff, health = match.candidate.tariff, (one.health for one in match.fitting)
    quality, amounts = max(one.quality_ppm for one in health), tariff.charge(units).amounts
    return Promoted(match.entry, _row(match), match.score, quality, tariff.terms, amounts, match.fitting)


async def _workflows(scope: Scope, wanted: Mapping[str, Any], units: Units) -> list[Promoted]:
    """The workflows with an order for the task that can be called for what the consumer would pay."""
    if any(wanted.get(name) for name in UNDECLARED):
        return []
    entries = [one for one in scope.catalog.by_id.values() if isinstance(one, CapsuleEntry)]
    ordered = [one for one in entries if _is_ordered(one, wanted["task"])]
    ordered.sort(key=lambda one: (-one.orders[0].slot_bid, one.id))
    found = []
    for entry in ordered[:MAX_WORKFLOWS]:
        try:
            await planning.fetch_glue(scope, entry)
            plan = planning.plan(scope, entry, None, 0)
            parts = quotes.of_workflow(scope.gateway, plan, units)
            planning.check_price(entry, int(parts["price"]), scope.preferences)
        except (Refusal, Rejected):
            continue
        found.append(_of_workflow(entry, plan, parts, units))
    return found


def _of_workflow(entry: CapsuleEntry, plan: Plan, parts: Mapping[str, Any], units: Units) -> Promoted:
    """A workflow is as good as the best provider of its worst step."""
    steps = [planned.candidates for planned in plan.steps.values() if planned.candidates]
    quality = min((max(one.health.quality_ppm for one in able) for able in steps), default=PPM)
    price, subcalls = int(parts["price"]), sum(int(sub["price"]) for sub in parts["subs"])
    score = ceil_div(price * PPM, max(1, quality))
    row = {"subject": cid(entry.id), "name": entry.name, "price": str(price), "score": score, "tier": None}
    shown = quality if all(any(one.health.measured_ppm for one in able) for able in steps) else None
    row |= {"latency_ms": None, "near_ms": None, "quality_ppm": shown, "declared": {"steps": [*entry.capsule.steps]}}
    return Promoted(entry, row, score, quality, plan.tariff.terms, plan.tariff.charge(units, subcalls).amounts)


async def _sponsored(
    gateway: Gateway, promoted: Sequence[Promoted], task: str, units: Units, shown: tuple[Caller | None, Address, int]
) -> list[dict[str, Any]]:
    """The rows of the slots that are sold, labelled, for who looks (`shown`: the caller, the surface, the time)."""
    caller, surface, now = shown
    least = min((one.score for one in promoted), default=0)
    bids = [
        (_bidder(gateway, one, order, units, PPM * (least + 1) // (one.score + 1)), order)
        for one in promoted
        for order in one.entry.orders
        if task in order.slot_tasks
    ]
    by_id = {one.entry.id: one for one in promoted}
    rows = []
    for slot in await gateway.referrals.auction(bids, caller.consumer if caller else None, now):
        one = by_id[slot.subject]
        if caller is not None:
            gateway.referrals.show(caller.consumer, slot, one.entry, surface, now)
        said = {"sponsored": True, "promo_second_price": str(slot.price)}
        rows.append(one.row | said | {"sponsor": to_hex(slot.sponsor), "sponsor_role": slot.role.name})
    return rows


def _bidder(gateway: Gateway, one: Promoted, order: Sponsorship, units: Units, relevance: Ppm) -> Bidder:
    """An order as it bids for this answer. A provider pays out of its own line of the sales that it would serve."""
    terms, amounts, quality, odds = one.terms, one.amounts, one.quality_ppm, PPM
    if order.role is Role.compute:
        seen = [as_seen(each, each.tariff.hold(units)) for each in one.fitting]
        weights = routing.odds(seen, gateway.settings.tau_ppm)
        place = next((n for n, each in enumerate(one.fitting) if each.provider == order.party), None)
        odds = 0 if place is None else PPM * weights[place] // (sum(weights) or 1)
        if place is not None:
            served = one.fitting[place]
            terms, amounts, quality = (
                served.tariff.terms,
                served.tariff.charge(units).amounts,
                served.health.quality_ppm,
            )
    most = promotion.most_of(sponsors.own(order, one.entry.sponsorship, terms, amounts))
    return Bidder(one.entry.id, order.slot_bid, 0, relevance, quality, order.party, order.role, most, odds)


def _row(match: Match) -> dict[str, Any]:
    entry, candidate = match.entry, match.candidate
    return {
        "subject": cid(entry.id),
        "name": entry.name,
        "price": str(match.price),
        "score": match.score,
        "tier": candidate.tier,
        "latency_ms": candidate.health.latency_ms or None,
        "near_ms": candidate.health.near if candidate.health.round_trip_ms else None,
        "quality_ppm": candidate.health.measured_ppm,
        "size_bytes": entry.model.size_bytes,
        "memory_mb": entry.model.memory_mb,
        "declared": {"capabilities": entry.model.document["capabilities"]},
        "sponsored": False,
    }
