"""The capabilities a model lacks for a task, and the providers that may serve a call.

Discovery, quotes, routing and workflows all use this rule, so nothing is recommended or quoted that a call refuses:

    0  the model fits the provider's memory: else it is no provider of it, whatever is asked
    1  the provider fits what the consumer asks of the route: realm, tiers, nearness, latency
    2  it can be called: its circuit is closed, so it answered the gateway's last probe, if it was probed; and if it is
       reached through a tunnel, one is open
    3  its price for the most the call can use is within the consumer's limit

The conditions are checked in this order; the first that leaves no provider is the reason of the refusal. What nobody
`alive` serves is not listed as ready. A workflow's plan checks the first two for each step, its quote and its run the
others. No other consumer's refusal is among them: who is refused is tried last for that consumer, and is alive.

What a call costs at most is asked for before it is known who serves: of x402 payers, and for a workflow's steps. That
is what the cheap ones cost (`asked`). Who costs more than the payer can hold is passed over, as if it were not there.

Of those that may serve, the nearest come first for a consumer that asks for that, from a length of input on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

from ledger.core.catalog.models import Model
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.meters import Units

EDGE = "edge"
TIERS = (EDGE, "enterprise", "center")
"""The nearest first."""
ANYWHERE = (0, 0)
FAR = 2**31
"""The class, in ms, of a round trip that is above all classes."""


class Measured(Protocol):
    """A gateway's measurements of a provider. Times in ms; `latency_ms` is 0 while nothing is measured.

    `near` is the class of its round trip, None if that is too long. It is `usable` while it can be called. While its
    circuit is open, it is probed again at `paused_until`, else that is 0.
    """

    latency_ms: int
    paused_until: int

    @property
    def round_trip_ms(self) -> int: ...
    @property
    def near(self) -> int | None: ...
    @property
    def usable(self) -> bool: ...


class Provider(Protocol):
    """A provider of one model: the realm, tier and latency that it declares, and what is measured of it."""

    @property
    def realm(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def slo_ms(self) -> int: ...
    @property
    def health(self) -> Measured: ...


P = TypeVar("P", bound=Provider)


@dataclass(frozen=True, slots=True)
class RoutePreferences:
    """A consumer's limits for the route: the most it pays, realm, tiers, latency and nearness. Empty: anything. Calls
    with `nearest_from` input tokens and more prefer the nearest; None: no call does.
    """

    max_price: Atoms | None = None
    realm: str = ""
    tiers: frozenset[str] = frozenset()
    max_latency_ms: int | None = None
    near_ms: int | None = None
    nearest_from: int | None = None

    def below(self, price: Atoms) -> Self:
        """The same for who pays at most so much."""
        return replace(self, max_price=min(price, self.max_price) if self.max_price is not None else price)

    def prefers_nearest(self, input_tokens: int) -> bool:
        """Whether a call with so much input prefers the nearest."""
        return self.nearest_from is not None and input_tokens >= self.nearest_from


ANY = RoutePreferences()


SPREAD = 2
"""Of providers among which nobody chose by a limit, those up to so many times the least price are asked for."""


class NoneFits(Rejected):
    """No provider is in the realm and tiers, or near and fast enough."""


class AboveLimit(Rejected):
    """Every provider that fits costs more than the limit. `least` is the lowest of their prices."""

    def __init__(self, least: Atoms, limit: Atoms) -> None:
        super().__init__(f"{least} atoms is above the {limit} allowed")
        self.least, self.limit = least, limit


class AllPaused(Unavailable):
    """Every provider that fits failed lately, or has no tunnel open. The first is tried again at `until` (ms)."""

    def __init__(self, until: int) -> None:
        super().__init__("every provider failed lately or is not connected")
        self.until = until


def check_memory(model: Model, memory_mb: int | None) -> None:
    """Rejected when a model needs more memory than a provider's node has. A node that does not say has enough, and a
    model that does not say fits.
    """
    need = model.memory_mb
    if need is not None and memory_mb is not None and need > memory_mb:
        raise Rejected(
            f"{model.name} needs {need} MB of memory and the node has {memory_mb} MB: serve a smaller model "
            f"(tollway consumer discover TASK --max-memory-mb {memory_mb}), or say --memory-mb {need} "
            "where there is so much",
            field="$.serve.memory_mb",
        )


def eligible(providers: Sequence[P], preferences: RoutePreferences, price: Callable[[P], Atoms]) -> list[P]:
    """The providers that may serve, in their order. Raises NoneFits, AllPaused or AboveLimit when there are none.

    `price` gives a provider's price for the most the call can use; it is asked only if the consumer has a limit.
    """
    fitting = [one for one in providers if fits(one, preferences)]
    if not fitting:
        raise NoneFits("no provider is in the realm or tiers")
    return serving(fitting, preferences.max_price, price)


def alive(providers: Sequence[P]) -> list[P]:
    """Those that can be called now. A model without one is not ready."""
    return [one for one in providers if one.health.usable]


def available(fitting: Sequence[P]) -> list[P]:
    """Those of the providers that fit that can be called now. Raises AllPaused when there are none."""
    found = alive(fitting)
    if not found:
        raise AllPaused(min(one.health.paused_until for one in fitting))
    return found


def serving(fitting: Sequence[P], limit: Atoms | None, price: Callable[[P], Atoms]) -> list[P]:
    """Those of the providers that fit that can be called now, at a price within the limit. Raises AllPaused or
    AboveLimit when there are none.
    """
    found = available(fitting)
    if limit is None:
        return found
    prices = [price(one) for one in found]
    check_limit(min(prices), limit)
    return [one for one, asked in zip(found, prices, strict=True) if asked <= limit]


def check_limit(least: Atoms, limit: Atoms | None) -> None:
    """Raises AboveLimit when the lowest price is above the limit."""
    if limit is not None and least > limit:
        raise AboveLimit(least, limit)


def asked(prices: Sequence[Atoms], limit: Atoms | None) -> Atoms:
    """What is asked for a call that one of the providers with these prices will serve, before it is known which one.

    Within a limit that somebody set, the most that any of them costs. Without one the most within `SPREAD` of the
    least: one that asks any sum would raise it for all, and shut the model for whoever has less.
    """
    if limit is not None:
        return min(max(prices), limit)
    return max(price for price in prices if price <= SPREAD * min(prices))


def serving_shortened(
    fitting: Sequence[P], limit: Atoms | None, price: Callable[[P, Units], Atoms], most: Units
) -> tuple[Units, list[P]]:
    """As `serving`, for a call whose output is shortened until a provider is within the limit, to one token at least.
    Returns also the most it can use then. Prices rise with output, so the largest output is found by bisection.
    """
    able, low, high = alive(fitting), min(1, most.output_token), most.output_token
    while limit is not None and low < high:
        middle = (low + high + 1) // 2
        units = most._replace(output_token=middle)
        within = any(price(one, units) <= limit for one in able)
        low, high = (middle, high) if within else (low, middle - 1)
    shortened = most._replace(output_token=high)
    return shortened, serving(fitting, limit, lambda one: price(one, shortened))


def fits(provider: Provider, preferences: RoutePreferences) -> bool:
    """Whether a provider fits what the consumer asks of the route.

    Where tier `edge` is asked for, a provider that declares it must measure near.
    """
    health, asked = provider.health, preferences
    if provider.realm != asked.realm or (asked.tiers and provider.tier not in asked.tiers):
        return False
    if provider.tier == EDGE and EDGE in asked.tiers and health.near is None:
        return False
    if asked.near_ms is not None and health.round_trip_ms > asked.near_ms:
        return False
    return asked.max_latency_ms is None or expected_latency(provider) <= asked.max_latency_ms


def distance(provider: Provider, *, nearest: bool) -> tuple[int, int]:
    """Where a provider stands if the nearest come first: by the class of its measured round trip, in one class by its
    tier. All stand in the same place if they do not.
    """
    if not nearest:
        return ANYWHERE
    near = provider.health.near
    return (near if near is not None else FAR, TIERS.index(provider.tier))


def expected_latency(provider: Provider) -> int:
    """The measured p50 latency in ms; what the provider declares while nothing is measured."""
    return provider.health.latency_ms or provider.slo_ms


def lacking(model: Model, wanted: Mapping[str, Any]) -> list[str]:
    """The part of a wanted capability that a model lacks, in words; empty if it can do it."""
    document = model.document
    able = [one for one in document["capabilities"] if one["task"] == wanted.get("task", one["task"])]
    if not able:
        return [f"the task {wanted['task']}"]
    lacks = []
    for name in ("languages", "input_modes", "output_modes", "features"):
        asked = set(wanted.get(name, ()))
        if asked and not any(asked <= set(one.get(name, ())) for one in able):
            lacks.append(f"{name} {', '.join(sorted(asked))}")
    room, need = wanted.get("max_memory_mb"), model.memory_mb
    if room is not None and (need is None or need > room):
        lacks.append(f"a need of {room} MB of memory at most" + (f" (it has {need})" if need else " that it states"))
    required = set(wanted.get("require", ()))
    if "bitexact" in required and document["execution"]["determinism"] != "bitexact":
        lacks.append("bitexact execution")
    if "open-weights" in required and document["kind"] != "weights":
        lacks.append("open weights")
    return lacks + sorted(required & {"attested-evals", "tee"})
