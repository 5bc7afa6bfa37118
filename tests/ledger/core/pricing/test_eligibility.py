"""Which providers may serve: each condition by itself, their order, and what a refusal says."""

from dataclasses import dataclass, field

import pytest

from ledger.core.catalog.models import model
from ledger.core.pricing.eligibility import (
    ANY,
    AboveLimit,
    AllPaused,
    NoneFits,
    RoutePreferences,
    alive,
    eligible,
    lacking,
    serving_shortened,
)
from ledger.core.values.meters import Units
from tests.ledger.core.examples import a_model

NOW = 1_000


@dataclass
class Measured:
    """What was measured of a provider: nothing yet, and it has not failed."""

    latency_ms: int = 0
    round_trip_ms: int = 0
    paused_until: int = 0

    @property
    def near(self) -> int | None:
        """80 ms and more are not near."""
        return 80 if self.round_trip_ms <= 80 else None

    @property
    def usable(self) -> bool:
        """Its circuit is open while a probe is awaited."""
        return not self.paused_until


@dataclass
class Provider:
    """A provider at a price."""

    price: int = 100
    realm: str = ""
    tier: str = "center"
    slo_ms: int = 2_000
    health: Measured = field(default_factory=Measured)


def chosen(preferences: RoutePreferences, *providers: Provider) -> list[Provider]:
    """Those that may serve."""
    return eligible(providers, preferences, lambda one: one.price)


def test_who_asks_for_nothing_gets_everybody_of_the_public_realm_in_order() -> None:
    first, second = Provider(), Provider(price=1)
    assert chosen(ANY, first, Provider(realm="clinic"), second) == [first, second]


@pytest.mark.parametrize(
    ("preferences", "fitting", "missing"),
    [
        (RoutePreferences(realm="clinic"), Provider(realm="clinic"), Provider()),
        (RoutePreferences(tiers=frozenset({"center"})), Provider(), Provider(tier="edge")),
        (
            RoutePreferences(tiers=frozenset({"edge"})),
            Provider(tier="edge", health=Measured(round_trip_ms=80)),
            Provider(tier="edge", health=Measured(round_trip_ms=81)),
        ),
        (
            RoutePreferences(near_ms=30),
            Provider(health=Measured(round_trip_ms=30)),
            Provider(health=Measured(round_trip_ms=31)),
        ),
        (
            RoutePreferences(max_latency_ms=500),
            Provider(health=Measured(latency_ms=500)),
            Provider(health=Measured(latency_ms=501)),
        ),
        (RoutePreferences(max_latency_ms=500), Provider(slo_ms=500), Provider(slo_ms=501)),
    ],
)
def test_a_provider_fits_what_is_asked_of_the_route(
    preferences: RoutePreferences, fitting: Provider, missing: Provider
) -> None:
    assert chosen(preferences, missing, fitting) == [fitting]
    with pytest.raises(NoneFits):
        chosen(preferences, missing)


def test_a_far_provider_of_the_edge_serves_those_who_do_not_ask_for_the_edge() -> None:
    far = Provider(tier="edge", health=Measured(round_trip_ms=200))
    assert chosen(ANY, far) == [far]


def test_what_costs_more_than_the_limit_does_not_serve() -> None:
    cheap, dear = Provider(price=100), Provider(price=101)
    assert chosen(RoutePreferences(max_price=100), dear, cheap) == [cheap]
    with pytest.raises(AboveLimit) as refused:
        chosen(RoutePreferences(max_price=99), dear, cheap)
    assert (refused.value.least, refused.value.limit) == (100, 99)


def test_an_open_circuit_does_not_serve_and_says_when_it_is_tried_again() -> None:
    down, later = Provider(health=Measured(paused_until=NOW + 5)), Provider(health=Measured(paused_until=NOW + 9))
    assert chosen(ANY, down, Provider(health=Measured())) != []
    with pytest.raises(AllPaused) as refused:
        chosen(ANY, later, down)
    assert refused.value.until == NOW + 5


def test_the_first_condition_that_leaves_nobody_is_the_reason() -> None:
    down = Provider(price=100, health=Measured(paused_until=NOW + 5))
    with pytest.raises(NoneFits):
        chosen(RoutePreferences(max_price=99, realm="clinic"), down)
    with pytest.raises(AllPaused):
        chosen(RoutePreferences(max_price=99), down)


def test_who_cannot_be_called_sets_no_price_and_is_not_listed() -> None:
    down, dear = Provider(price=100, health=Measured(paused_until=NOW + 5)), Provider(price=900)
    assert alive([down, dear]) == [dear]
    with pytest.raises(AboveLimit) as refused:
        chosen(RoutePreferences(max_price=200), down, dear)
    assert refused.value.least == 900
    limited = serving_shortened(
        [down, dear], 1_800, lambda one, units: one.price * units.output_token, Units(output_token=9)
    )
    assert limited == (Units(output_token=2), [dear])


def test_the_price_is_not_computed_without_a_limit() -> None:
    def price(_: Provider) -> int:
        raise AssertionError("a call without a limit prices nobody here")

    assert len(eligible([Provider()], ANY, price)) == 1


def test_output_is_shortened_until_a_provider_is_within_the_limit() -> None:
    cheap, dear, most = Provider(price=3), Provider(price=5), Units(output_token=100)

    def shortened(limit: int | None, *providers: Provider) -> tuple[Units, list[Provider]]:
        return serving_shortened(providers, limit, lambda one, units: one.price * units.output_token, most)

    assert shortened(None, cheap, dear) == (most, [cheap, dear])
    assert shortened(500, cheap, dear) == (most, [cheap, dear])
    assert shortened(59, cheap, dear) == (Units(output_token=19), [cheap])
    with pytest.raises(AboveLimit):
        shortened(2, cheap, dear)
    with pytest.raises(AllPaused):
        shortened(59, Provider(price=3, health=Measured(paused_until=NOW + 5)))


def test_what_a_model_lacks_is_said_in_words() -> None:
    made = model(a_model())
    assert lacking(made, {"task": "text-classification", "languages": ["zh"], "require": ["open-weights"]}) == []
    assert lacking(made, {"task": "chat"}) == ["the task chat"]
    wanted = {"languages": ["zh", "fr"], "input_modes": ["text/plain"], "require": ["tee", "bitexact"]}
    assert lacking(made, wanted) == ["languages fr, zh", "bitexact execution", "tee"]
