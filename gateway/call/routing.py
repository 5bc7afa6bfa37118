"""Which provider serves a call: `core.pricing` decides, over this epoch's candidates and what was measured of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway import bounds
from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.clock import steady_ms
from gateway.errors import Refusal
from gateway.settings import Settings
from ledger.core.pricing import eligibility, routing
from ledger.core.pricing.eligibility import ANY, AboveLimit, AllPaused, NoneFits, RoutePreferences
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Units

NEAREST: Final = re.compile(rb"nearest(?: *; *from=([0-9]+))?")


def preferences_of(headers: Mapping[bytes, bytes], realm: str) -> RoutePreferences:
    """The consumer's limits for the route, in the headers of a call in a realm that it belongs to, or in none."""
    price = headers.get(b"tollway-max-price")
    tiers, near = headers.get(b"tollway-tiers"), headers.get(b"tollway-near")
    if price is None and not realm and tiers is None and near is None:
        return ANY
    names = frozenset(part.strip() for part in (tiers or b"").decode("latin-1").split(",") if part.strip())
    limit = parse(price.decode("latin-1"), "Tollway-Max-Price") if price is not None else None
    near_ms, nearest_from = _nearness(near) if near is not None else (None, None)
    return RoutePreferences(limit, realm, names, near_ms=near_ms, nearest_from=nearest_from)


def _nearness(said: bytes) -> tuple[int | None, int | None]:
    """What `Tollway-Near` says: the longest round trip in ms, and the input tokens from which the nearest come first.
    One of them is None.
    """
    nearest = NEAREST.fullmatch(said)
    number = bounds.number(said if nearest is None else nearest[1] or b"0")
    if number is None:
        message = "Tollway-Near is a round trip in ms, such as 30; or `nearest`; or `nearest;from=2000` input tokens"
        raise Refusal(400, "invalid_header", message, param="Tollway-Near")
    return (number, None) if nearest is None else (None, number)


def preferences_in(wanted: Mapping[str, Any], realm: str) -> RoutePreferences:
    """The same in the JSON of a discovery or quote request, which can limit the latency too."""
    limit = parse(wanted["max_price"], "max_price") if "max_price" in wanted else None
    tiers, near_ms = wanted.get("tiers", []), wanted.get("near_ms")
    if near_ms is not None and type(near_ms) is not int:
        raise Refusal(400, "invalid_request", "near_ms is a round trip in whole ms", param="near_ms")
    nearest_from = wanted.get("nearest_from")
    if nearest_from is not None and (type(nearest_from) is not int or nearest_from < 0):
        raise Refusal(400, "invalid_request", "nearest_from is a whole number of input tokens", param="nearest_from")
    if not isinstance(tiers, list) or not all(isinstance(one, str) for one in tiers):
        raise Refusal(400, "invalid_request", "tiers is a list of texts", param="tiers")
    return RoutePreferences(limit, realm, frozenset(tiers), wanted.get("max_latency_ms"), near_ms, nearest_from)


def eligible(entry: ModelEntry, preferences: RoutePreferences, most: Units) -> list[Candidate]:
    """Candidates that may serve. Refused with what was asked for and what there is."""
    if not entry.candidates:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    try:
        return eligibility.eligible(entry.candidates, preferences, lambda one: one.tariff.hold(most))
    except NoneFits as none:
        facts = {"tiers": sorted({c.tier for c in entry.candidates}), "candidates": len(entry.candidates)}
        message = f"no provider of {entry.name} is in the tiers and near enough"
        raise Refusal(404, "no_provider_fits", message, facts=facts) from none
    except (AboveLimit, AllPaused) as none:
        raise refusal_of(entry.name, none) from none


def refusal_of(name: str, error: AboveLimit | AllPaused) -> Refusal:
    """The refusal when a model, a workflow or one of its steps costs too much or has only paused providers."""
    if isinstance(error, AboveLimit):
        message = f"{name} may cost {error.least} atoms, above the {error.limit} allowed"
        facts = {"required": str(error.least), "max_price": str(error.limit)}
        return Refusal(402, "above_max_price", message, facts=facts)
    wait = max(1, (error.until - steady_ms() + 999) // 1000)
    message = f"every provider of {name} failed lately or is not connected"
    return Refusal(503, "providers_down", message, retry_after=wait)


class Draw(NamedTuple):
    """What a draw of candidates depends on beside them: its seed, how far above the best price one may be, the consumer
    and the time (steady ms). `inner` draws by the prices of sub-calls, `nearest` of the nearest candidates first.
    """

    seed: bytes
    tau_ppm: int
    consumer: Address | None
    now: int
    inner: bool = False
    nearest: bool = False


def draw_for(catalog: Catalog, settings: Settings, call_id: Digest, consumer: Address | None) -> Draw:
    return Draw(routing.call_seed(catalog.book_root, call_id), settings.tau_ppm, consumer, steady_ms())


def order(candidates: Sequence[Candidate], most: Units, draw: Draw) -> Iterator[Candidate]:
    """The candidates to try, each drawn from those left: of a party that was not tried yet, while there is one. Those
    that are busy, or did not serve this consumer lately, come last; before that counts nearness, if it is asked for.
    Lazy: the first one mostly serves.
    """
    if len(candidates) == 1:
        yield candidates[0]
        return
    ranks = [
        (one.health.is_last(draw.consumer, draw.now), eligibility.distance(one, nearest=draw.nearest))
        for one in candidates
    ]
    tried: set[Address] = set()
    for rank in sorted(set(ranks)):
        left = [one for one, its in zip(candidates, ranks, strict=True) if its == rank]
        while left:
            others = [one for one in left if one.provider not in tried] if tried else left
            drawn = _draw(others or left, most, draw)
            if drawn is None:
                break
            tried.add(drawn.provider)
            yield drawn
            left = [one for one in left if one is not drawn]


def _draw(candidates: Sequence[Candidate], most: Units, draw: Draw) -> Candidate | None:
    """One candidate; None when none has capacity. It is drawn by the most that it may cost: a meter that its node alone
    counts, such as cached input, may be dear.
    """
    if len(candidates) == 1:
        return candidates[0]
    seen = [as_seen(one, (one.inner if draw.inner else one.tariff).hold(most)) for one in candidates]
    try:
        return candidates[routing.choose(seen, draw.seed, draw.tau_ppm)]
    except Unavailable:
        return None


def as_seen(candidate: Candidate, price: int) -> routing.Candidate:
    """A candidate as the routing rule sees it, at this price."""
    health = candidate.health
    return routing.Candidate(price, health.quality_ppm, health.latency_ms, candidate.slo_ms, candidate.capacity)
