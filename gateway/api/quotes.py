"""Quotes: what a call costs now, line by line, signed by the gateway."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.api.schemas.openapi import fields, schema
from gateway.call import routing
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, ModelEntry
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.workflow import plan as planning
from gateway.workflow.plan import Plan, PlannedStep, Scope
from ledger.core.pricing import eligibility
from ledger.core.pricing.eligibility import RoutePreferences
from ledger.core.pricing.price import Tariff
from ledger.core.pricing.workflows import Status
from ledger.core.values import documents, meters
from ledger.core.values.atoms import Atoms
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, cid, did, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import offer_hash, signing_digest

LASTS_SECONDS = 60
WANTED = schema("discover", "request")["properties"]
SCHEMA = fields(
    {"model": {"type": "string"}},
    **{name: WANTED[name] for name in ("meters", "max_price", "tiers", "near_ms", "nearest_from")},
)
FIELDS = frozenset(SCHEMA["properties"])


async def quote(gateway: Gateway, catalog: Catalog, wanted: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Answer {"model", "meters"?, "max_price"?, "tiers"?, "near_ms"?, "nearest_from"?} with a signed quote of a route
    drawn for it, of what there is in a catalog.
    """
    unknown = sorted(wanted.keys() - FIELDS)
    if unknown:
        raise Refusal(400, "rejected", f"unknown field {unknown[0]!r}", param=unknown[0])
    name, expected = wanted.get("model"), wanted.get("meters", {"call": 1})
    if not isinstance(name, str) or not isinstance(expected, dict):
        raise Refusal(400, "invalid_request", "a quote needs `model`, and `meters` by name", param="model")
    units = meters.units(expected)
    preferences = routing.preferences_in(wanted, catalog.realm)
    entry = catalog.find(name)
    if isinstance(entry, CapsuleEntry):
        scope = Scope(gateway, catalog, preferences)
        await planning.fetch_glue(scope, entry)
        plan = planning.plan(scope, entry, None, 0)
        parts = of_workflow(gateway, plan, units)
        planning.check_price(entry, int(parts["hold"]), preferences)
    else:
        parts = _model(gateway, entry, units, preferences, now)
    return _signed(gateway, entry, parts, now)


def _model(
    gateway: Gateway, entry: ModelEntry, units: Units, preferences: RoutePreferences, now: int
) -> dict[str, Any]:
    candidates = routing.eligible(entry, preferences, units)
    seed = keccak256(b"quote", entry.id, now.to_bytes(8, "big"))
    draw = routing.draw_for(gateway.catalog, gateway.settings, seed, None)
    draw = draw._replace(nearest=preferences.prefers_nearest(units.input_token))
    drawn = next(routing.order(candidates, units, draw), None)
    if drawn is None:
        raise Refusal(503, "no_capacity", f"no provider of {entry.name} has capacity", retry_after=1)
    price, _ = drawn.tariff.price(units)
    hold = drawn.tariff.hold(units)
    return {"price": str(price), "hold": str(hold), "lines": lines(gateway, drawn.tariff, units, 0), "subs": []}


def of_workflow(gateway: Gateway, plan: Plan, units: Units) -> dict[str, Any]:
    """Every step that runs, at these meters. A step that nobody can serve now fails, and what follows from it is as in
    a run: its fallback is quoted, it is skipped, or the workflow is refused.
    """
    rows, refusals = {}, plan.refusals
    for name in [name for name, planned in plan.steps.items() if planned.step.paid and name not in refusals]:
        try:
            rows[name] = _step(gateway, plan.steps[name], units, plan.preferences)
        except Refusal as refused:
            refusals[name] = refused
    outcomes = planning.check_served(plan.entry, refusals)
    subs = [row for name, row in rows.items() if outcomes[name].status is Status.ok]
    subcall_total = sum(int(sub["price"]) for sub in subs)
    price, _ = plan.tariff.price(units, subcall_total)
    own = lines(gateway, plan.tariff, units, subcall_total)
    own += [
        {"id": f"sub:{n}:{s['step']}", "party": "(pass-through)", "role": "sub", "ratio_ppm": 0, "fixed": s["price"],
         "amount": s["price"]}
        for n, s in enumerate(subs)
    ]  # fmt: skip
    return {"price": str(price), "hold": str(max(plan.price, price)), "lines": own, "subs": subs}


def _step(gateway: Gateway, planned: PlannedStep, units: Units, preferences: RoutePreferences) -> dict[str, Any]:
    """One step, by the cheapest provider that serves it now, of the nearest if the consumer prefers those. Its output
    is shortened to its author's largest price.
    """
    name = planned.step.id
    if planned.plan is not None:
        part = of_workflow(gateway, planned.plan, units)
        found = {"step": name, "subject": cid(planned.plan.entry.id)}
        return {**found, **{key: part[key] for key in ("price", "lines", "subs")}}
    most, candidates = planning.serving(planned, units, planned.step.max_price)
    nearest = preferences.prefers_nearest(most.input_token)

    def rank(one: Candidate) -> tuple[tuple[int, int], Atoms, Address]:
        return eligibility.distance(one, nearest=nearest), one.inner.price(most)[0], one.provider

    best = min(candidates, key=rank)
    price, _ = best.inner.price(most)
    row = {"step": name, "subject": cid(best.subject), "provider": to_hex(best.provider), "price": str(price)}
    return {**row, "lines": lines(gateway, best.inner, most, 0), "subs": []}


def lines(gateway: Gateway, tariff: Tariff, units: Units, subcall_total: int) -> list[dict[str, Any]]:
    """The payment of each line of the terms for these units."""
    claims, amounts = tariff.claims(units), tariff.charge(units, subcall_total).amounts
    return [
        {
            "id": f"{line.role.name}:{place}",
            "party": did(gateway.domain.chain_id, line.party),
            "role": line.role.name,
            "ratio_ppm": claim.ratio_ppm,
            "fixed": str(claim.fixed),
            "amount": str(amount),
        }
        for place, (line, claim, amount) in enumerate(zip(tariff.terms.lines, claims, amounts, strict=False))
    ]


def _signed(gateway: Gateway, entry: ModelEntry | CapsuleEntry, parts: dict[str, Any], now: int) -> dict[str, Any]:
    expires = datetime.fromtimestamp(now // 1000 + LASTS_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    listed = isinstance(entry, CapsuleEntry) and entry.capsule.list_price is not None
    body = {
        "schema": "tollway/quote/1",
        "subject": cid(entry.id),
        "mode": "listed" if listed else "composed",
        **parts,
        "epoch": gateway.catalog.epoch,
        "book_root": to_hex(gateway.catalog.book_root),
        "route_seed": to_hex(gateway.catalog.book_root),
        "expires_at": expires,
        "gateway": did(gateway.domain.chain_id, gateway.signer.address),
    }
    digest = signing_digest(gateway.domain, offer_hash(documents.digest(body)))
    return {**body, "signature": to_hex(gateway.signer.sign(digest))}
