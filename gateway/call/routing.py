"""Which provider serves a call: `core.pricing` decides, over this epoch's candidates and what was measured of them."""

from collections.abc import Iterator, Sequence

from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.errors import Refusal
from ledger.core.pricing import eligibility, routing
from ledger.core.pricing.eligibility import AboveLimit, AllPaused, NoneFits, RoutePreferences
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Digest
from ledger.core.values.meters import Units


def eligible(entry: ModelEntry, preferences: RoutePreferences, most: Units, now: int) -> list[Candidate]:
    """Candidates that may serve. Refused with what was asked for and what there is."""
    if not entry.candidates:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    try:
        return eligibility.eligible(entry.candidates, preferences, lambda one: one.tariff.price(most)[0], now)
    except NoneFits as none:
        facts = {"tiers": sorted({c.tier for c in entry.candidates}), "candidates": len(entry.candidates)}
        message = f"no provider of {entry.name} is in the realm or tiers"
        raise Refusal(404, "no_provider_fits", message, facts=facts) from none
    except AboveLimit as above:
        raise Refusal(
            402,
            "above_max_price",
            f"{entry.name} may cost {above.least} atoms, above the {above.limit} allowed",
            facts={"required": str(above.least), "max_price": str(above.limit)},
        ) from above
    except AllPaused as paused:
        wait = max(1, (paused.until - now + 999) // 1000)
        message = f"every provider of {entry.name} failed lately"
        raise Refusal(503, "providers_down", message, retry_after=wait) from paused


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
