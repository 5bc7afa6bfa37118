"""Which node serves a call: the kernel of `core.routing` over this epoch's candidates and what they measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.errors import Refusal
from ledger.core.pricing import routing
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.meters import Units


@dataclass(frozen=True, slots=True)
class RoutePreferences:
    """What a consumer may ask of the route: the most it pays, its realm, tiers, latency and nearness."""

    max_price: int | None = None
    realm: str = ""
    tiers: frozenset[str] = frozenset()
    max_latency_ms: int | None = None
    provider: bytes | None = None
    near_ms: int | None = None


ANY = RoutePreferences()
EDGE = "edge"


def seed_of(catalog: Catalog) -> bytes:
    """The epoch's seed: the root of its book, which nobody knows before the book is frozen."""
    return catalog.book_root


def eligible(
    entry: ModelEntry, preferences: RoutePreferences, most: Units, now: int, inner: bool = False
) -> list[Candidate]:
    """Candidates that may serve. Refused with what was asked, what there is, and how it misses."""
    if not entry.candidates:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    fitting = [c for c in entry.candidates if _fits(c, preferences)]
    if not fitting:
        facts = {"tiers": sorted({c.tier for c in entry.candidates}), "candidates": len(entry.candidates)}
        raise Refusal(404, "no_provider_fits", f"no provider of {entry.name} is in the realm or tiers", facts=facts)
    if preferences.max_price is not None:
        prices = [(c.inner if inner else c.tariff).price(most)[0] for c in fitting]
        fitting = [c for c, price in zip(fitting, prices, strict=True) if price <= preferences.max_price]
        if not fitting:
            raise Refusal(
                402,
                "above_max_price",
                f"{entry.name} may cost {min(prices)} atoms, above the {preferences.max_price} allowed",
                facts={"required": str(min(prices)), "max_price": str(preferences.max_price)},
            )
    alive = [c for c in fitting if c.health.usable(now)]
    if not alive:
        wait = max(1, (min(c.health.paused_until for c in fitting) - now + 999) // 1000)
        raise Refusal(503, "providers_down", f"every provider of {entry.name} failed lately", retry_after=wait)
    return alive


def order(
    catalog: Catalog, candidates: Sequence[Candidate], most: Units, call_id: Digest, tau_ppm: int, inner: bool = False
) -> Iterator[Candidate]:
    """The candidates to try, each drawn from those left: lazily, since the first one mostly serves."""
    left = list(candidates)
    while left:
        if len(left) == 1:
            yield left[0]
            return
        seen = [
            routing.Candidate(
                (c.inner if inner else c.tariff).price(most)[0],
                c.health.quality_ppm,
                c.health.latency_ms,
                c.slo_ms,
                c.capacity,
            )
            for c in left
        ]
        try:
            picked = routing.choose(seen, routing.call_seed(seed_of(catalog), call_id), tau_ppm)
        except Unavailable:
            return
        yield left.pop(picked)


def _fits(candidate: Candidate, preferences: RoutePreferences) -> bool:
    if candidate.realm != preferences.realm or (preferences.tiers and candidate.tier not in preferences.tiers):
        return False
    if preferences.provider is not None and candidate.provider != preferences.provider:
        return False
    if candidate.tier == EDGE and EDGE in preferences.tiers and candidate.health.near is None:
        return False  # who asks for the edge asks for what is near: a place that says so and is not has lied
    if preferences.near_ms is not None and candidate.health.round_trip_ms > preferences.near_ms:
        return False
    latency = candidate.health.latency_ms or candidate.slo_ms
    return preferences.max_latency_ms is None or latency <= preferences.max_latency_ms


def described(candidate: Candidate) -> dict[str, object]:
    """A candidate for people and for attempt lists."""
    return {"provider": to_hex(candidate.provider), "tier": candidate.tier}
