"""Quotes: what a call costs now, line by line, signed by the gateway."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.call import routing
from gateway.catalog.catalog import CapsuleEntry, ModelEntry
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.workflow import plan as planning
from gateway.workflow.plan import Plan
from ledger.core.pricing.eligibility import RoutePreferences
from ledger.core.pricing.price import Tariff
from ledger.core.values import documents, meters
from ledger.core.values.atoms import parse
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import cid, did, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import offer_hash, signing_digest

LASTS_SECONDS = 60
FIELDS = frozenset(("model", "meters", "max_price", "tiers", "realm", "near_ms"))


async def quote(gateway: Gateway, wanted: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Answer {"model", "meters"?, "max_price"?, "tiers"?, "realm"?, "near_ms"?} with a signed quote of a route drawn
    for it.
    """
    unknown = sorted(wanted.keys() - FIELDS)
    if unknown:
        raise Refusal(400, "rejected", f"unknown field {unknown[0]!r}", param=unknown[0])
    name, expected = wanted.get("model"), wanted.get("meters", {"call": 1})
    if not isinstance(name, str) or not isinstance(expected, dict):
        raise Refusal(400, "invalid_request", "a quote needs `model`, and `meters` by name", param="model")
    units = meters.units(expected)
    limit = parse(wanted["max_price"], "max_price") if "max_price" in wanted else None
    tiers, realm, near_ms = wanted.get("tiers", []), wanted.get("realm", ""), wanted.get("near_ms")
    if near_ms is not None and type(near_ms) is not int:
        raise Refusal(400, "invalid_request", "near_ms is a round trip in whole ms", param="near_ms")
    if not isinstance(realm, str) or not isinstance(tiers, list) or not all(isinstance(one, str) for one in tiers):
        raise Refusal(400, "invalid_request", "tiers is a list of texts, realm a text", param="tiers")
    entry = gateway.catalog.find(name)
    preferences = RoutePreferences(limit, realm, frozenset(tiers), near_ms=near_ms)
    if isinstance(entry, CapsuleEntry):
        await planning.fetch_glue(gateway, entry)
        plan = planning.plan(gateway, entry, None, 0, preferences)
        parts = _workflow(gateway, plan, units, now)
    else:
        parts = _model(gateway, entry, units, preferences, now)
    return _signed(gateway, entry, parts, now)


def _model(
    gateway: Gateway, entry: ModelEntry, units: Units, preferences: RoutePreferences, now: int
) -> dict[str, Any]:
    candidates = routing.eligible(entry, preferences, units, now)
    seed = keccak256(b"quote", entry.id, now.to_bytes(8, "big"))
    drawn = next(routing.order(gateway.catalog, candidates, units, seed, gateway.settings.tau_ppm), None)
    if drawn is None:
        raise Refusal(503, "no_capacity", f"no provider of {entry.name} has capacity", retry_after=1)
    price, _ = drawn.tariff.price(units)
    return {"price": str(price), "hold": str(price), "lines": lines(gateway, drawn.tariff, units, 0), "subs": []}


def _workflow(gateway: Gateway, plan: Plan, units: Units, now: int) -> dict[str, Any]:
    """Every step that runs when nothing fails, at these meters, each by its cheapest provider that did not fail lately.

    If all of them did, the cheapest counts: a workflow is not refused for what may be over when the step runs.
    """
    stand_ins = {step.fallback for step in plan.entry.capsule.steps.values()}
    subs = []
    for planned in plan.steps.values():
        step = planned.step
        if not step.paid or step.id in stand_ins:
            continue
        if planned.plan is not None:
            part = _workflow(gateway, planned.plan, units, now)
            found = {"node": step.id, "subject": cid(planned.plan.entry.id)}
            subs.append({**found, **{name: part[name] for name in ("price", "lines", "subs")}})
            continue
        usable = [one for one in planned.candidates if one.health.usable(now)] or planned.candidates
        best = min(usable, key=lambda one: (one.inner.price(units)[0], one.provider))
        price, _ = best.inner.price(units)
        row = {"node": step.id, "subject": cid(best.subject), "provider": to_hex(best.provider), "price": str(price)}
        subs.append({**row, "lines": lines(gateway, best.inner, units, 0), "subs": []})
    subcall_total = sum(int(sub["price"]) for sub in subs)
    price, _ = plan.tariff.price(units, subcall_total)
    own = lines(gateway, plan.tariff, units, subcall_total)
    own += [
        {"id": f"sub:{n}:{s['node']}", "party": "(pass-through)", "role": "sub", "ratio_ppm": 0, "fixed": s["price"],
         "amount": s["price"]}
        for n, s in enumerate(subs)
    ]  # fmt: skip
    return {"price": str(price), "hold": str(max(plan.price, price)), "lines": own, "subs": subs}


def lines(gateway: Gateway, tariff: Tariff, units: Units, subcall_total: int) -> list[dict[str, Any]]:
    """What each line of the terms gets for these units."""
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
