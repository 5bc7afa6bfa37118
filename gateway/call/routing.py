"""Which provider serves a call: `core.pricing` decides, over this epoch's candidates and what was measured of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.errors import Refusal
from ledger.core.pricing import eligibility, routing
from ledger.core.pricing.eligibility import ANY, AboveLimit, AllPaused, NoneFits, RoutePreferences
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Digest
from ledger.core.values.meters import Units


def preferences_of(headers: Mapping[bytes, bytes]) -> RoutePreferences:
    """The consumer's limits for the route, in the headers of a call."""
    price, realm = headers.get(b"tollway-max-price"), headers.get(b"tollway-realm")
    tiers, near = headers.get(b"tollway-tiers"), headers.get(b"tollway-near")
    if price is None and realm is None and tiers is None and near is None:
        return ANY
    names = frozenset(part.strip() for part in (tiers or b"").decode("latin-1").split(",") if part.strip())
    limit = parse(price.decode("latin-1"), "Tollway-Max-Price") if price is not None else None
    if near is not None and not near.isdigit():
        raise Refusal(400, "invalid_header", "Tollway-Near is a round trip in ms, such as 30", param="Tollway-Near")
    near_ms = int(near) if near is not None else None
    return RoutePreferences(limit, (realm or b"").decode("latin-1"), names, near_ms=near_ms)


def preferences_in(wanted: Mapping[str, Any]) -> RoutePreferences:
    """The same in the JSON of a discovery or quote request, which can limit the latency too."""
    limit = parse(wanted["max_price"], "max_price") if "max_price" in wanted else None
    tiers, realm, near_ms = wanted.get("tiers", []), wanted.get("realm", ""), wanted.get("near_ms")
    if near_ms is not None and type(near_ms) is not int:
        raise Refusal(400, "invalid_request", "near_ms is a round trip in whole ms", param="near_ms")
    if not isinstance(realm, str) or not isinstance(tiers, list) or not all(isinstance(one, str) for one in tiers):
        raise Refusal(400, "invalid_request", "tiers is a list of texts, realm a text", param="tiers")
    return RoutePreferences(limit, realm, frozenset(tiers), wanted.get("max_latency_ms"), near_ms)


def eligible(entry: ModelEntry, preferences: RoutePreferences, most: Units, now: int) -> list[Candidate]:
    """Candidates that may serve. Refused with what was asked for and what there is."""
    if not entry.candidates:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    try:
        return eligibility.eligible(entry.candidates, preferences, lambda one: one.tariff.hold(most), now)
    except NoneFits as none:
        facts = {"tiers": sorted({c.tier for c in entry.candidates}), "candidates": len(entry.candidates)}
        message = f"no provider of {entry.name} is in the realm or tiers"
        raise Refusal(404, "no_provider_fits", message, facts=facts) from none
    except (AboveLimit, AllPaused) as none:
        raise refusal_of(entry.name, none, now) from none


def refusal_of(name: str, error: AboveLimit | AllPaused, now: int) -> Refusal:
    """The refusal when a model, a workflow or one of its steps costs too much or has only paused providers."""
    if isinstance(error, AboveLimit):
        message = f"{name} may cost {error.least} atoms, above the {error.limit} allowed"
        facts = {"required": str(error.least), "max_price": str(error.limit)}
        return Refusal(402, "above_max_price", message, facts=facts)
    wait = max(1, (error.until - now + 999) // 1000)
    return Refusal(503, "providers_down", f"every provider of {name} failed lately", retry_after=wait)


def order(
    catalog: Catalog, candidates: Sequence[Candidate], most: Units, call_id: Digest, tau_ppm: int, inner: bool = False
) -> Iterator[Candidate]:
    """The candidates to try, each drawn from those left. Lazy: the first one mostly serves."""
    left = list(candidates)
    seed = routing.call_seed(catalog.book_root, call_id)
    while left:
        if len(left) == 1:
            yield left[0]
            return
        seen = [as_seen(one, (one.inner if inner else one.tariff).price(most)[0]) for one in left]
        try:
            picked = routing.choose(seen, seed, tau_ppm)
        except Unavailable:
            return
        yield left.pop(picked)


def as_seen(candidate: Candidate, price: int) -> routing.Candidate:
    """A candidate as the routing rule sees it, at this price."""
    health = candidate.health
    return routing.Candidate(price, health.quality_ppm, health.latency_ms, candidate.slo_ms, candidate.capacity)
